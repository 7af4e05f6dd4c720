import { memory } from '../../src/backends/memory/memory.ts';
import type { Backend, Capabilities } from '../../src/core/ports/backend.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** What the memory backend must say of itself. */
export const MEMORY: Capabilities = {
  roundTrip: 'none',
  encoding: 'reference',
  maxBatch: 10_000,
  ordered: true,
  maxInFlight: 32,
  transactions: false,
  shared: false,
  redelivery: 'item',
};

/** A memory backend on simulated time for one test of a suite, as it is or through a wrapper. */
export async function memoryEnvironment(
  wrap: (backend: Backend) => Backend = (b) => b,
): Promise<SuiteEnvironment> {
  const clock = createTestClock();
  const runtime = createRuntime({ clock, random: createRandom('suite') });
  const backend = wrap(memory());
  await backend.start(runtime);
  return {
    backend,
    runtime,
    pass: (ms) => clock.advance(ms),
    stop: async () => {
      await backend.stop();
    },
  };
}
