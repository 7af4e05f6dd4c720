import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { CircuitBreaker } from '../../src/circuit-breaker/circuit-breaker.ts';
import { backoff } from '../../src/circuit-breaker/policies/backoff.ts';
import { bulkheadPolicy } from '../../src/circuit-breaker/policies/bulkhead-policy.ts';
import { compose } from '../../src/circuit-breaker/policies/compose.ts';
import { fallbackPolicy } from '../../src/circuit-breaker/policies/fallback-policy.ts';
import { hedgePolicy } from '../../src/circuit-breaker/policies/hedge-policy.ts';
import type { Policy } from '../../src/circuit-breaker/policies/policy.ts';
import {
  retryDelay,
  retryPolicy,
  type RetryOptions,
} from '../../src/circuit-breaker/policies/retry-policy.ts';
import { timeoutPolicy } from '../../src/circuit-breaker/policies/timeout-policy.ts';
import { CoordinationError } from '../../src/core/errors.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

const boom = (): Promise<never> => Promise.reject(new Error('boom'));
const runtime = () => ({ clock: createTestClock(), random: createRandom(1) });
/** Settles a promise for looking at. */
const outcome = (promise: Promise<unknown>): { value?: unknown; error?: unknown; at: 'pending' | 'done' } => {
  const seen: { value?: unknown; error?: unknown; at: 'pending' | 'done' } = { at: 'pending' };
  promise.then(
    (value) => Object.assign(seen, { value, at: 'done' }),
    (error: unknown) => Object.assign(seen, { error, at: 'done' }),
  );
  return seen;
};

describe('timeout', () => {
  test('aborts the signal and rejects with TIMEOUT at its time; the call may run on unheard', async () => {
    const { clock, random } = runtime();
    let signal: AbortSignal | undefined;
    const seen = outcome(
      timeoutPolicy(100, { clock, random }).execute((given) => {
        signal = given;
        return new Promise(() => undefined);
      }),
    );
    await clock.advance(99);
    expect(seen.at).toBe('pending');
    expect(signal?.aborted).toBe(false);
    await clock.advance(1);
    expect(seen.error).toMatchObject({ code: 'TIMEOUT' });
    expect(signal?.reason).toBe(seen.error);
  });

  test('leaves neither timer nor listener behind', async () => {
    const { clock, random } = runtime();
    const policy = timeoutPolicy(100, { clock, random });
    const controller = new AbortController();
    const remove = vi.spyOn(controller.signal, 'removeEventListener');
    const add = vi.spyOn(controller.signal, 'addEventListener');
    expect(await policy.execute(() => 5, { signal: controller.signal })).toBe(5);
    await expect(policy.execute(boom, { signal: controller.signal })).rejects.toThrow('boom');
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    expect(add).toHaveBeenCalledTimes(2);
    expect(remove).toHaveBeenCalledTimes(2);
  });

  test('the caller’s abort reaches the call and wins', async () => {
    const { clock, random } = runtime();
    const controller = new AbortController();
    let inner: AbortSignal | undefined;
    const answer = timeoutPolicy(100, { clock, random }).execute(
      (signal) => {
        inner = signal;
        return new Promise(() => undefined);
      },
      { signal: controller.signal },
    );
    controller.abort(new Error('enough'));
    await expect(answer).rejects.toThrow('enough');
    expect(inner?.reason).toMatchObject({ message: 'enough' });
  });
});

