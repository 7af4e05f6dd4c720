import { expect, test } from 'vitest';
import { CircuitBreaker } from '../../src/circuit-breaker/circuit-breaker.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

/** Defect 4: a late success reopened the way before the timeout; a late failure postponed it. */
interface Breaker {
  execute(call: () => Promise<unknown>): Promise<unknown>;
  getState(): string;
}
type Options = { failureThreshold: number; successThreshold: number; timeout: number };
type Implementation = (options: Options, clock: TestClock) => Breaker;

export async function scenario(create: Implementation, late: 'success' | 'failure'): Promise<void> {
  const clock = createTestClock();
  const breaker = create({ failureThreshold: 2, successThreshold: 1, timeout: 1_000 }, clock);
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const straggler = breaker.execute(() => promise).catch(() => undefined);
  const fail = (): Promise<unknown> =>
    breaker.execute(() => Promise.reject(new Error('down'))).catch(() => undefined);
  await fail();
  await fail();
  await clock.advance(900);
  if (late === 'success') resolve('late');
  else reject(new Error('late'));
  await straggler;
  await clock.settle();
  expect(breaker.getState()).toBe('open');
  await clock.advance(100);
  // Half-open is where the next call finds itself, whether or not the implementation moves by itself.
  await breaker.execute(async () => 'well');
  expect(breaker.getState()).toBe('closed');
}

/** The predecessor: whatever ends, ends in the present state. */
const naive: Implementation = (options, clock) => {
  let state = 'closed';
  let failures = 0;
  let next = 0;
  return {
    getState: () => state,
    async execute(call) {
      if (state === 'open') {
        if (clock.mono() < next) throw new Error('open');
        state = 'half-open';
      }
      try {
        const value = await call();
        [state, failures] = ['closed', 0];
        return value;
      } catch (error) {
        if ((failures += 1) >= options.failureThreshold)
          [state, next] = ['open', clock.mono() + options.timeout];
        throw error;
      }
    },
  };
};

test.each(['success', 'failure'] as const)(
  '4: a late %s neither opens the way nor postpones it',
  async (late) => {
    await expect(scenario(naive, late)).rejects.toThrow(late === 'success' ? /to be 'open'/ : 'open');
    await scenario(
      (options, clock) => new CircuitBreaker('x', options, undefined, undefined, { runtime: { clock } }),
      late,
    );
  },
);
