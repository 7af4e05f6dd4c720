import { onTestFinished } from 'vitest';
import type { TaskSpec } from '../../src/index.ts';
import { gate } from './mesh.ts';
import { type MeshOptions, startMesh } from './started-mesh.ts';

export type SubmittedMesh = Awaited<ReturnType<typeof crossedLocks>>;

/** What the victim states beside its locks. */
export type VictimSpec = (clock: { readonly wall: () => number }) => Partial<TaskSpec>;

/** Two tasks that took crossed locks: `victim` has been chosen and failed, `survivor` runs until `finish`. */
export async function crossedLocks(victim: VictimSpec = () => ({}), options: MeshOptions = {}) {
  const { mesh, clock, named } = await startMesh({ workStealing: false, ...options });
  const { promise, open: finish } = gate();
  mesh.registerAgent({
    id: 'a',
    maxConcurrentTasks: 2,
    handler: ({ task, withLock }) => {
      const [first, second] = task.input as [string, string];
      return withLock(first, async () => {
        await new Promise<void>((resolve) => void clock.after(10, resolve));
        return withLock(second, async () => {
          if (task.id === 'survivor') await promise;
          return 'done';
        });
      });
    },
  });
  await mesh.submitTask({
    id: 'survivor',
    type: 'cross',
    input: ['A', 'B'],
    priority: 9,
    timeoutMs: 600_000,
  });
  const handle = await mesh.submitTask({
    id: 'victim',
    type: 'cross',
    input: ['B', 'A'],
    priority: 1,
    ...victim(clock),
  });
  const outcome = handle.result().catch((error: unknown) => error);
  await clock.advance(100);
  onTestFinished(() => finish());
  return { mesh, clock, named, finish, outcome };
}
