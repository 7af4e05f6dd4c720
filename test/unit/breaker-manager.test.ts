import { describe, expect, test } from 'vitest';
import type { CircuitBreakerOptions } from '../../src/circuit-breaker/breaker-rules.ts';
import { CircuitBreaker } from '../../src/circuit-breaker/circuit-breaker.ts';
import { CircuitBreakerManager } from '../../src/circuit-breaker/circuit-breaker-manager.ts';
import type { CircuitState } from '../../src/core/coordination-types.ts';
import { isCoordinationError } from '../../src/core/errors.ts';
import { EventBus } from '../../src/core/event-bus.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { attempt, complaints, HOSTILE } from '../support/hostile.ts';

const boom = (): Promise<never> => Promise.reject(new Error('boom'));

describe('a manager of breakers', () => {
  test('makes one breaker a name, with its own options over the manager’s', async () => {
    const clock = createTestClock();
    const bus = new EventBus();
    const changed: string[] = [];
    bus.on('circuitbreaker:state-change', ({ name, to }) => void changed.push(`${name} ${to}`));
    const manager = new CircuitBreakerManager({ failureThreshold: 2, timeout: 10 }, undefined, bus, {
      runtime: { clock },
    });
    const a = manager.getBreaker('a', { failureThreshold: 1 });
    expect(manager.getBreaker('a', { failureThreshold: 9 })).toBe(a);
    await expect(manager.execute('a', boom)).rejects.toThrow('boom');
    await expect(manager.execute('b', boom)).rejects.toThrow('boom');
    expect(a.getState()).toBe('open');
    expect(manager.getBreaker('b').getState()).toBe('closed');
    await clock.advance(10);
    expect(changed).toEqual(['a open', 'a half-open']);
    expect([...manager.getAllBreakers().keys()]).toEqual(['a', 'b']);
  });

  test('a breaker’s window replaces the manager’s failureThreshold', async () => {
    const manager = new CircuitBreakerManager({ failureThreshold: 1 });
    const breaker = manager.getBreaker('w', { window: { calls: 10, failureRatio: 1, minCalls: 3 } });
    for (let i = 0; i < 2; i++) await breaker.execute(boom).catch(() => undefined);
    expect(breaker.getState()).toBe('closed');
    await breaker.execute(boom).catch(() => undefined);
    expect(breaker.getState()).toBe('open');
  });

  test('metrics, force and reset by name', async () => {
    const manager = new CircuitBreakerManager();
    expect(await manager.execute('__proto__', () => 1)).toBe(1);
    expect(await manager.execute('x', () => 'live', {}, { fallback: () => 'other' })).toBe('live');
    manager.forceState('__proto__', 'open');
    expect(manager.getAllMetrics()['__proto__']).toMatchObject({ state: 'open', calls: 1 });
    expect(Object.keys(manager.getAllMetrics())).toEqual(['__proto__', 'x']);
    manager.resetBreaker('__proto__');
    expect(manager.getAllMetrics()['__proto__']).toMatchObject({ state: 'closed', calls: 0 });
    manager.forceState('x', 'half-open');
    manager.resetAll();
    expect(manager.getBreaker('x').getState()).toBe('closed');
  });

  test('G6: after shutdown no timer is left; time is still respected', async () => {
    const clock = createTestClock();
    const bus = new EventBus();
    const changed: string[] = [];
    bus.on('circuitbreaker:state-change', ({ to }) => void changed.push(to));
    const manager = new CircuitBreakerManager({ timeout: 10 }, undefined, bus, { runtime: { clock } });
    manager.getBreaker('a');
    manager.forceState('a', 'open');
    manager.shutdown();
    manager.getBreaker('b').forceState('open');
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    await clock.advance(10);
    expect(changed).toEqual(['open', 'open']);
    expect(await manager.execute('a', () => 'still works')).toBe('still works');
    expect(manager.getBreaker('b').getState()).toBe('half-open');
  });

  test('unknown names are coded errors with a hint', () => {
    const manager = new CircuitBreakerManager();
    manager.getBreaker('external-api');
    for (const call of [
      () => manager.resetBreaker('extrenal-api'),
      () => manager.forceState('extrenal-api', 'open'),
    ]) {
      expect(call).toThrow(
        expect.objectContaining({ code: 'UNKNOWN_BREAKER', hint: 'Did you mean external-api?' }),
      );
    }
    expect(() => manager.resetBreaker('quite another')).toThrow(
      expect.objectContaining({ code: 'UNKNOWN_BREAKER' }),
    );
  });
});

