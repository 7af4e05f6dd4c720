import fc from 'fast-check';
import { expect, test } from 'vitest';
import { memory } from '../../src/backends/memory/memory.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { checkState, stateStep } from '../support/state-model.ts';

test('state is a map with compare-and-set; a watcher knows it after reading on, whatever expires or ends', async () => {
  const seen = { refused: 0, resets: 0, runs: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(stateStep, { minLength: 5, maxLength: 40 }), async (script) => {
      const clock = createTestClock();
      const backend = memory();
      backend.start(createRuntime({ clock, random: createRandom('state') }));
      await checkState({ backend, pass: (ms) => clock.tick(ms) }, script, seen);
    }),
  );
  expect(seen.refused).toBeGreaterThan(seen.runs / 2);
  expect(seen.resets).toBeGreaterThan(seen.runs / 100);
});
