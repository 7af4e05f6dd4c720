import { onTestFinished } from 'vitest';
import { memory, type MemoryBackend } from '../../src/backends/memory/memory.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import { CoordinationManager, type CoordinationOptions } from '../../src/index.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** Started managers over one memory store, which the end of the test shuts down. @param reach how each has it, for example over a network */
export async function startFleet(
  size: number,
  reach: (store: MemoryBackend) => Backend,
  options: CoordinationOptions = {},
) {
  const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
  const store = memory({ shared: true });
  const meshes: CoordinationManager[] = [];
  for (let seed = 0; seed < size; seed++) {
    const mesh = new CoordinationManager({ backend: reach(store), clock, seed, env: {}, ...options });
    await mesh.initialize();
    meshes.push(mesh);
  }
  onTestFinished(async () => {
    const over = Promise.all(meshes.map((mesh) => mesh.shutdown()));
    await clock.advance(60_000);
    await over;
  });
  return { clock, store, meshes };
}