describe('bad inputs', () => {
  const options: readonly [string, unknown][] = [
    ['not an object', 5],
    ['an array', []],
    ['an unknown key', { failureTreshold: 3 }],
    ['failureThreshold 0', { failureThreshold: 0 }],
    ['failureThreshold 1.5', { failureThreshold: 1.5 }],
    ['failureThreshold NaN', { failureThreshold: Number.NaN }],
    ['successThreshold unlimited (B3)', { successThreshold: Number.POSITIVE_INFINITY }],
    ['timeout 0', { timeout: 0 }],
    ['timeout negative', { timeout: -1 }],
    ['timeout unlimited (B3)', { timeout: Number.POSITIVE_INFINITY }],
    ['timeout a string', { timeout: '60000' }],
    ['halfOpenLimit 0', { halfOpenLimit: 0 }],
    ['halfOpenLimit unlimited', { halfOpenLimit: Number.POSITIVE_INFINITY }],
    ['probeTimeoutMs unlimited (B6)', { probeTimeoutMs: Number.POSITIVE_INFINITY }],
    ['classify not a function', { classify: 'remote' }],
    ['window not an object', { window: 10 }],
    ['window without a size', { window: { failureRatio: 0.5 } }],
    ['window with two sizes', { window: { calls: 1, windowMs: 1, failureRatio: 0.5 } }],
    ['window with ratio 0', { window: { calls: 10, failureRatio: 0 } }],
    ['window with ratio above 1', { window: { calls: 10, failureRatio: 50 } }],
    ['window that can’t reach minCalls', { window: { calls: 10, failureRatio: 0.5, minCalls: 11 } }],
    ['window with an unknown key', { window: { calls: 10, failureRatio: 0.5, minCall: 1 } }],
    ['slow calls without a limit', { slow: { ratio: 0.5 } }],
    ['every call slow (B3)', { slow: { overMs: 0, ratio: 0.5 } }],
    ['slow minCalls above the window', { slow: { overMs: 1, ratio: 0.5, minCalls: 101 } }],
  ];
  test.each(options)('options: %s → INVALID_OPTION', (_what, given) => {
    const expected = expect.objectContaining({ code: 'INVALID_OPTION' });
    expect(() => new CircuitBreaker('x', given as CircuitBreakerOptions)).toThrow(expected);
    expect(() => new CircuitBreakerManager(given as CircuitBreakerOptions)).toThrow(expected);
    expect(() => new CircuitBreakerManager().getBreaker('x', given as CircuitBreakerOptions)).toThrow(
      expected,
    );
  });

  test('options that cannot be read are refused with a code, by the first call of each name', () => {
    for (const [i, [what, make]] of HOSTILE.entries()) {
      const call = attempt(what, () => new CircuitBreakerManager().getBreaker(`b${i}`, make() as object));
      expect(complaints([call])).toEqual([]);
    }
  });

  test('shared state is refused rather than ignored', () => {
    expect(() => new CircuitBreaker('x', { shared: true })).toThrow(
      expect.objectContaining({ code: 'NOT_SUPPORTED' }),
    );
  });

  test('keys of other parts are known', () => {
    const config = { maxRetries: 3, resourceTimeout: 1, stealThreshold: 3, failureThreshold: 2 };
    expect(new CircuitBreaker('x', config).getState()).toBe('closed');
  });

  test.each([[''], ['x'.repeat(1_000)], ['a\u0000b'], ['\uD800'], [undefined], [null], [7], [{}]])(
    'name %j → INVALID_ARGUMENT',
    async (name: unknown) => {
      const expected = expect.objectContaining({ code: 'INVALID_ARGUMENT' });
      const manager = new CircuitBreakerManager();
      expect(() => new CircuitBreaker(name as string)).toThrow(expected);
      expect(() => manager.getBreaker(name as string)).toThrow(expected);
      expect(() => manager.forceState(name as string, 'open')).toThrow(expected);
      await expect(manager.execute(name as string, () => 1)).rejects.toEqual(expected);
    },
  );

  test('a logger and a bus in each other’s place', () => {
    const bus = new EventBus();
    expect(() => new CircuitBreaker('x', {}, bus as never)).toThrow(/arguments|logger/);
    expect(() => new CircuitBreaker('x', {}, undefined, console as never)).toThrow(/event bus/);
    expect(new CircuitBreaker('x', {}, null as never, null as never).getState()).toBe('closed');
  });

  test.each([[undefined], [null], [1], ['f'], [{}]])(
    'execute(%j) rejects and counts nothing',
    async (call) => {
      const breaker = new CircuitBreaker('x');
      await expect(breaker.execute(call as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      expect(breaker.getMetrics().calls).toBe(0);
    },
  );

  test.each([[5], [[]], [{ signal: {} }], [{ signal: 'x' }], [{ fallback: 1 }]])(
    'execute(call, %j) rejects and counts nothing',
    async (how) => {
      const breaker = new CircuitBreaker('x');
      await expect(breaker.execute(() => 1, how as never)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
      expect(breaker.getMetrics().calls).toBe(0);
    },
  );

  test.each([[''], ['OPEN'], ['halfOpen'], [undefined], [null], [0]])(
    'forceState(%j) → INVALID_ARGUMENT',
    (state) => {
      const breaker = new CircuitBreaker('x');
      expect(() => breaker.forceState(state as CircuitState)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      );
      expect(breaker.getState()).toBe('closed');
    },
  );

  test.each([
    [undefined],
    [null],
    [[]],
    [{}],
    [{ state: 'ajar', generation: 1 }],
    [{ state: 'open', generation: -1 }],
    [{ state: 'open', generation: 1, leftMs: Number.NaN }],
    [{ state: 'closed', generation: 1, failures: 0.5 }],
    [{ state: 'half-open', generation: 1, successes: 'many' }],
  ])('restore(%j) → INVALID_ARGUMENT', (snapshot) => {
    const breaker = new CircuitBreaker('x');
    expect(() => breaker.restore(snapshot as never)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
    expect(breaker.getMetrics().generation).toBe(0);
  });

  test('a snapshot can’t bring the circuit where the rules would not', () => {
    const breaker = new CircuitBreaker('x', { timeout: 100, successThreshold: 2, failureThreshold: 3 });
    breaker.restore({ state: 'open', generation: 1, reason: '', leftMs: 1e12 });
    expect(breaker.getMetrics().retryAfterMs).toBeLessThanOrEqual(100);
    breaker.restore({ state: 'half-open', generation: 2, reason: '', successes: 99 });
    expect(breaker.snapshot().successes).toBe(1);
    breaker.restore({ state: 'closed', generation: 3, reason: '', failures: 99 });
    expect(breaker.getMetrics().consecutiveFailures).toBe(2);
  });

  test('errors are those of the library, whatever is thrown', () => {
    const thrown = (() => {
      try {
        return new CircuitBreaker('x', { timeout: -1 });
      } catch (error) {
        return error;
      }
    })();
    expect(isCoordinationError(thrown, 'INVALID_OPTION')).toBe(true);
  });
});