describe('bulkhead', () => {
  test('lets so many run, queues so many in order, and refuses the rest with QUEUE_FULL', async () => {
    const bulkhead = bulkheadPolicy({ concurrency: 2, queue: 2 });
    const ends: (() => void)[] = [];
    const started: number[] = [];
    const call = (n: number) => (): Promise<number> => {
      started.push(n);
      const { promise, resolve } = Promise.withResolvers<number>();
      ends.push(() => resolve(n));
      return promise;
    };
    const answers = [1, 2, 3, 4].map((n) => bulkhead.execute(call(n)));
    await expect(bulkhead.execute(call(5))).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    expect([bulkhead.running, bulkhead.waiting, started]).toEqual([2, 2, [1, 2]]);
    ends[1]?.();
    expect(await answers[1]).toBe(2);
    expect(started).toEqual([1, 2, 3]);
    ends[0]?.();
    ends[2]?.();
    await answers[2];
    ends[3]?.();
    expect(await Promise.all(answers)).toEqual([1, 2, 3, 4]);
    expect([bulkhead.running, bulkhead.waiting]).toEqual([0, 0]);
  });

  test('one who gives up leaves the line; a running call keeps its place until it has settled', async () => {
    const bulkhead = bulkheadPolicy({ concurrency: 1, queue: 1 });
    const { promise, resolve } = Promise.withResolvers<number>();
    const controller = new AbortController();
    const running = bulkhead.execute(() => promise, { signal: controller.signal });
    const late = vi.fn<() => void>();
    const waiting = bulkhead.execute(late, { signal: controller.signal });
    controller.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    await expect(running).rejects.toThrow('gone');
    expect([bulkhead.running, bulkhead.waiting]).toEqual([1, 0]);
    resolve(1);
    await Promise.resolve();
    await Promise.resolve();
    expect(bulkhead.running).toBe(0);
    expect(late).not.toHaveBeenCalled();
  });

  test('no interleaving exceeds the concurrency or loses a place', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 3 }),
        fc.array(fc.tuple(fc.boolean(), fc.boolean()), { maxLength: 12 }),
        async (scheduler, concurrency, queue, callers) => {
          const bulkhead = bulkheadPolicy({ concurrency, queue });
          let running = 0;
          let most = 0;
          callers.forEach(([fails, givesUp], i) => {
            const controller = new AbortController();
            void scheduler.schedule(Promise.resolve(), `arrive ${i}`).then(() => {
              const answer = bulkhead.execute(
                async () => {
                  most = Math.max(most, (running += 1));
                  await scheduler.schedule(Promise.resolve(), `end ${i}`);
                  running -= 1;
                  if (fails) throw new Error('failed');
                },
                { signal: controller.signal },
              );
              answer.catch(() => undefined);
            });
            if (givesUp)
              void scheduler.schedule(Promise.resolve(), `abort ${i}`).then(() => controller.abort());
          });
          await scheduler.waitIdle();
          for (let i = 0; i < 10; i++) await Promise.resolve();
          await scheduler.waitIdle();
          expect(most).toBeLessThanOrEqual(concurrency);
          expect([running, bulkhead.running, bulkhead.waiting]).toEqual([0, 0, 0]);
        },
      ),
    );
  });
});

