import { describe, expect, test, vi } from 'vitest';
import type { CircuitBreakerOptions } from '../../src/circuit-breaker/breaker-rules.ts';
import { CircuitBreaker } from '../../src/circuit-breaker/circuit-breaker.ts';
import { CircuitOpenError } from '../../src/circuit-breaker/circuit-open-error.ts';
import { remoteToolErrors } from '../../src/circuit-breaker/classify.ts';
import { CoordinationError } from '../../src/core/errors.ts';
import { EventBus } from '../../src/core/event-bus.ts';
import type { CoordinationEvents } from '../../src/core/events.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

const DOCUMENTED = { failureThreshold: 5, successThreshold: 3, timeout: 60_000, halfOpenLimit: 2 };

function setUp(options: CircuitBreakerOptions = DOCUMENTED) {
  const clock = createTestClock();
  const bus = new EventBus({ clock });
  const changes: CoordinationEvents['circuitbreaker:state-change'][] = [];
  bus.on('circuitbreaker:state-change', (change) => void changes.push(change));
  const spy = () => vi.fn<(message: string) => void>();
  const logger = { debug: spy(), info: spy(), warn: spy(), error: spy() };
  const breaker = new CircuitBreaker('external-api', options, logger, bus, { runtime: { clock } });
  return { breaker, clock, bus, changes, logger };
}
const boom = (): Promise<never> => Promise.reject(new Error('boom'));
async function fail(breaker: CircuitBreaker, times: number): Promise<void> {
  for (let i = 0; i < times; i++) await expect(breaker.execute(boom)).rejects.toThrow('boom');
}

describe('the documented configuration', () => {
  test('B3: opens after 5 failures, refuses, and closes after 3 healthy probes', async () => {
    const { breaker, clock, changes } = setUp();
    await fail(breaker, 5);
    expect(breaker.getState()).toBe('open');
    const refused = await breaker.execute(() => 1).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(CircuitOpenError);
    expect(refused).toMatchObject({ code: 'CIRCUIT_OPEN', breaker: 'external-api', retryAfterMs: 60_000 });
    await clock.advance(60_000);
    expect(changes.map(({ from, to }) => [from, to])).toEqual([
      ['closed', 'open'],
      ['open', 'half-open'],
    ]);
    for (let i = 0; i < 3; i++) expect(await breaker.execute(async () => 'ok')).toBe('ok');
    expect(breaker.getState()).toBe('closed');
    expect(changes.at(-1)).toEqual({
      name: 'external-api',
      from: 'half-open',
      to: 'closed',
      reason: '3 probes succeeded',
    });
  });

  test('a success in between starts the count of consecutive failures again', async () => {
    const { breaker } = setUp();
    await fail(breaker, 4);
    await breaker.execute(() => 1);
    await fail(breaker, 4);
    expect(breaker.getState()).toBe('closed');
    await fail(breaker, 1);
    expect(breaker.getState()).toBe('open');
  });

  test('retryAfterMs counts down, and is 0 when half-open has no place left', async () => {
    const { breaker, clock } = setUp();
    await fail(breaker, 5);
    await clock.advance(59_000);
    await expect(breaker.execute(() => 1)).rejects.toMatchObject({ retryAfterMs: 1_000 });
    await clock.advance(1_000);
    void breaker.execute(() => new Promise(() => undefined));
    void breaker.execute(() => new Promise(() => undefined));
    await expect(breaker.execute(() => 1)).rejects.toMatchObject({ code: 'CIRCUIT_OPEN', retryAfterMs: 0 });
  });

  test('a failed probe opens the circuit again for the whole timeout', async () => {
    const { breaker, clock } = setUp();
    breaker.forceState('open');
    await clock.advance(60_000);
    await fail(breaker, 1);
    await clock.advance(59_999);
    expect(breaker.getState()).toBe('open');
    await clock.advance(1);
    expect(breaker.getState()).toBe('half-open');
  });

  test('works without options, logger, bus and parts', async () => {
    const breaker = new CircuitBreaker('plain');
    expect(await breaker.execute(() => 7)).toBe(7);
    await expect(breaker.execute(boom)).rejects.toThrow('boom');
    expect(breaker.getMetrics()).toMatchObject({ calls: 2, successes: 1, failures: 1, running: 0 });
  });
});

