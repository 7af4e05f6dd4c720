import { expect, test } from 'vitest';
import { CircuitBreaker } from '../../src/circuit-breaker/circuit-breaker.ts';
import type { CircuitState } from '../../src/core/coordination-types.ts';

/** Defect 3: with a half-open limit of 1, ten concurrent calls were started, because places were counted when calls ended. */
interface Breaker {
  execute(call: () => Promise<unknown>): Promise<unknown>;
  forceState(state: CircuitState): void;
}

export async function scenario(create: (options: { halfOpenLimit: number }) => Breaker): Promise<void> {
  const breaker = create({ halfOpenLimit: 1 });
  breaker.forceState('half-open');
  let running = 0;
  let most = 0;
  const call = async (): Promise<void> => {
    most = Math.max(most, (running += 1));
    await Promise.resolve();
    running -= 1;
  };
  await Promise.allSettled(Array.from({ length: 10 }, () => breaker.execute(call)));
  expect(most).toBe(1);
}

const naive = (options: { halfOpenLimit: number }): Breaker => {
  let state: CircuitState = 'closed';
  let ended = 0;
  return {
    forceState: (to) => void (state = to),
    async execute(call) {
      if (state === 'half-open' && ended >= options.halfOpenLimit) throw new Error('half-open limit');
      try {
        return await call();
      } finally {
        ended += 1;
      }
    },
  };
};

test('defect 3: half-open concurrency is counted at admission', async () => {
  await expect(scenario(naive)).rejects.toThrow('expected 10 to be 1');
  await scenario((options) => new CircuitBreaker('x', options));
});
