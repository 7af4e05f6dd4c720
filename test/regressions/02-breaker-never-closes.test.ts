import { expect, test } from 'vitest';
import { CircuitBreaker } from '../../src/circuit-breaker/circuit-breaker.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

/** Defect 2: the documented configuration (successThreshold 3, halfOpenLimit 2) never closed again: 48 of 50 healthy calls refused. */
interface Breaker {
  execute<R>(call: () => Promise<R>): Promise<R>;
  getState(): string;
}
type Options = { failureThreshold: number; successThreshold: number; timeout: number; halfOpenLimit: number };
type Implementation = (options: Options, clock: TestClock) => Breaker;

export async function scenario(create: Implementation): Promise<void> {
  const clock = createTestClock();
  const breaker = create(
    { failureThreshold: 5, successThreshold: 3, timeout: 60_000, halfOpenLimit: 2 },
    clock,
  );
  for (let i = 0; i < 5; i++)
    await breaker.execute(() => Promise.reject(new Error('down'))).catch(() => undefined);
  expect(breaker.getState()).toBe('open');
  await clock.advance(60_000);
  let refused = 0;
  for (let i = 0; i < 50; i++) await breaker.execute(async () => 'well').catch(() => (refused += 1));
  expect(refused).toBe(0);
  expect(breaker.getState()).toBe('closed');
}

/** The predecessor's rule: the half-open limit counts all calls of the state and is given back by none. */
const naive: Implementation = (options, clock) => {
  let state = 'closed';
  let failures = 0;
  let successes = 0;
  let admitted = 0;
  let next = 0;
  return {
    getState: () => state,
    async execute(call) {
      if (state === 'open') {
        if (clock.mono() < next) throw new Error('open');
        [state, successes, admitted] = ['half-open', 0, 0];
      }
      if (state === 'half-open' && admitted >= options.halfOpenLimit) throw new Error('half-open limit');
      if (state === 'half-open') admitted += 1;
      try {
        const value = await call();
        if (state === 'half-open' && (successes += 1) >= options.successThreshold) state = 'closed';
        return value;
      } catch (error) {
        if ((failures += 1) >= options.failureThreshold)
          [state, next] = ['open', clock.mono() + options.timeout];
        throw error;
      }
    },
  };
};

test('defect 2: a breaker with successThreshold above halfOpenLimit closes again', async () => {
  await expect(scenario(naive)).rejects.toThrow('48');
  await scenario(
    (options, clock) => new CircuitBreaker('x', options, undefined, undefined, { runtime: { clock } }),
  );
});
