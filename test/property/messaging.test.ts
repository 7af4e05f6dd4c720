import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { memory, type MemoryBackend } from '../../src/backends/memory/memory.ts';
import type { Delivery, MessageSettlement } from '../../src/core/ports/messages.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { decidePrefetch } from '../../src/messaging/prefetch.ts';
import { decideRedelivery } from '../../src/messaging/redelivery.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { newMessage } from '../../src/testing/suites/messages/harness.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';
import { MailboxModel } from '../support/mailbox-model.ts';
import { createRouterWorld, expectConserved } from '../support/messaging.ts';

const MAX_LENGTH = 12;
const MAILBOX = { maxLength: MAX_LENGTH, overflow: 'refuse' } as const;

/** The memory transport with two processes that receive for one address. */
class Real {
  readonly clock: TestClock = createTestClock();
  readonly backend: MemoryBackend = memory();
  readonly hand = new Map<string, Delivery>();
  readonly #processes = new Map<string, { session: SessionNumber; sequence: number }>();
  #boots = 0;

  constructor() {
    this.backend.start(createRuntime({ clock: this.clock, random: createRandom('model') }));
    for (const holder of ['p', 'q']) this.boot(holder);
  }

  boot(holder: string): void {
    const boot = `${holder}${++this.#boots}`;
    const { session } = this.backend.sessions.open({ boot, leaseMs: 1e9, writer: 1, report: REPORT });
    this.#processes.set(holder, { session, sequence: 0 });
    this.backend.messages.subscribe(this.op(holder), [
      { address: 'receiver', topics: [], listening: true, mailbox: MAILBOX, keepMs: 0 },
    ]);
  }

