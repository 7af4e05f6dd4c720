import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isCoordinationError } from '../../src/core/errors.ts';
import type {
  Delivery,
  Lost,
  MailboxSettings,
  MailboxView,
  Membership,
  MessageCounts,
  MessageSettlement,
  MessageTransport,
  NewMessage,
  PublishResult,
} from '../../src/core/ports/messages.ts';
import type { SessionNumber } from '../../src/core/ports/words.ts';
import { sessionsOf, REPORT } from '../../src/testing/suites/caller.ts';
import { newMessage } from '../../src/testing/suites/messages/harness.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';
import { memoryEnvironment } from '../support/memory-environment.ts';
import { postgresEnvironment } from '../support/postgres-environment.ts';

const RUNS = 200;
const DEFAULTS: MailboxSettings = { maxLength: 5, overflow: 'refuse' };
const FOREVER = 1e9;

const holder = fc.constantFrom('p', 'q', 'r');
const address = fc.constantFrom('a', 'b');
const mailbox = fc.oneof(
  fc.record({
    maxLength: fc.constantFrom(2, 4, 50),
    overflow: fc.constantFrom('refuse' as const, 'drop-oldest' as const, 'drop-newest' as const),
  }),
  fc.constant('none' as const),
);
const topics = fc.constantFrom<Membership['topics']>(
  [],
  [],
  [{ topic: 'news' }],
  [{ topic: 'jobs', group: 'workers' }],
  [{ topic: 'news' }, { topic: 'jobs', group: 'workers' }],
);

const spec = fc.record({
  to: fc.constantFrom('a', 'a', 'b', 'nobody', 'news', 'jobs'),
  key: fc.constantFrom('k', 'l', 'm'),
  priority: fc.constantFrom(1, 2, 3),
  class: fc.constantFrom('m1' as const, 'm1' as const, 'm0' as const),
  expires: fc.constantFrom(false, false, true),
  same: fc.option(fc.constantFrom('x', 'y'), { nil: undefined, freq: 5 }),
});
type Spec = typeof spec extends fc.Arbitrary<infer S> ? S : never;

/**
 * Letters that expire are urgent: when they end must not change the level of others. Ids that come again are of `m1` only: of an `m1` that
 * is refused and an `m0` of its id in one batch, the second is refused here and dropped in memory.
 */
function messageOf({ to, key, priority, class: promise, expires, same }: Spec, id: string): NewMessage {
  const topic = to === 'news' || to === 'jobs';
  return newMessage({
    id: same ?? id,
    dedupe: same !== undefined,
    class: same === undefined ? promise : 'm1',
    from: topic && key === 'k' ? 'a' : `from ${key}`,
    to,
    topic,
    orderKey: key,
    priority: expires ? 3 : priority,
    expiresInMs: expires ? 2_000 : undefined,
    payload: { id, text: '\u0000 \ud800 "\\' },
  });
}

