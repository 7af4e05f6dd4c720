import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { newWorld, plainRedis, startMesh, STORES, within, type World } from '../support/durable/stores.ts';
import { WorkerProcess } from '../support/durable/worker-process.ts';

/** Defect 26: on SIGTERM the worker left with the task it was about to finish: its result was lost. */
interface Worker {
  /** Begins a task that takes so long. */
  begin(ms: number): Promise<void>;
  /** Ends the worker in good order. */
  terminate(): Promise<void>;
  /** What is recorded of the task afterwards, by nobody else's help. */
  result(): Promise<unknown>;
}

export async function scenario(worker: Worker): Promise<void> {
  await worker.begin(400);
  await worker.terminate();
  expect(await worker.result()).toBe('done by the worker that was ended');
}

/** Closes its connections at once, and its last write fails. */
function naive(): Worker {
  const { client, key } = plainRedis();
  const reader = plainRedis();
  let work: Promise<unknown> | undefined;
  return {
    async begin(ms) {
      await client.hset(key, 'status', 'running');
      work = sleep(ms).then(() => client.hset(key, 'result', 'done by the worker that was ended'));
      work.catch(() => undefined);
    },
    async terminate() {
      client.disconnect();
      await Promise.allSettled([work]);
    },
    result: () => reader.client.hget(key, 'result'),
  };
}

function ours(world: World): Worker {
  let worker: WorkerProcess;
  let id: string;
  return {
    async begin(ms) {
      worker = await WorkerProcess.start(world);
      const mesh = await startMesh(world);
      ({ id } = await mesh.submitTask({ type: 'work', input: { ms } }));
      await worker.heard(({ ran }) => ran);
    },
    terminate: () => worker.stop(),
    async result() {
      const mesh = await startMesh(world);
      const task = await within(1_000, async () => {
        const known = await mesh.getTask(id);
        return known?.state === 'completed' ? known : undefined;
      });
      const { pid } = (task?.result ?? {}) as { readonly pid?: number };
      return pid === worker.pid && task?.attempt === 1 ? 'done by the worker that was ended' : task;
    },
  };
}

test('defect 26: a worker that is ended takes its result along', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)('defect 26: on %s it finishes what it runs and stores it', async (store) => {
  await expect(scenario(ours(newWorld(store)))).resolves.toBeUndefined();
});