describe('calls', () => {
  test('plain values, thenables and synchronous throws', async () => {
    const { breaker } = setUp();
    expect(await breaker.execute(() => 1)).toBe(1);
    const thenable = { then: (resolve: (value: number) => void) => resolve(2) } as PromiseLike<number>;
    expect(await breaker.execute(() => thenable)).toBe(2);
    const thrown = breaker.execute(() => {
      throw new Error('at once');
    });
    await expect(thrown).rejects.toThrow('at once');
    await expect(
      breaker.execute(() => Promise.reject(undefined as unknown as Error)),
    ).rejects.toBeUndefined();
    expect(breaker.getMetrics()).toMatchObject({ calls: 4, successes: 2, failures: 2 });
  });

  test('the call gets a signal when it declares one, and the caller’s when there is one', async () => {
    const { breaker } = setUp();
    expect(await breaker.execute((signal) => signal.aborted)).toBe(false);
    const { signal } = new AbortController();
    expect(await breaker.execute((given) => given === signal, { signal })).toBe(true);
    expect(await breaker.execute((...given: unknown[]) => given.length)).toBe(0);
  });

  test('an abort rejects at once with its reason, counts as a rejection, and skips the fallback', async () => {
    const { breaker } = setUp();
    const controller = new AbortController();
    const fallback = vi.fn<() => string>(() => 'instead');
    const answer = breaker.execute(() => new Promise<string>(() => undefined), {
      signal: controller.signal,
      fallback,
    });
    controller.abort(new Error('no longer needed'));
    await expect(answer).rejects.toThrow('no longer needed');
    expect(fallback).not.toHaveBeenCalled();
    expect(breaker.getMetrics()).toMatchObject({ failures: 1, running: 0 });
    const late = vi.fn<() => void>();
    await expect(breaker.execute(late, { signal: controller.signal })).rejects.toThrow('no longer needed');
    expect(late).not.toHaveBeenCalled();
    expect(breaker.getMetrics().calls).toBe(1);
  });

  test('a call that aborts its own caller while it is being made, and never settles', async () => {
    const { breaker } = setUp();
    const controller = new AbortController();
    const answer = breaker.execute(
      () => {
        controller.abort(new Error('from inside'));
        return new Promise(() => undefined);
      },
      { signal: controller.signal },
    );
    await expect(answer).rejects.toThrow('from inside');
  });

  test('G6: no listener stays on the caller’s signal, closed or half-open', async () => {
    const { breaker } = setUp();
    const { signal } = new AbortController();
    const add = vi.spyOn(signal, 'addEventListener');
    const remove = vi.spyOn(signal, 'removeEventListener');
    await breaker.execute(() => 1, { signal });
    breaker.forceState('half-open');
    await breaker.execute(() => 1, { signal });
    await breaker.execute(boom, { signal }).catch(() => undefined);
    expect(add.mock.calls.length).toBeGreaterThan(3);
    expect(remove).toHaveBeenCalledTimes(add.mock.calls.length);
  });

  test('a fallback answers for failed and refused calls; the failure counts all the same', async () => {
    const { breaker } = setUp({ failureThreshold: 1 });
    expect(await breaker.execute(boom, { fallback: (error) => (error as Error).message })).toBe('boom');
    expect(breaker.getState()).toBe('open');
    const codes: unknown[] = [];
    const fallback = (error: unknown): string => {
      codes.push((error as CoordinationError).code);
      return 'cached';
    };
    expect(await breaker.execute(() => 'live', { fallback })).toBe('cached');
    expect(codes).toEqual(['CIRCUIT_OPEN']);
    await expect(
      breaker.execute(() => 1, { fallback: () => Promise.reject(new Error('no cache')) }),
    ).rejects.toThrow('no cache');
  });

  test('a call may execute, force and reset from inside', async () => {
    const { breaker } = setUp({ failureThreshold: 1 });
    expect(await breaker.execute(() => breaker.execute(() => 3))).toBe(3);
    await breaker.execute(() => breaker.forceState('open'));
    expect(breaker.getState()).toBe('open');
    breaker.reset();
    await breaker.execute(() => breaker.reset());
    expect(breaker.getMetrics()).toMatchObject({ calls: 0, successes: 0, running: 0, stale: 0 });
    await breaker.execute(() => breaker.forceState('closed'));
    expect(breaker.getMetrics()).toMatchObject({ calls: 1, successes: 0, stale: 1 });
    breaker.forceState('half-open');
    await breaker.execute(() => breaker.reset());
    expect(breaker.getMetrics()).toMatchObject({ state: 'closed', calls: 0, running: 0, stale: 0 });
  });
});