  session(holder: string): SessionNumber {
    return (this.#processes.get(holder) as { session: SessionNumber }).session;
  }

  op(holder: string): Operation {
    const process = this.#processes.get(holder) as { session: SessionNumber; sequence: number };
    process.sequence += 1;
    return { session: process.session, sequence: process.sequence };
  }
}

interface Statistics {
  redelivered: number;
  parked: number;
  runs: number;
}

type Command = fc.Command<MailboxModel, Real>;

/** Everything published is in one place, and in the same as the model says. */
function checkCounts(model: MailboxModel, real: Real): void {
  const { totals } = real.backend.messages.list({}, { limit: 1 });
  expect({
    published: totals.published,
    delivered: totals.delivered,
    dropped: totals.dropped,
    dead: totals.dead,
    handling: totals.handling,
    // Expiry is counted when somebody looks: only the sum is the same at every moment.
    waiting: totals.waiting + totals.expired,
  }).toEqual({
    published: model.counts.published,
    delivered: model.counts.delivered,
    dropped: model.counts.dropped,
    dead: model.dead.length,
    handling: model.held.length,
    waiting: model.waiting.length + model.counts.expired,
  });
  const { published, delivered, dropped, expired, dead, waiting, handling } = totals;
  expect(delivered + dropped + expired + dead + waiting + handling).toBe(published);
}

function command(name: string, run: (model: MailboxModel, real: Real) => void): Command {
  return {
    check: () => true,
    run: (model, real) => {
      run(model, real);
      checkCounts(model, real);
    },
    toString: () => name,
  };
}

const holders = fc.constantFrom('p', 'q');
let published = 0;

function commands(statistics: Statistics): fc.Arbitrary<Command>[] {
  const publish = fc
    .tuple(
      fc.constantFrom('a', 'b', 'c'),
      fc.constantFrom(1, 2, 3),
      fc.constantFrom(undefined, undefined, 2_000),
    )
    .map(([key, priority, expiresInMs]) =>
      command(`publish ${key} priority ${priority} expiry ${String(expiresInMs)}`, (model, real) => {
        const id = `m${++published}`;
        const now = real.clock.mono();
        const message = newMessage({ id, from: key, priority, expiresInMs });
        const { results } = real.backend.messages.publish(real.op('p'), [message], MAILBOX);
        const expected = model.publish(id, key, priority, expiresInMs ?? Number.POSITIVE_INFINITY, now);
        expect(results[0]?.status).toBe(expected);
      }),
    );
  const receive = fc
    .tuple(holders, fc.integer({ min: 1, max: 6 }), fc.boolean())
    .map(([holder, limit, onePerKey]) =>
      command(`${holder} receives ${limit}${onePerKey ? ', one per key' : ''}`, (model, real) => {
        const { deliveries } = real.backend.messages.receive(real.op(holder), {
          addresses: [{ address: 'receiver', limit, onePerKey }],
          ackWithinMs: 5_000,
        });
        const now = real.clock.mono();
        const expected = model.receive(holder, limit, onePerKey, now, now + 5_000);
        expect(deliveries.map(({ message, delivery }) => [message.id, delivery])).toEqual(
          expected.map(({ id, delivery }) => [id, delivery]),
        );
        for (const delivery of deliveries) {
          real.hand.set(delivery.message.id, delivery);
          if (delivery.delivery > 1) statistics.redelivered += 1;
        }
        if (deliveries.length < Math.min(limit, model.waiting.length + deliveries.length))
          statistics.parked += 1;
      }),
    );
  const settle = fc
    .tuple(
      fc.nat(5),
      fc.constantFrom('ack', 'ack', 'retry', 'release', 'bury', 'drop'),
      fc.constantFrom(0, 1_000),
    )
    .map(([index, as, delayMs]) =>
      command(`settle ${index} as ${as} ${delayMs}`, (model, real) => {
        const held = model.held[index];
        if (held === undefined) return;
        const delivery = real.hand.get(held.id) as Delivery;
        const item = { delivery, as, delayMs, reason: 'model' } as MessageSettlement;
        const { settled } = real.backend.messages.settle(real.op(held.holder), [item]);
        expect(settled).toEqual([true]);
        if (as === 'retry') model.putBack(held.id, true, delayMs > 0 ? real.clock.mono() + delayMs : 0);
        else if (as === 'release') model.putBack(held.id, false, 0);
        else if (as === 'bury') model.bury(held.id);
        else if (as === 'drop') model.drop(held.id);
        else model.ack(held.id);
        const again = real.backend.messages.settle(real.op(held.holder), [item]);
        expect(again.settled).toEqual([false]);
      }),
    );
  const pass = fc
    .constantFrom(500, 1_000, 3_000)
    .map((ms) => command(`${ms} ms pass`, (_model, real) => real.clock.tick(ms)));
  const sweep = fc.constant(
    command('sweep', (model, real) => {
      real.backend.messages.sweep(real.op('p'), 100);
      model.reclaim(real.clock.mono());
      model.expire(real.clock.mono());
    }),
  );
  const end = holders.map((holder) =>
    command(`${holder} closes and comes back`, (model, real) => {
      real.backend.sessions.close(real.session(holder));
      model.crash(holder);
      real.boot(holder);
    }),
  );
  const revise = fc.constantFrom('redrive', 'discard').map((set) =>
    command(set, (model, real) => {
      const { changed } = real.backend.messages.revise(real.op('p'), { set, limit: 100 });
      expect(changed).toBe(set === 'redrive' ? model.redrive(real.clock.mono()) : model.discard());
    }),
  );
  return [publish, publish, publish, receive, receive, settle, settle, pass, sweep, end, revise];
}

describe('the memory transport against a model', () => {
  test('M1: order, redelivery and counters are the model’s, whatever happens', () => {
    const statistics: Statistics = { redelivered: 0, parked: 0, runs: 0 };
    fc.assert(
      fc.property(fc.commands(commands(statistics), { size: '+1', maxCommands: 60 }), (steps) => {
        statistics.runs += 1;
        fc.modelRun(() => ({ model: new MailboxModel(MAX_LENGTH), real: new Real() }), steps);
      }),
    );
    // The runs must reach what they are for.
    expect(statistics.redelivered).toBeGreaterThan(statistics.runs / 10);
    expect(statistics.parked).toBeGreaterThan(statistics.runs / 10);
  });
});

type Action =
  | { readonly do: 'send' | 'at-most-once'; readonly from: string; readonly to: string }
  | { readonly do: 'request'; readonly from: string; readonly to: string }
  | { readonly do: 'broadcast'; readonly from: string }
  | { readonly do: 'subscribe' | 'unsubscribe' | 'leave' | 'join'; readonly agent: string };

const agents = fc.constantFrom('a', 'b', 'c');
const actions: fc.Arbitrary<Action> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('send' as const), from: agents, to: agents }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('at-most-once' as const), from: agents, to: agents }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('request' as const), from: agents, to: agents }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('broadcast' as const), from: agents }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('subscribe' as const, 'unsubscribe' as const),
      agent: agents,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom('leave' as const, 'join' as const), agent: agents }),
  },
);