const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('subscribe' as const),
      holder,
      address,
      topics,
      mailbox,
      listening: fc.constantFrom(true, true, true, false),
      keep: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), holder, address }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('publish' as const),
      holder,
      messages: fc.array(spec, { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 7,
    arbitrary: fc.record({
      do: fc.constant('receive' as const),
      holder,
      addresses: fc.constantFrom(['a'], ['b'], ['a', 'b']),
      limit: fc.integer({ min: 1, max: 5 }),
      onePerKey: fc.boolean(),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      /** Which of those who hold something. */
      which: fc.nat(2),
      from: fc.nat(1),
      as: fc.array(fc.constantFrom('ack', 'ack', 'retry', 'later', 'release', 'bury', 'drop'), {
        minLength: 1,
        maxLength: 3,
      }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(400, 1_100, 3_500) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('close' as const), holder }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('revise' as const),
      set: fc.constantFrom('redrive' as const, 'discard' as const),
      limit: fc.integer({ min: 1, max: 3 }),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** How each sequence begins: most calls reach somebody. */
const JOINED: readonly Step[] = [
  ['p', 'a'],
  ['q', 'a'],
  ['q', 'b'],
  ['r', 'b'],
].map(([who, at]) => ({
  do: 'subscribe',
  holder: who as 'p' | 'q' | 'r',
  address: at as 'a' | 'b',
  topics: [{ topic: 'news' }, { topic: 'jobs', group: 'workers' }],
  mailbox: at === 'a' ? { maxLength: 2, overflow: 'refuse' } : { maxLength: 4, overflow: 'drop-oldest' },
  listening: true,
  keep: false,
}));

interface Process {
  session: SessionNumber;
  sequence: number;
}

/** One of the two stores, with three processes and one that sweeps. */
class Side {
  readonly env: SuiteEnvironment;
  readonly hands = new Map<string, Delivery[]>();
  readonly #processes = new Map<string, Process>();
  #boots = 0;

  constructor(env: SuiteEnvironment) {
    this.env = env;
  }

  get store(): MessageTransport {
    return this.env.backend.messages as MessageTransport;
  }

  /** @param leaseMs the sweeper and one of the processes live for ever */
  async boot(name: string): Promise<void> {
    const leaseMs = name === 'q' || name === 'r' ? 3_000 : FOREVER;
    const boot = `${name}${++this.#boots}`;
    const { session } = await sessionsOf(this.env).open({ boot, leaseMs, writer: 1, report: REPORT });
    this.#processes.set(name, { session, sequence: 0 });
    this.hands.set(name, []);
  }

  /** Carries out a call; a process whose session is over gets a new one, and does nothing else in this step. */
  async as<T>(
    name: string,
    call: (op: { session: SessionNumber; sequence: number }) => T,
  ): Promise<Awaited<T> | 'expired'> {
    if (!this.#processes.has(name)) await this.boot(name);
    const process = this.#processes.get(name) as Process;
    process.sequence += 1;
    try {
      return await call({ session: process.session, sequence: process.sequence });
    } catch (error) {
      if (!isCoordinationError(error, 'SESSION_EXPIRED')) throw error;
      await this.boot(name);
      return 'expired';
    }
  }

  session(name: string): SessionNumber | undefined {
    return this.#processes.get(name)?.session;
  }
}

interface Statistics {
  delivered: number;
  redelivered: number;
  refused: number;
  orphaned: number;
}

function lossesOf(lost: readonly Lost[]): unknown[] {
  return lost
    .filter(({ reason }) => reason !== 'expired')
    .flatMap(({ from, address: at, count, reason }) =>
      Array.from({ length: count }, () => `${from} ${at} ${reason}`),
    )
    .toSorted();
}

function resultOf(result: PublishResult): unknown {
  return result.status === 'published' ? { ...result, lost: lossesOf(result.lost ?? []) } : result;
}

/** Expiry is counted when somebody looks, and they look at different times. */
function countsOf({ waiting, expired, ...rest }: MessageCounts): unknown {
  return { ...rest, waitingOrExpired: waiting + expired };
}

function lettersOf(views: readonly MailboxView[], at: (message: NewMessage) => boolean): unknown {
  return Object.fromEntries(
    views
      .map(({ address: of, group, messages }) => [
        `${of}/${group ?? ''}`,
        messages
          .filter(({ message: m }) => at(m))
          .map(({ message: m, delivery, reason }) => [m.payload, delivery, reason]),
      ])
      .filter(([, letters]) => (letters as unknown[]).length > 0),
  );
}

async function carryOut(side: Side, step: Step, ids: readonly string[], seen: Statistics): Promise<unknown> {
  switch (step.do) {
    case 'subscribe': {
      const { address: at, topics: of, mailbox: keeps, listening, keep } = step;
      const change = { address: at, topics: of, listening, mailbox: keeps, keepMs: keep ? FOREVER : 0 };
      const answer = await side.as(step.holder, (op) => side.store.subscribe(op, [change]));
      return answer === 'expired' ? answer : lossesOf(answer.lost);
    }
    case 'leave': {
      const change: Membership = {
        address: step.address,
        topics: [],
        listening: false,
        mailbox: 'leave',
        keepMs: 0,
      };
      const answer = await side.as(step.holder, (op) => side.store.subscribe(op, [change]));
      return answer === 'expired' ? answer : lossesOf(answer.lost);
    }
    case 'publish': {
      const batch = step.messages.map((each, i) => messageOf(each, ids[i] as string));
      const answer = await side.as(step.holder, (op) => side.store.publish(op, batch, DEFAULTS));
      if (answer === 'expired') return answer;
      seen.refused += answer.results.filter(({ status }) => status === 'full').length;
      return answer.results.map(resultOf);
    }
    case 'receive': {
      const addresses = step.addresses.map((at) => ({
        address: at,
        limit: step.limit,
        onePerKey: step.onePerKey,
      }));
      const answer = await side.as(step.holder, (op) =>
        side.store.receive(op, { addresses, ackWithinMs: 3_000 }),
      );
      if (answer === 'expired') return answer;
      const { deliveries } = answer;
      side.hands.get(step.holder)?.push(...deliveries.filter(({ message: m }) => m.class === 'm1'));
      seen.delivered += deliveries.length;
      seen.redelivered += deliveries.filter(({ delivery }) => delivery > 1).length;
      return deliveries.map(({ address: at, message: m, delivery }) => [at, m, delivery]);
    }
    case 'settle': {
      const busy = [...side.hands]
        .filter(([, held]) => held.length > 0)
        .toSorted(([a], [b]) => (a < b ? -1 : 1));
      const [name, hand] = busy[step.which % busy.length] ?? ['p', []];
      const items = hand
        .slice(step.from, step.from + step.as.length)
        .map((delivery, i): MessageSettlement => {
          const as = step.as[i];
          if (as === 'retry' || as === 'later')
            return { delivery, as: 'retry', delayMs: as === 'later' ? 1_000 : 0 };
          return { delivery, as, reason: 'because \u0000' } as MessageSettlement;
        });
      if (items.length === 0) return 'nothing';
      const answer = await side.as(name, (op) => side.store.settle(op, items));
      if (answer === 'expired') return answer;
      if (answer.settled.includes(false)) seen.orphaned += 1;
      side.hands.set(
        name,
        hand.filter((delivery) => !items.some((item) => item.delivery === delivery)),
      );
      return answer.settled;
    }
    case 'pass': {
      await side.env.pass(step.ms);
      // What they tell of differs: memory doesn't tell what was dropped when a session ended. The counts show it.
      await side.as('sweeper', (op) => side.store.sweep(op, 1_000));
      return undefined;
    }
    case 'close': {
      const session = side.session(step.holder);
      if (session !== undefined) await sessionsOf(side.env).close(session);
      await side.boot(step.holder);
      return undefined;
    }
    default: {
      const answer = await side.as('sweeper', (op) =>
        side.store.revise(op, { set: step.set, limit: step.limit }),
      );
      return answer === 'expired' ? answer : [answer.changed, answer.more, lossesOf(answer.lost)];
    }
  }
}

async function pictureOf({ store }: Side): Promise<unknown> {
  const page = { limit: 1_000 };
  const waiting = await store.list({ messages: 'waiting' }, page);
  const dead = await store.list({ messages: 'dead' }, page);
  const { published, delivered, dropped, expired, dead: buried, waiting: left, handling } = waiting.totals;
  expect(published, 'everything is somewhere').toBe(delivered + dropped + expired + buried + left + handling);
  return {
    totals: countsOf(waiting.totals),
    waiting: lettersOf(waiting.items, ({ expiresInMs }) => expiresInMs === undefined),
    dead: lettersOf(dead.items, () => true),
  };
}

test('the transport does what the one in memory does, whatever comes', async () => {
  const seen: Statistics = { delivered: 0, redelivered: 0, refused: 0, orphaned: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 16, maxLength: 30, size: 'max' }), async (steps) => {
      const sides = [new Side(await memoryEnvironment()), new Side(await postgresEnvironment())] as const;
      try {
        let next = 0;
        for (const [index, each] of [...JOINED, ...steps].entries()) {
          const ids = [1, 2, 3, 4].map(() => `m${++next}`);
          const [model, real] = sides;
          const expected = await carryOut(model, each, ids, seen);
          expect(await carryOut(real, each, ids, seen), `answer to step ${index}`).toEqual(expected);
          expect(await pictureOf(real), `after step ${index}`).toEqual(await pictureOf(model));
        }
      } finally {
        for (const { env } of sides) await env.stop();
      }
    }),
    // A failure is reported in time, however slow the machine shrinks it.
    { numRuns: RUNS, interruptAfterTimeLimit: 200_000 },
  );
  console.info(`compared ${RUNS} sequences: ${JSON.stringify(seen)}`);
  // The runs must reach what they are for.
  expect(seen.delivered).toBeGreaterThan(RUNS);
  expect(seen.redelivered).toBeGreaterThan(RUNS / 20);
  expect(seen.refused).toBeGreaterThan(RUNS / 10);
  expect(seen.orphaned).toBeGreaterThan(RUNS / 20);
}, 300_000);
