import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RedisStore } from '../../src/backends/redis/connection.ts';
import { RedisMessageTransport } from '../../src/backends/redis/messages/redis-message-transport.ts';
import type {
  Delivery,
  Lost,
  MailboxSettings,
  Membership,
  MessageCounts,
  MessageSettlement,
  MessageTransport,
  NewMessage,
} from '../../src/core/ports/messages.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { REPORT, sessionsOf } from '../../src/testing/suites/caller.ts';
import { newMessage } from '../../src/testing/suites/messages/harness.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';
import { memoryEnvironment } from '../support/memory-environment.ts';
import { redisEnvironment } from '../support/redis-environment.ts';

const PORTS = { ports: (store: RedisStore) => ({ messages: new RedisMessageTransport(store) }) };

/** One process, on one backend of a pair. */
class Side {
  readonly env: SuiteEnvironment;
  readonly transport: MessageTransport;
  /** What a process holds, and what it held once and nobody settled. */
  readonly hand: { readonly process: string; readonly delivery: Delivery }[] = [];
  readonly #sessions = new Map<string, { session: SessionNumber; sequence: number }>();
  #boots = 0;

  constructor(env: SuiteEnvironment) {
    this.env = env;
    this.transport = env.backend.messages as MessageTransport;
  }

  async boot(process: string, leaseMs: number): Promise<void> {
    const boot = `${process}${++this.#boots}`;
    const { session } = await sessionsOf(this.env).open({ boot, leaseMs, writer: 1, report: REPORT });
    this.#sessions.set(process, { session, sequence: 0 });
  }

  session(process: string): SessionNumber {
    return this.#sessions.get(process)?.session as SessionNumber;
  }

  op(process: string): Operation {
    const known = this.#sessions.get(process) as { session: SessionNumber; sequence: number };
    known.sequence += 1;
    return { session: known.session, sequence: known.sequence };
  }
}

const PROCESSES = ['p', 'q', 'r'] as const;
const ADDRESSES = ['a', 'b', 'c'] as const;
const LEASE_MS = 30_000;
/** Where everybody begins. */
const JOINED: readonly (readonly [process: string, address: string, group: string | undefined])[] = [
  ['p', 'a', 'workers'],
  ['q', 'a', undefined],
  ['q', 'b', 'workers'],
  ['r', 'c', 'workers'],
];

type Step =
  | {
      readonly do: 'publish';
      readonly by: string;
      readonly messages: readonly Partial<NewMessage>[];
      readonly defaults: MailboxSettings;
    }
  | {
      readonly do: 'receive';
      readonly by: string;
      readonly limit: number;
      readonly one: boolean;
      readonly addresses: readonly string[];
    }
  | {
      readonly do: 'settle';
      readonly by: string;
      readonly picks: readonly { readonly at: number; readonly as: string; readonly delayMs: number }[];
    }
  | { readonly do: 'subscribe'; readonly by: string; readonly change: Membership }
  | { readonly do: 'sweep' | 'beat' | 'close' | 'expire' | 'list'; readonly by: string }
  | {
      readonly do: 'revise';
      readonly by: string;
      readonly set: 'redrive' | 'discard';
      readonly limit: number;
      readonly address: string | undefined;
    }
  | { readonly do: 'pass'; readonly ms: number };