describe('a router under interleavings', () => {
  test('M0, M1, M2, M3: nothing is lost or doubled, pairs keep their order, requests settle once', async () => {
    const seen = { failed: 0, aborted: 0, replies: 0, noResponder: 0, runs: 0 };
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(actions, { minLength: 4, maxLength: 16 }),
        fc.integer({ min: 1, max: 3 }),
        fc.infiniteStream(fc.constantFrom(true, true, true, false)),
        async (s, script, concurrency, fates) => {
          seen.runs += 1;
          const { router, clock } = createRouterWorld({ redeliveryDelayMs: 50, maxDeliveries: 3 });
          /** Payloads as they were handled to the end, by receiver. */
          const done = new Map<string, string[]>();
          const settled = new Map<string, number>();
          const members = new Set<string>();
          const busy = new Set<string>();
          let sent = 0;

          const handle =
            (agent: string) =>
            async (message: {
              readonly from: string;
              readonly payload: unknown;
              readonly type: string | undefined;
              readonly signal: AbortSignal;
              reply(payload: unknown): Promise<boolean>;
            }) => {
              const payload = String((message.payload as { id: string }).id);
              const order = message.type === 'm0' || message.type === 'all' ? message.type : '';
              const pair = `${message.from} ${agent} ${order}`;
              expect(busy.has(pair), 'one of a pair at a time').toBe(false);
              busy.add(pair);
              await s.schedule(Promise.resolve(), `handling ${payload} at ${agent}`);
              busy.delete(pair);
              if (message.signal.aborted) {
                seen.aborted += 1;
                return;
              }
              if (fates.next().value === false) {
                seen.failed += 1;
                throw new Error('fate');
              }
              if (message.type === 'request') await message.reply({ to: payload });
              done.set(agent, [...(done.get(agent) ?? []), payload]);
            };
          const count = (name: string): void => void settled.set(name, (settled.get(name) ?? 0) + 1);
          const act = async (action: Action): Promise<void> => {
            sent += 1;
            const id = `${'from' in action ? action.from : ''}:${String(sent).padStart(3, '0')}`;
            switch (action.do) {
              case 'send':
                await router.send(action.from, action.to, { type: 'message', id });
                break;
              case 'at-most-once':
                await router.send(
                  action.from,
                  action.to,
                  { type: 'm0', id: `m0-${id}` },
                  {
                    delivery: 'at-most-once',
                    key: 'm0',
                  },
                );
                break;
              case 'request':
                count('asked');
                await router
                  .request(action.from, action.to, { type: 'request', id }, { timeoutMs: 5_000 })
                  .then(
                    (reply) => {
                      seen.replies += 1;
                      count('settled');
                      expect(reply).toEqual({ to: id });
                    },
                    (error: { code: string }) => {
                      count('settled');
                      if (error.code === 'NO_RESPONDER') seen.noResponder += 1;
                      expect(['REPLY_TIMEOUT', 'NO_RESPONDER', 'UNKNOWN_AGENT', 'STOPPED']).toContain(
                        error.code,
                      );
                    },
                  );
                break;
              case 'broadcast': {
                const others = [...members].filter((member) => member !== action.from).length;
                const message = { type: 'all', id: `all-${id}` };
                const { receivers } = await router.broadcast(action.from, message, { key: 'all' });
                expect(receivers).toBe(others);
                break;
              }
              case 'subscribe':
                router.subscribe(action.agent, handle(action.agent), { concurrency });
                members.add(action.agent);
                break;
              case 'unsubscribe':
                await router.unsubscribe(action.agent);
                break;
              case 'leave':
                members.delete(action.agent);
                await router.agentLeft(action.agent);
                break;
              default:
                members.add(action.agent);
                await router.agentJoined(action.agent);
            }
          };
          // One handler an agent: with more, each of them sees each message.
          const subscribed = new Set<string>();
          const begun = script
            .filter((action) => {
              if (action.do !== 'subscribe') return true;
              if (subscribed.has(action.agent)) return false;
              subscribed.add(action.agent);
              return true;
            })
            .map(async (action, index) => {
              await s.schedule(Promise.resolve(), `${index} ${JSON.stringify(action)}`);
              await act(action).catch((error: { code?: string }) => {
                if (error.code !== 'UNKNOWN_AGENT') throw error;
              });
            });
          for (let quiet = 0; quiet < 2; quiet++) {
            while (s.count() > 0) {
              quiet = 0;
              await s.waitOne();
              if (s.count() === 0) await clock.settle();
            }
            await clock.advance(1_000);
          }
          await clock.advance(15_000);
          for (; s.count() > 0; await clock.advance(1_000)) await s.waitAll();
          await Promise.all(begun);

          const stats = await expectConserved(router);
          expect(stats.handling).toBe(0);
          expect(stats.pendingRequests).toBe(0);
          expect(settled.get('settled') ?? 0).toBe(settled.get('asked') ?? 0);
          for (const [agent, payloads] of done) {
            expect(new Set(payloads).size, `handled twice by ${agent}`).toBe(payloads.length);
            for (const from of ['a', 'b', 'c']) {
              const pair = payloads.filter((payload) => payload.startsWith(`${from}:`));
              expect(pair).toEqual(pair.toSorted());
            }
          }
          await router.shutdown({ drainMs: 0 });
          expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
        },
      ),
    );
    expect(seen.failed).toBeGreaterThan(seen.runs / 10);
    expect(seen.replies).toBeGreaterThan(seen.runs / 20);
    expect(seen.noResponder).toBeGreaterThan(0);
    expect(seen.aborted).toBeGreaterThan(0);
  });
});

