import { describe, expect, test } from 'vitest';
import { decidePrefetch } from '../../src/messaging/prefetch.ts';
import { decideRedelivery } from '../../src/messaging/redelivery.ts';
import { createRouterWorld, deferred, expectConserved } from '../support/messaging.ts';

describe('a handler that fails', () => {
  test('M1: gets the message again, flagged, after a growing delay, and at last it is a dead letter', async () => {
    const { router, clock, payloads } = createRouterWorld({ maxDeliveries: 4, redeliveryDelayMs: 1_000 });
    const calls: { at: number; delivery: number; redelivered: boolean }[] = [];
    router.subscribe('b', async ({ delivery, redelivered }) => {
      calls.push({ at: clock.mono(), delivery, redelivered });
      throw new Error('no');
    });
    const messageId = await router.send('a', 'b', 1);
    await clock.advance(30_000);
    expect(calls.map(({ delivery }) => delivery)).toEqual([1, 2, 3, 4]);
    expect(calls.map(({ redelivered }) => redelivered)).toEqual([false, true, true, true]);
    calls.slice(1).forEach(({ at }, index) => {
      const waited = at - (calls[index]?.at ?? 0);
      expect(waited).toBeGreaterThanOrEqual(500 * 2 ** index);
      expect(waited).toBeLessThanOrEqual(1_000 * 2 ** index + 1);
    });
    expect(payloads('message:buried')).toEqual([{ messageId, to: 'b', reason: 'no' }]);
    expect(payloads('system:error')).toHaveLength(4);
    expect(await expectConserved(router)).toMatchObject({ published: 1, dead: 1, failedHandlings: 4 });
    await router.shutdown();
  });

  test('M1: later messages of its sender wait for it; those of others go on', async () => {
    const { router, clock } = createRouterWorld({ redeliveryDelayMs: 1_000 });
    const done: unknown[] = [];
    let failures = 2;
    router.subscribe('b', ({ payload }) => {
      if (payload === 'a1' && failures-- > 0) throw new Error('not yet');
      done.push(payload);
    });
    for (const payload of ['a1', 'a2', 'a3']) await router.send('a', 'b', payload);
    await router.send('c', 'b', 'c1');
    await clock.settle();
    expect(done).toEqual(['c1']);
    await clock.advance(10_000);
    expect(done).toEqual(['c1', 'a1', 'a2', 'a3']);
    await expectConserved(router);
    await router.shutdown();
  });

  test('M1: dead letters are listed, redriven and discarded', async () => {
    const { router, clock } = createRouterWorld({ maxDeliveries: 1 });
    let broken = true;
    const done: unknown[] = [];
    router.subscribe('b', ({ payload }) => {
      if (broken) throw new Error(`can't ${String(payload)}`);
      done.push(payload);
    });
    const ids: string[] = [];
    for (const n of [1, 2, 3]) ids.push(await router.send('a', 'b', n));
    await clock.settle();
    const { items, next } = await router.deadLetters({ agentId: 'b' });
    expect(next).toBeUndefined();
    expect(items.map(({ id, payload, reason, deliveries }) => ({ id, payload, reason, deliveries }))).toEqual(
      ids.map((id, i) => ({ id, payload: i + 1, reason: `can't ${i + 1}`, deliveries: 1 })),
    );
    expect((await router.deadLetters({ ids: [ids[1] as string] })).items).toHaveLength(1);
    expect((await router.deadLetters({ agentId: 'stranger' })).items).toEqual([]);
    const page = await router.deadLetters({}, { limit: 2 });
    expect(page.items).toHaveLength(2);
    expect(page.next).toBeDefined();
    broken = false;
    expect(await router.redrive({ ids: [ids[2] as string] })).toBe(1);
    await clock.settle();
    expect(done).toEqual([3]);
    expect(await router.discard({ agentId: 'b', ids: [ids[0] as string] })).toBe(1);
    expect(await router.redrive()).toBe(1);
    expect(await router.redrive()).toBe(0);
    await clock.settle();
    expect(done).toEqual([3, 2]);
    expect(await expectConserved(router)).toMatchObject({ published: 3, delivered: 2, dropped: 1, dead: 0 });
    await router.shutdown();
  });

  test.each([
    [
      'throws a text',
      () => {
        throw 'text';
      },
    ],
    [
      'throws undefined',
      () => {
        throw undefined;
      },
    ],
    [
      'throws null',
      () => {
        throw null;
      },
    ],
    [
      'throws a cyclic error',
      () => {
        const error = new Error('cyclic');
        error.cause = error;
        throw error;
      },
    ],
    [
      'throws an unreadable error',
      () => {
        throw Object.defineProperty(new Error('x'), 'message', {
          get: () => {
            throw new Error('gotcha');
          },
        });
      },
    ],
    [
      'answers with a thenable that throws',
      () => ({
        then: () => {
          throw new Error('then');
        },
      }),
    ],
    [
      'answers with a thenable that rejects',
      () => ({ then: (_ok: unknown, fail: (e: unknown) => void) => fail(new Error('late')) }),
    ],
  ] as const)('that %s is a failure like others', async (_name, handler) => {
    const { router, clock } = createRouterWorld({ maxDeliveries: 2 });
    router.subscribe('b', handler);
    await router.send('a', 'b', 1);
    await clock.advance(5_000);
    expect(await expectConserved(router)).toMatchObject({ dead: 1, failedHandlings: 2 });
    await router.shutdown();
  });

  test('what it acknowledged itself is not repeated', async () => {
    const { router, clock } = createRouterWorld();
    let calls = 0;
    router.subscribe('b', async (message) => {
      calls += 1;
      message.ack();
      message.ack();
      throw new Error('afterwards');
    });
    await router.send('a', 'b', 1);
    await clock.advance(5_000);
    expect(calls).toBe(1);
    expect(await expectConserved(router)).toMatchObject({ delivered: 1, failedHandlings: 1, staleAcks: 0 });
    await router.shutdown();
  });
});