describe('retry', () => {
  const plan: RetryOptions = { maxAttempts: 4, delayMs: 100, maxDelayMs: 250, jitter: 'none' };

  test('calls again after growing, capped delays, and gives up with the last error', async () => {
    const { clock, random } = runtime();
    const at: number[] = [];
    const answer = outcome(
      retryPolicy(plan, { clock, random }).execute(() => {
        at.push(clock.mono());
        throw new Error(`attempt ${at.length}`);
      }),
    );
    await clock.advance(10_000);
    expect(at).toEqual([0, 100, 300, 550]);
    expect(answer.error).toMatchObject({ message: 'attempt 4' });
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('honours retryAfterMs, and gives up at once when that is longer than it may wait', async () => {
    const { clock, random } = runtime();
    const policy = retryPolicy(plan, { clock, random });
    const limited = (retryAfterMs: number): CoordinationError =>
      new CoordinationError('RATE_LIMITED', 'slow down', { retryAfterMs });
    let made = 0;
    const soon = outcome(policy.execute(() => (made++ === 0 ? Promise.reject(limited(240)) : 'done')));
    await clock.advance(239);
    expect(made).toBe(1);
    await clock.advance(1);
    expect(soon.value).toBe('done');
    const late = outcome(policy.execute(() => Promise.reject(limited(251))));
    await clock.settle();
    expect(late.error).toMatchObject({ code: 'RATE_LIMITED' });
  });

  test('decide has the last word', async () => {
    const { clock, random } = runtime();
    const decide: NonNullable<RetryOptions['decide']> = (_error, attempt) =>
      attempt === 1 ? { retryInMs: 7 } : 'bury';
    const at: number[] = [];
    const call = (): never => {
      at.push(clock.mono());
      throw new Error('x');
    };
    const answer = outcome(retryPolicy({ ...plan, decide }, { clock, random }).execute(call));
    await clock.advance(1_000);
    expect(at).toEqual([0, 7]);
    expect(answer.error).toMatchObject({ message: 'x' });
    const bad = retryPolicy({ ...plan, decide: () => ({ retryInMs: Number.NaN }) }, { clock, random });
    await expect(bad.execute(call)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('an abort ends the wait at once, and the attempt under way is told', async () => {
    const { clock, random } = runtime();
    const policy = retryPolicy(plan, { clock, random });
    const waiting = new AbortController();
    const call = vi.fn<() => Promise<never>>(boom);
    const seen = outcome(policy.execute(call, { signal: waiting.signal }));
    await clock.settle();
    waiting.abort(new Error('stop'));
    await clock.settle();
    expect(seen.error).toMatchObject({ message: 'stop' });
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    expect(call).toHaveBeenCalledOnce();
    await expect(policy.execute(call, { signal: waiting.signal })).rejects.toThrow('stop');
    expect(call).toHaveBeenCalledOnce();
  });

  test('delays are bounded for any attempt, jitter and wish', () => {
    const rules = fc.record({
      delayMs: fc.integer({ min: 0, max: 10_000 }),
      factor: fc.double({ min: 1, max: 100, noNaN: true }),
      maxDelayMs: fc.integer({ min: 0, max: 60_000 }),
      jitter: fc.constantFrom('full' as const, 'equal' as const, 'none' as const),
    });
    const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 10_000 }),
        rules,
        chance,
        fc.nat(100_000),
        (attempt, rule, luck, asked) => {
          const grown = rule.delayMs * rule.factor ** (attempt - 2);
          const full = Number.isNaN(grown) ? 0 : Math.min(rule.maxDelayMs, grown);
          const delay = backoff(attempt, rule, luck);
          expect(delay).toBeLessThanOrEqual(rule.maxDelayMs);
          expect(delay).toBeGreaterThanOrEqual(
            rule.jitter === 'full' ? 0 : rule.jitter === 'equal' ? full / 2 : full,
          );
          const wait = retryDelay(attempt, rule, asked, luck);
          expect(wait === undefined).toBe(asked > rule.maxDelayMs);
          expect(wait ?? asked).toBeGreaterThanOrEqual(asked);
        },
      ),
    );
  });
});

describe('fallback', () => {
  test('answers for the failures it is meant for', async () => {
    const policy = fallbackPolicy(
      () => 'cached',
      (error) => (error as Error).message === 'boom',
    );
    expect(await policy.execute(() => 'live')).toBe('live');
    expect(await policy.execute<string>(boom)).toBe('cached');
    await expect(policy.execute(() => Promise.reject(new Error('other')))).rejects.toThrow('other');
  });

  test('says nothing to a caller who has left', async () => {
    const fallback = vi.fn<() => string>(() => 'cached');
    const controller = new AbortController();
    const answer = fallbackPolicy(fallback).execute(
      () => {
        controller.abort(new Error('left'));
        throw new Error('boom');
      },
      { signal: controller.signal },
    );
    await expect(answer).rejects.toThrow('boom');
    expect(fallback).not.toHaveBeenCalled();
  });
});

describe('hedge', () => {
  test('starts another call when the first is slow, takes the first answer and cancels the loser', async () => {
    const { clock, random } = runtime();
    const signals: AbortSignal[] = [];
    const ends: ((value: string) => void)[] = [];
    const policy = hedgePolicy({ delayMs: 50 }, { clock, random });
    const answer = policy.execute((signal) => {
      signals.push(signal);
      const { promise, resolve } = Promise.withResolvers<string>();
      ends.push(resolve);
      return promise;
    });
    await clock.advance(49);
    expect(signals).toHaveLength(1);
    await clock.advance(1);
    expect(signals).toHaveLength(2);
    await clock.advance(1_000);
    expect(signals).toHaveLength(2);
    ends[1]?.('second');
    expect(await answer).toBe('second');
    expect(signals.map((signal) => signal.aborted)).toEqual([true, false]);
  });

  test('a quick answer starts nothing else and leaves no timer', async () => {
    const { clock, random } = runtime();
    const call = vi.fn<() => string>(() => 'quick');
    expect(await hedgePolicy({ delayMs: 50, maxHedges: 3 }, { clock, random }).execute(call)).toBe('quick');
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    expect(call).toHaveBeenCalledOnce();
  });

  test('fails with the first error once all that were started have failed', async () => {
    const { clock, random } = runtime();
    const policy = hedgePolicy({ delayMs: 50 }, { clock, random });
    await expect(policy.execute(boom)).rejects.toThrow('boom');
    const fails: ((error: Error) => void)[] = [];
    const seen = outcome(policy.execute(() => new Promise((_, reject) => fails.push(reject))));
    await clock.advance(50);
    fails[0]?.(new Error('first'));
    await clock.settle();
    expect(seen.at).toBe('pending');
    fails[1]?.(new Error('second'));
    await clock.settle();
    expect(seen.error).toMatchObject({ message: 'first' });
  });

  test('the caller’s abort reaches every call', async () => {
    const { clock, random } = runtime();
    const controller = new AbortController();
    const signals: AbortSignal[] = [];
    const answer = outcome(
      hedgePolicy({ delayMs: 5, maxHedges: 2 }, { clock, random }).execute(
        (signal) => {
          signals.push(signal);
          return new Promise(() => undefined);
        },
        { signal: controller.signal },
      ),
    );
    await clock.advance(20);
    controller.abort(new Error('enough'));
    await clock.settle();
    expect(signals.map(({ reason }) => (reason as Error).message)).toEqual(['enough', 'enough', 'enough']);
    expect(answer.error).toMatchObject({ message: 'enough' });
  });
});

describe('compose', () => {
  test('retry outside breaker outside timeout: each attempt has its limit, the open circuit ends the retries', async () => {
    const { clock, random } = runtime();
    const breaker = new CircuitBreaker(
      'tool',
      { failureThreshold: 2, timeout: 60_000 },
      undefined,
      undefined,
      {
        runtime: { clock },
      },
    );
    const policy = compose(
      fallbackPolicy((error) => (error as CoordinationError).code),
      retryPolicy({ maxAttempts: 5, delayMs: 10, jitter: 'none' }, { clock, random }),
      breaker,
      timeoutPolicy(100, { clock, random }),
    );
    let calls = 0;
    const seen = outcome(
      policy.execute<unknown>((signal) => {
        calls += 1;
        expect(signal).toBeInstanceOf(AbortSignal);
        return new Promise(() => undefined);
      }),
    );
    await clock.advance(10_000);
    expect(calls).toBe(2);
    expect(seen.value).toBe('CIRCUIT_OPEN');
    expect(breaker.getState()).toBe('open');
  });

  test('an abort passes through all of them', async () => {
    const controller = new AbortController();
    const policy = compose(new CircuitBreaker('x'), bulkheadPolicy({ concurrency: 1 }), timeoutPolicy(1_000));
    const answer = policy.execute(() => new Promise(() => undefined), { signal: controller.signal });
    controller.abort(new Error('stop'));
    await expect(answer).rejects.toThrow('stop');
  });

  test('of none makes the call, and what isn’t a policy is refused', async () => {
    expect(await compose().execute((signal) => signal.aborted)).toBe(false);
    await expect(compose().execute(() => 1, { signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow(
      'no',
    );
    for (const bad of [undefined, null, {}, () => 1, 'retry']) {
      expect(() => compose(bad as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    }
  });
});

describe('bad inputs', () => {
  const NUMBERS = [Number.NaN, -1, Number.POSITIVE_INFINITY, '5', null, undefined, {}];
  test('limits and delays are checked when a policy is made', () => {
    for (const bad of NUMBERS) {
      const made: readonly (() => unknown)[] = [
        () => timeoutPolicy(bad as number),
        () => bulkheadPolicy({ concurrency: bad as number }),
        () => hedgePolicy({ delayMs: bad as number }),
        () => retryPolicy({ factor: bad === undefined ? 0 : (bad as number) }),
      ];
      for (const make of made) expect(make).toThrow(CoordinationError);
    }
    expect(() => timeoutPolicy(0)).toThrow(CoordinationError);
    expect(() => bulkheadPolicy({ concurrency: 1, queue: 0.5 })).toThrow(CoordinationError);
    expect(() => bulkheadPolicy(undefined as never)).toThrow(CoordinationError);
    expect(() => hedgePolicy({ delayMs: 1, maxHedges: 0 })).toThrow(CoordinationError);
    expect(() => retryPolicy({ maxAttempt: 3 } as never)).toThrow(/maxAttempt/);
    expect(() => retryPolicy({ decide: 3 as never })).toThrow(CoordinationError);
    expect(() => fallbackPolicy('x' as never)).toThrow(CoordinationError);
  });

  test('what isn’t a function is refused, whatever the policy, and no place or timer is lost', async () => {
    const { clock, random } = runtime();
    const bulkhead = bulkheadPolicy({ concurrency: 1 });
    const policies: readonly Policy[] = [
      timeoutPolicy(10, { clock, random }),
      bulkhead,
      hedgePolicy({ delayMs: 10 }, { clock, random }),
      retryPolicy({}, { clock, random }),
      compose(),
    ];
    for (const policy of policies) {
      for (const bad of [undefined, null, 3, {}]) {
        await expect(policy.execute(bad as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      }
    }
    expect(bulkhead.running).toBe(0);
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test.each<[string, Policy<unknown>]>([
    ['timeout', timeoutPolicy(10)],
    ['bulkhead', bulkheadPolicy({ concurrency: 1 })],
    ['hedge', hedgePolicy({ delayMs: 10 })],
    ['retry', retryPolicy()],
    ['fallback', fallbackPolicy(() => 'fallen back')],
    ['compose of nothing', compose()],
    ['compose', compose(retryPolicy(), timeoutPolicy(10))],
    ['breaker', new CircuitBreaker('b')],
  ])('options of a call that mean nothing are refused: %s', async (_, policy) => {
    const call = vi.fn(() => 'called');
    for (const [options, code] of [
      [{ unknownField: 1 }, 'INVALID_OPTION'],
      [{ sginal: new AbortController().signal }, 'INVALID_OPTION'],
      [{ signal: 'stop' }, 'INVALID_ARGUMENT'],
      [3, 'INVALID_ARGUMENT'],
    ] as const)
      await expect(policy.execute(call, options as never)).rejects.toMatchObject({ code });
    expect(call).not.toHaveBeenCalled();
    expect(await policy.execute(call, { signal: undefined })).toBe('called');
  });
});