const by = fc.constantFrom(...PROCESSES);
const addresses = fc.constantFrom(...ADDRESSES);
const settings: fc.Arbitrary<MailboxSettings> = fc.record({
  maxLength: fc.constantFrom(2, 4, 50),
  overflow: fc.constantFrom('refuse' as const, 'drop-oldest' as const, 'drop-newest' as const),
});
const messages = fc.record({
  class: fc.constantFrom('m1' as const, 'm1' as const, 'm1' as const, 'm0' as const),
  from: fc.constantFrom(...ADDRESSES, 'x'),
  direct: fc.boolean(),
  to: addresses,
  topic: fc.constantFrom('news', 'jobs'),
  orderKey: fc.constantFrom(undefined, undefined, 'k'),
  priority: fc.constantFrom(1, 2, 2, 3),
  expiresInMs: fc.constantFrom(undefined, 500, 3_000, 3_000),
  id: fc.constantFrom(undefined, undefined, 'same'),
  payload: fc.constantFrom({ small: true }, { large: 'y'.repeat(300) }),
});
let made = 0;
const message = messages.map(({ direct, to, topic, id, orderKey, from, ...rest }): Partial<NewMessage> => {
  made += 1;
  return {
    ...rest,
    from,
    orderKey: orderKey ?? from,
    id: id ?? `m${made}`,
    dedupe: id !== undefined,
    to: direct ? to : topic,
    topic: !direct,
  };
});
const membership: fc.Arbitrary<Membership> = fc
  .record({
    address: addresses,
    news: fc.boolean(),
    jobs: fc.constantFrom(undefined, 'own', 'workers', 'workers'),
    listening: fc.constantFrom(true, true, true, false),
    mailbox: fc.oneof({ weight: 6, arbitrary: settings }, fc.constantFrom('none' as const, 'leave' as const)),
    keepMs: fc.constantFrom(0, 4_000),
  })
  .map(({ news, jobs, ...rest }) => ({
    ...rest,
    topics: [
      ...(news ? [{ topic: 'news' }] : []),
      ...(jobs === undefined ? [] : [jobs === 'own' ? { topic: 'jobs' } : { topic: 'jobs', group: jobs }]),
    ],
  }));

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('publish' as const),
      by,
      messages: fc.array(message, { minLength: 1, maxLength: 5 }),
      defaults: settings,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('receive' as const),
      by,
      limit: fc.integer({ min: 1, max: 6 }),
      one: fc.boolean(),
      addresses: fc.uniqueArray(addresses, { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      by,
      picks: fc.array(
        fc.record({
          at: fc.nat(12),
          as: fc.constantFrom('ack', 'ack', 'retry', 'release', 'bury', 'drop'),
          delayMs: fc.constantFrom(0, 700),
        }),
        { minLength: 1, maxLength: 4 },
      ),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('subscribe' as const), by, change: membership }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constantFrom('sweep' as const, 'beat' as const, 'list' as const), by }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('close' as const, 'expire' as const), by }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('revise' as const),
      by,
      set: fc.constantFrom('redrive' as const, 'discard' as const),
      limit: fc.constantFrom(1, 100),
      address: fc.constantFrom(undefined, ...ADDRESSES),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(300, 1_000, 2_500) }),
  },
);

function sorted(lost: readonly Lost[] | undefined): readonly Lost[] {
  const sums = new Map<string, Lost>();
  for (const entry of lost ?? []) {
    const key = JSON.stringify([entry.address, entry.from, entry.reason]);
    sums.set(key, { ...entry, count: entry.count + (sums.get(key)?.count ?? 0) });
  }
  return [...sums].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
}

/** What a delivery says, but for what differs by nature: receipts, and the order in which a group's and an own mailbox take turns. */
function shown(delivery: Delivery): unknown {
  const { message, address, delivery: times } = delivery;
  return { address, times, message: { ...message, headers: undefined } };
}

/** Carries out one step on one side and says what came of it, in words that must be the same on both. */
async function play(side: Side, step: Step): Promise<unknown> {
  const { transport } = side;
  switch (step.do) {
    case 'publish': {
      const { results } = await transport.publish(
        side.op(step.by),
        step.messages.map((spec) => newMessage(spec as NewMessage)),
        step.defaults,
      );
      return results.map((result) => ('lost' in result ? { ...result, lost: sorted(result.lost) } : result));
    }
    case 'receive': {
      const answer = await transport.receive(side.op(step.by), {
        addresses: step.addresses.map((address) => ({ address, limit: step.limit, onePerKey: step.one })),
        ackWithinMs: 2_000,
      });
      for (const delivery of answer.deliveries)
        if (delivery.message.class === 'm1') side.hand.push({ process: step.by, delivery });
      return {
        deliveries: answer.deliveries.map(shown),
        missed: sorted(answer.missed),
        nextInMs: answer.nextInMs,
      };
    }
    case 'settle': {
      const items: MessageSettlement[] = [];
      // Now and then somebody else's.
      const own = side.hand.filter(({ process }) => process === step.by || step.picks.length === 4);
      for (const { at, as, delayMs } of step.picks) {
        const delivery = own[at % own.length]?.delivery;
        if (delivery !== undefined)
          items.push({ delivery, as, delayMs, reason: 'r' } as unknown as MessageSettlement);
      }
      if (items.length === 0) return undefined;
      const { settled, readied } = await transport.settle(side.op(step.by), items);
      items.forEach(({ delivery }, index) => {
        const at = side.hand.findIndex((held) => held.delivery === delivery);
        if (settled[index] === true) side.hand.splice(at, 1);
      });
      return { settled, readied };
    }
    case 'subscribe':
      return sorted((await transport.subscribe(side.op(step.by), [step.change])).lost);
    case 'sweep': {
      const { lost, nextInMs } = await transport.sweep(side.op(step.by), 100);
      return { lost: sorted(lost), isIdle: nextInMs === Number.POSITIVE_INFINITY };
    }
    case 'revise': {
      const { set, limit, address } = step;
      const request = { set, limit, ...(address === undefined ? {} : { address }) };
      const { changed, more, lost, readied } = await transport.revise(side.op(step.by), request);
      return { changed, more, lost: sorted(lost), readied: [...readied].toSorted() };
    }
    case 'beat':
      await sessionsOf(side.env).beat(side.session(step.by), REPORT);
      return undefined;
    case 'close':
      await sessionsOf(side.env).close(side.session(step.by));
      await side.boot(step.by, LEASE_MS);
      return undefined;
    case 'expire':
      await side.env.pass(LEASE_MS + 100);
      for (const process of PROCESSES) await side.boot(process, LEASE_MS);
      return undefined;
    case 'list': {
      const views: unknown[] = [];
      for (const which of ['waiting', 'dead'] as const) {
        for (let after; ; ) {
          const page = await transport.list(
            { messages: which },
            { limit: 3, ...(after === undefined ? {} : { after }) },
          );
          for (const { address, group, messages } of page.items)
            for (const letter of messages)
              views.push([which, address, group, letter.message.id, letter.delivery, letter.reason]);
          if (page.next === undefined) break;
          after = page.next;
        }
      }
      // Mailboxes are forgotten at other moments, so their ages differ: not what is in them.
      return views.map((view) => JSON.stringify(view)).toSorted();
    }
    default:
      await side.env.pass(step.ms);
      return undefined;
  }
}

