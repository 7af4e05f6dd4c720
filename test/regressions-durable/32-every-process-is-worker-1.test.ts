import { expect, test } from 'vitest';
import { newWorld, startMesh, STORES, type World } from '../support/durable/stores.ts';
import { PortProcess } from '../support/durable/port-process.ts';
import { WorkerProcess } from '../support/durable/worker-process.ts';

/** Defect 32: workers numbered themselves by a counter of their own process, so every process reported as worker 1. */
interface Fleet {
  /** Starts a worker in a process of its own and resolves to its pid. */
  start(): Promise<number>;
  /** What the fleet knows its workers by, and their processes. */
  workers(): Promise<readonly { readonly worker: number; readonly pid: number }[]>;
}

export async function scenario(fleet: Fleet): Promise<void> {
  const pids = await Promise.all([fleet.start(), fleet.start()]);
  const workers = (await fleet.workers()).filter(({ pid }) => pids.includes(pid));
  expect(new Set(workers.map(({ pid }) => pid))).toEqual(new Set(pids));
  expect(new Set(workers.map(({ worker }) => worker)).size).toBe(2);
}

/** Each process counts its own. */
function naive(): Fleet {
  const reports: { worker: number; pid: number }[] = [];
  return {
    start: () => {
      let counter = 0;
      counter += 1;
      const pid = 1_000 + reports.length;
      reports.push({ worker: counter, pid });
      return Promise.resolve(pid);
    },
    workers: () => Promise.resolve(reports),
  };
}

function ours(world: World): Fleet {
  return {
    start: async () => (await WorkerProcess.start(world)).pid,
    async workers() {
      await startMesh(world);
      const { backend } = await PortProcess.start(world, 60_000);
      const found = await backend.sessions?.list({ limit: 100, state: 'alive' });
      return (found?.items ?? []).map(({ session, report }) => ({ worker: session, pid: report.pid }));
    },
  };
}

test('defect 32: a counter of its own makes every process worker 1', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)('defect 32: on %s the store numbers them', async (store) => {
  await expect(scenario(ours(newWorld(store)))).resolves.toBeUndefined();
});