describe('decisions', () => {
  test('a redelivery is buried exactly at the last delivery, else delayed within its bounds', () => {
    const facts = fc.record({
      delivery: fc.integer({ min: 1, max: 1_000 }),
      maxDeliveries: fc.integer({ min: 1, max: 1_000 }),
      delayMs: fc.double({ min: 0, max: 1e6, noNaN: true }),
      chance: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      reason: fc.string(),
    });
    fc.assert(
      fc.property(facts, (given) => {
        const decision = decideRedelivery(given);
        expect(decision.as).toBe(given.delivery >= given.maxDeliveries ? 'bury' : 'retry');
        if (decision.as === 'bury') return;
        const full = Math.min(30_000, given.delayMs * 2 ** Math.min(given.delivery - 1, 50));
        expect(decision.delayMs).toBeGreaterThanOrEqual(full / 2);
        expect(decision.delayMs).toBeLessThanOrEqual(full);
      }),
    );
  });

  test('a prefetch is never more than can be handled soon, never less than the free places', () => {
    const free = fc.integer({ min: -5, max: 1_000 });
    const mean = fc.option(fc.double({ min: 0, max: 1e6, noNaN: true }), { nil: undefined });
    fc.assert(
      fc.property(free, mean, (places, meanMs) => {
        const most = decidePrefetch(places, meanMs);
        if (places <= 0) {
          expect(most).toBe(0);
          return;
        }
        expect(Number.isInteger(most)).toBe(true);
        expect(most).toBeGreaterThanOrEqual(Math.min(places, 256));
        expect(most).toBeLessThanOrEqual(256);
        if (most > places && meanMs !== undefined) expect((most - 1) * meanMs).toBeLessThanOrEqual(5.000_001);
      }),
    );
  });
});