describe('a handler that takes too long', () => {
  test('M1: is aborted, its place is free again, the message comes again, and its late end changes nothing', async () => {
    const { router, clock } = createRouterWorld({ ackWithinMs: 1_000, redeliveryDelayMs: 100 });
    const gate = deferred();
    const signals: AbortSignal[] = [];
    router.subscribe('b', async ({ delivery, signal, payload }) => {
      signals.push(signal);
      if (delivery === 1 && payload === 'hangs') await gate.promise;
    });
    await router.send('a', 'b', 'hangs');
    await router.send('c', 'b', 'other');
    await clock.advance(900);
    expect(signals).toHaveLength(1);
    await clock.advance(200);
    expect(signals[0]?.reason).toMatchObject({ code: 'TIMEOUT' });
    await clock.advance(1_000);
    expect(signals).toHaveLength(3);
    expect(await expectConserved(router)).toMatchObject({ delivered: 2, failedHandlings: 1 });
    gate.resolve();
    await clock.settle();
    expect(await expectConserved(router)).toMatchObject({ delivered: 2, failedHandlings: 1, staleAcks: 0 });
    await router.shutdown();
  });

  test('one that never ends reaches the dead letters and blocks nobody', async () => {
    const { router, clock } = createRouterWorld({
      ackWithinMs: 1_000,
      maxDeliveries: 3,
      messageTimeout: 120_000,
    });
    const done: unknown[] = [];
    router.subscribe('b', ({ payload }) => {
      if (payload === 'poison') return new Promise(() => undefined);
      done.push(payload);
      return undefined;
    });
    await router.send('a', 'b', 'poison');
    await router.send('a', 'b', 'after');
    await clock.advance(10_000);
    expect(done).toEqual(['after']);
    expect(await expectConserved(router)).toMatchObject({ delivered: 1, dead: 1 });
    await router.shutdown();
  });
});

describe('decideRedelivery', () => {
  const facts = { delivery: 1, maxDeliveries: 5, delayMs: 100, chance: 0, reason: 'x' };
  test.each([
    [{}, { as: 'retry', delayMs: 50 }],
    [{ chance: 1 }, { as: 'retry', delayMs: 100 }],
    [
      { delivery: 3, chance: 1 },
      { as: 'retry', delayMs: 400 },
    ],
    [
      { delivery: 4_000, maxDeliveries: 5_000, chance: 1 },
      { as: 'retry', delayMs: 30_000 },
    ],
    [{ delivery: 5 }, { as: 'bury', reason: 'x' }],
    [{ delivery: 9 }, { as: 'bury', reason: 'x' }],
    [{ delayMs: 0 }, { as: 'retry', delayMs: 0 }],
  ])('%j → %j', (change, expected) => {
    expect(decideRedelivery({ ...facts, ...change })).toEqual(expected);
  });
});

describe('decidePrefetch', () => {
  test.each([
    [1, undefined, 1],
    [4, undefined, 4],
    [1, 0, 256],
    [1, 0.001, 256],
    [1, 1, 5],
    [1, 10_000, 1],
    [8, 10_000, 8],
    [0, 0.001, 0],
    [-1, 0.001, 0],
    [100_000, 1, 256],
  ])('%s free places, %s ms each: %s', (free, mean, expected) => {
    expect(decidePrefetch(free, mean)).toBe(expected);
  });

  test('M1: what was in hand for longer than ackWithinMs goes back before its receipt runs out, and is handled once', async () => {
    const { router, clock } = createRouterWorld({ ackWithinMs: 1_000 });
    const began: string[] = [];
    router.subscribe('b', ({ from, payload }) => {
      if (payload === 'quick') return undefined;
      began.push(`${from} at ${clock.mono() - t0}`);
      return new Promise<void>((resolve) => void clock.after(payload as number, resolve));
    });
    let t0 = clock.mono();
    // As quick as these are, everything that waits is worth taking at once.
    for (let i = 0; i < 10; i++) await router.send('warm-up', 'b', 'quick');
    await clock.settle();
    t0 = clock.mono();
    await Promise.all([router.send('a', 'b', 900), router.send('c', 'b', 900), router.send('d', 'b', 500)]);
    await clock.advance(1_700);
    // Both that are left are in hand: one under way, one that has been waiting for its turn.
    expect(await router.stats()).toMatchObject({ handling: 2, waiting: 0 });
    await clock.advance(8_000);
    expect(began).toEqual(['a at 0', 'c at 900', 'd at 1800']);
    expect(await expectConserved(router)).toMatchObject({ delivered: 13, staleAcks: 0, failedHandlings: 0 });
    await router.shutdown();
  });
});