async function totalsOf(side: Side): Promise<MessageCounts> {
  const { totals } = await side.transport.list({}, { limit: 1 });
  const { published, delivered, dropped, expired, dead, waiting, handling } = totals;
  expect(delivered + dropped + expired + dead + waiting + handling, 'M0, M1: everything is somewhere').toBe(
    published,
  );
  return totals;
}

describe('the Redis transport against the memory one', () => {
  test('random calls of three processes answer alike and leave the same behind', async () => {
    const runs = Math.max(200, Math.ceil(Number(process.env['FC_RUNS']) / 5));
    const seen = { runs: 0, received: 0, redelivered: 0, settled: 0, lost: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(steps, { minLength: 15, maxLength: 40, size: 'max' }), async (script) => {
        seen.runs += 1;
        const sides = [
          new Side(await memoryEnvironment()),
          new Side(await redisEnvironment(undefined, PORTS)),
        ] as const;
        try {
          for (const side of sides) {
            for (const process of PROCESSES) await side.boot(process, LEASE_MS);
            for (const [process, address, group] of JOINED) {
              const jobs = group === undefined ? { topic: 'jobs' } : { topic: 'jobs', group };
              const mailbox = { maxLength: 20, overflow: 'refuse' } as const;
              await side.transport.subscribe(side.op(process), [
                { address, topics: [{ topic: 'news' }, jobs], listening: true, mailbox, keepMs: 4_000 },
              ]);
            }
          }
          for (const [index, step] of script.entries()) {
            const [expected, actual] = [await attempt(sides[0], step), await attempt(sides[1], step)];
            const where = `step ${index}: ${JSON.stringify(step)}`;
            if (step.do === 'settle') {
              const [said, told] = [expected, actual] as {
                settled?: readonly boolean[];
                readied?: readonly string[];
              }[];
              expect(told?.settled, where).toEqual(said?.settled);
              // Redis doesn't know whether anybody asked in vain: it may tell more than need to know.
              expect(told?.readied ?? [], where).toEqual(expect.arrayContaining([...(said?.readied ?? [])]));
              seen.settled += said?.settled?.filter(Boolean).length ?? 0;
            } else expect(actual, where).toEqual(expected);
            const answer = expected as
              | { readonly deliveries?: readonly { readonly times: number }[] }
              | undefined;
            seen.received += answer?.deliveries?.length ?? 0;
            seen.redelivered += answer?.deliveries?.filter(({ times }) => times > 1).length ?? 0;
            if (step.do === 'subscribe') seen.lost += Array.isArray(expected) ? expected.length : 0;
            const [a, b] = [await totalsOf(sides[0]), await totalsOf(sides[1])];
            expect(b, where).toEqual(a);
          }
        } finally {
          for (const side of sides) await side.env.stop();
        }
      }),
      // A failure is reported in time, however slow the machine shrinks it.
      { numRuns: runs, interruptAfterTimeLimit: 200_000 },
    );
    expect(seen.runs).toBeGreaterThanOrEqual(200);
    expect(seen.received).toBeGreaterThan(runs / 2);
    expect(seen.settled).toBeGreaterThan(runs / 2);
    expect(seen.redelivered).toBeGreaterThan(runs / 20);
    expect(seen.lost).toBeGreaterThan(0);
  }, 300_000);
});

/** Refusals are answers too. */
async function attempt(side: Side, step: Step): Promise<unknown> {
  try {
    return await play(side, step);
  } catch (error) {
    const { code } = error as { readonly code?: string };
    if (code === 'SESSION_EXPIRED') return code;
    throw error;
  }
}
