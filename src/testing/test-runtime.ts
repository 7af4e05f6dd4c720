import type { Runtime } from '../core/ports/runtime.ts';
import { createRandom } from '../core/runtime/random.ts';
import { createRuntime } from '../core/runtime/runtime.ts';
import { createTestClock, type TestClock } from './test-clock.ts';

/** A runtime in which nothing is real: time stands still until told, chance and ids follow from the seed. */
export interface TestRuntime extends Runtime {
  readonly clock: TestClock;
}

/**
 * The runtime to start a backend with in tests, and what to move its time by: `runtime.clock.advance(ms)`.
 * @param options seed: same seed, same ids and chances, @default 'test'; startMs: wall time at the start, ms since 1970
 */
export function createTestRuntime(
  options: { readonly seed?: number | string; readonly startMs?: number } = {},
): TestRuntime {
  const clock = createTestClock(options.startMs);
  return { ...createRuntime({ clock, random: createRandom(options.seed ?? 'test') }), clock };
}