describe('half-open', () => {
  test('B1: places are counted when calls are admitted, before they are made', async () => {
    const { breaker } = setUp();
    breaker.forceState('half-open');
    let made = 0;
    const all = Array.from({ length: 10 }, () =>
      breaker
        .execute(async () => {
          made += 1;
          await Promise.resolve();
        })
        .catch((error: CoordinationError) => error.code),
    );
    expect(made).toBe(2);
    expect((await Promise.all(all)).filter((code) => code === 'CIRCUIT_OPEN')).toHaveLength(8);
    expect(breaker.getMetrics()).toMatchObject({ probes: 2, refused: 8 });
  });

  test('B6: an overdue probe loses its place, its signal aborts, its caller still gets the answer', async () => {
    const { breaker, clock } = setUp({ ...DOCUMENTED, halfOpenLimit: 1, probeTimeoutMs: 500 });
    breaker.forceState('half-open');
    const { promise, resolve } = Promise.withResolvers<string>();
    let reason: unknown;
    const slow = breaker.execute((signal) => {
      signal.addEventListener('abort', () => (reason = signal.reason));
      return promise;
    });
    await expect(breaker.execute(() => 1)).rejects.toMatchObject({ code: 'CIRCUIT_OPEN' });
    await clock.advance(500);
    expect(reason).toMatchObject({ code: 'TIMEOUT' });
    expect(await breaker.execute(() => 1)).toBe(1);
    const before = breaker.snapshot();
    resolve('late');
    expect(await slow).toBe('late');
    expect(breaker.snapshot()).toEqual(before);
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('probes that settled leave no timer, and a probe outlived by the half-open state isn’t aborted', async () => {
    const { breaker, clock } = setUp({ ...DOCUMENTED, successThreshold: 1, probeTimeoutMs: 500 });
    breaker.forceState('half-open');
    let aborted = false;
    const { promise, resolve } = Promise.withResolvers<number>();
    const slow = breaker.execute((signal) => {
      signal.addEventListener('abort', () => (aborted = true));
      return promise;
    });
    await breaker.execute(() => 1);
    expect(breaker.getState()).toBe('closed');
    await clock.advance(1_000);
    resolve(4);
    expect(await slow).toBe(4);
    expect(aborted).toBe(false);
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('a probe of an earlier half-open isn’t aborted in a later one', async () => {
    const { breaker, clock } = setUp({ ...DOCUMENTED, timeout: 100, probeTimeoutMs: 500 });
    breaker.forceState('half-open');
    let aborted = false;
    void breaker.execute((signal) => {
      signal.addEventListener('abort', () => (aborted = true));
      return new Promise(() => undefined);
    });
    breaker.forceState('open');
    await clock.advance(1_000);
    expect([breaker.getState(), aborted]).toEqual(['half-open', false]);
  });

  test('an aborted probe counts as failed and gives its place back', async () => {
    const { breaker, clock } = setUp({ ...DOCUMENTED, halfOpenLimit: 1 });
    breaker.forceState('half-open');
    const controller = new AbortController();
    let told = false;
    const probe = breaker.execute(
      (signal) => {
        signal.addEventListener('abort', () => (told = true));
        return new Promise(() => undefined);
      },
      { signal: controller.signal },
    );
    controller.abort(new Error('gone'));
    await expect(probe).rejects.toThrow('gone');
    expect(told).toBe(true);
    expect(breaker.getState()).toBe('open');
    await clock.advance(60_000);
    expect(await breaker.execute(() => 1)).toBe(1);
  });
});

describe('windows', () => {
  test('opens at a ratio of the last calls, not before minCalls', async () => {
    const { breaker, changes } = setUp({ window: { calls: 10, failureRatio: 0.5, minCalls: 4 } });
    await fail(breaker, 3);
    expect(breaker.getState()).toBe('closed');
    await breaker.execute(() => 1);
    expect(changes.at(-1)).toMatchObject({ to: 'open', reason: '3 of 4 calls failed' });
  });

  test('opens at a ratio of the calls of the last ms; older ones don’t count', async () => {
    const { breaker, clock } = setUp({ window: { windowMs: 1_000, failureRatio: 0.5, minCalls: 4 } });
    await fail(breaker, 3);
    await clock.advance(1_100);
    await fail(breaker, 3);
    expect(breaker.getState()).toBe('closed');
    await fail(breaker, 1);
    expect(breaker.getState()).toBe('open');
  });

  test('a window replaces the consecutive rule unless that is given too', async () => {
    const window = { calls: 100, failureRatio: 0.9, minCalls: 50 };
    const alone = setUp({ window }).breaker;
    const both = setUp({ window, failureThreshold: 3 }).breaker;
    for (const breaker of [alone, both]) {
      for (let i = 0; i < 3; i++) await breaker.execute(boom).catch(() => undefined);
    }
    expect([alone.getState(), both.getState()]).toEqual(['closed', 'open']);
  });

  test('opens at a ratio of slow calls; a slow probe counts as failed', async () => {
    const { breaker, clock, changes } = setUp({ slow: { overMs: 100, ratio: 0.5, minCalls: 2 } });
    const take = async (ms: number): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      const answer = breaker.execute(() => promise);
      clock.tick(ms);
      resolve(undefined);
      await answer;
    };
    await take(100);
    await take(101);
    expect(changes.at(-1)).toMatchObject({ to: 'open', reason: '1 of 2 calls were slow' });
    await clock.advance(60_000);
    await take(200);
    expect(changes.at(-1)).toMatchObject({ to: 'open', reason: 'a probe failed' });
    await clock.advance(60_000);
    await take(1);
    await take(1);
    expect(breaker.getState()).toBe('closed');
  });
});

describe('classifiers', () => {
  test('ignored ends count as nothing and give a probe’s place back', async () => {
    const { breaker } = setUp({ ...DOCUMENTED, classify: () => 'ignore' });
    await fail(breaker, 20);
    expect(breaker.getState()).toBe('closed');
    breaker.forceState('half-open');
    await fail(breaker, 5);
    expect(breaker.getState()).toBe('half-open');
    expect(breaker.getMetrics()).toMatchObject({ ignored: 25, failures: 0 });
  });

  test('G5: one that throws or answers nonsense is reported, and the rule without classifier decides', async () => {
    for (const classify of [
      () => 'maybe' as 'ignore',
      () => Promise.reject(new Error('async')) as never,
      bad,
    ]) {
      const { breaker, bus, logger } = setUp({ failureThreshold: 2, classify });
      const failed = vi.fn<() => void>();
      bus.on('strategy:failed', failed);
      await fail(breaker, 1);
      expect(await breaker.execute(() => 1)).toBe(1);
      await fail(breaker, 2);
      expect(breaker.getState()).toBe('open');
      expect(failed).toHaveBeenCalledTimes(4);
      expect(logger.warn).toHaveBeenCalledTimes(4);
    }
    function bad(): never {
      throw new Error('broken');
    }
  });

  test.each([
    ['a value', { ok: true, value: { isError: true }, aborted: false }, 'success'],
    ['404', { ok: false, error: Object.assign(new Error(), { status: 404 }), aborted: false }, 'success'],
    ['a nested 400', { ok: false, error: { response: { status: 400 } }, aborted: false }, 'success'],
    ['429', { ok: false, error: { statusCode: 429 }, aborted: false }, 'ignore'],
    [
      'RATE_LIMITED',
      { ok: false, error: new CoordinationError('RATE_LIMITED', ''), aborted: false },
      'ignore',
    ],
    ['503', { ok: false, error: { status: 503 }, aborted: false }, 'failure'],
    ['invalid params', { ok: false, error: { code: -32_602 }, aborted: false }, 'success'],
    ['an internal error', { ok: false, error: { code: -32_603 }, aborted: false }, 'failure'],
    ['a lost connection', { ok: false, error: { code: 'ECONNRESET' }, aborted: false }, 'failure'],
    ['an abort', { ok: false, error: new Error(), aborted: true }, 'ignore'],
    ['a thrown null', { ok: false, error: null, aborted: false }, 'failure'],
  ] as const)('remoteToolErrors: %s', (_what, outcome, verdict) => {
    expect(remoteToolErrors(outcome)).toBe(verdict);
  });
});

describe('state by hand', () => {
  test('force announces a change once, and time goes on from there', async () => {
    const { breaker, clock, changes } = setUp();
    breaker.forceState('open');
    await clock.advance(30_000);
    breaker.forceState('open');
    await clock.advance(59_999);
    expect(breaker.getState()).toBe('open');
    await clock.advance(1);
    expect(changes.map(({ to, reason }) => [to, reason])).toEqual([
      ['open', 'forced'],
      ['half-open', 'the timeout has passed'],
    ]);
  });

  test('reset closes, cancels the timer and starts the counts anew; older calls are not counted', async () => {
    const { breaker, clock } = setUp({ failureThreshold: 1 });
    const { promise, reject } = Promise.withResolvers<never>();
    const late = breaker.execute(() => promise);
    await fail(breaker, 1);
    breaker.reset();
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    reject(new Error('late'));
    await expect(late).rejects.toThrow('late');
    expect(breaker.getMetrics()).toMatchObject({
      state: 'closed',
      calls: 0,
      failures: 0,
      stale: 0,
      opened: 0,
      running: 0,
    });
  });

  test('G5: a listener that throws, or that moves the breaker itself, does no harm', async () => {
    const { breaker, bus } = setUp({ failureThreshold: 1 });
    bus.on('circuitbreaker:state-change', () => {
      throw new Error('listener');
    });
    bus.on('circuitbreaker:state-change', ({ to }) => {
      if (to === 'open') breaker.forceState('half-open');
    });
    await fail(breaker, 1);
    expect(breaker.getState()).toBe('half-open');
    expect(await breaker.execute(() => 1)).toBe(1);
  });

  test('a clock that is late or early changes nothing: the state follows the time that is read', async () => {
    const { bus, clock, changes } = setUp();
    let now = 0;
    const early = {
      mono: () => now,
      wall: () => 0,
      soon: () => undefined,
      after: (ms: number, fn: () => void) => clock.after(ms, fn),
    };
    const other = new CircuitBreaker('early', { timeout: 100 }, undefined, bus, {
      runtime: { clock: early },
    });
    other.forceState('open');
    clock.tick(100); // its timer fires although its own time stands still
    expect(other.getState()).toBe('open');
    now = 100;
    clock.tick(100); // and is set again, so that the change is announced before anybody asks
    expect(changes.at(-1)).toMatchObject({ name: 'early', to: 'half-open' });
    other.forceState('open');
    now = 200;
    expect(other.getState()).toBe('half-open'); // a late timer isn't waited for
  });

  test('G6: an open breaker holds no process', async () => {
    const kept: boolean[] = [];
    const clock = createTestClock();
    const spy = {
      ...clock,
      after: (ms: number, fn: () => void, keep = false) => (kept.push(keep), clock.after(ms, fn, keep)),
    };
    const breaker = new CircuitBreaker('x', {}, undefined, undefined, { runtime: { clock: spy } });
    breaker.forceState('open');
    breaker.forceState('half-open');
    void breaker.execute(() => new Promise(() => undefined));
    expect(kept).toEqual([false, false]);
  });
});
