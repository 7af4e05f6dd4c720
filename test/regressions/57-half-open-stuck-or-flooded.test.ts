import { expect, test } from 'vitest';
import { CircuitBreaker } from '../../src/circuit-breaker/circuit-breaker.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

/**
 * Defect 57 (opossum #385, #119): half-open was left by the end of its one probe only, so one that never settled kept the circuit
 * refusing for ever; where the flag of the probe was dropped instead, calls flooded in.
 */
interface Breaker {
  execute(call: () => Promise<unknown>): Promise<unknown>;
}
type Options = {
  failureThreshold: number;
  successThreshold: number;
  timeout: number;
  halfOpenLimit: number;
  probeTimeoutMs: number;
};
type Implementation = (options: Options, clock: TestClock) => Breaker;

export async function scenario(create: Implementation): Promise<void> {
  const clock = createTestClock();
  const breaker = create(
    { failureThreshold: 1, successThreshold: 2, timeout: 1_000, halfOpenLimit: 1, probeTimeoutMs: 500 },
    clock,
  );
  await breaker.execute(() => Promise.reject(new Error('down'))).catch(() => undefined);
  await clock.advance(1_000);
  let hanging = 0;
  const hang = (): Promise<unknown> => {
    hanging += 1;
    return new Promise(() => undefined);
  };
  const flood = (): void => {
    for (let i = 0; i < 10; i++) breaker.execute(hang).catch(() => undefined);
  };
  flood();
  expect(hanging, 'calls let through at once').toBe(1);
  for (let round = 2; round <= 4; round++) {
    await clock.advance(500);
    flood();
    expect(hanging, 'one more once the place is given back').toBe(round);
  }
  await clock.advance(500);
  expect(await breaker.execute(async () => 'well')).toBe('well');
}

const naive =
  (afterTimeout: 'stuck' | 'flooded'): Implementation =>
  (options, clock) => {
    let openUntil = 0;
    let open = false;
    let probing = false;
    return {
      async execute(call) {
        if (open && (clock.mono() < openUntil || probing)) throw new Error('open');
        if (open) {
          probing = true;
          if (afterTimeout === 'flooded') clock.after(options.probeTimeoutMs, () => (open = false));
        }
        try {
          const value = await call();
          open = false;
          return value;
        } catch (error) {
          [open, openUntil] = [true, clock.mono() + options.timeout];
          throw error;
        } finally {
          probing = false;
        }
      },
    };
  };

test('defect 57: a breaker is neither stuck nor flooded by probes that never settle', async () => {
  await expect(scenario(naive('stuck'))).rejects.toThrow('expected 1 to be 2');
  await expect(scenario(naive('flooded'))).rejects.toThrow('expected 11 to be 2');
  await scenario(
    (options, clock) => new CircuitBreaker('x', options, undefined, undefined, { runtime: { clock } }),
  );
});
