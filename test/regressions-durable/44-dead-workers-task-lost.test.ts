import { expect, test } from 'vitest';
import {
  LEASE_MS,
  newWorld,
  plainRedis,
  settledWithin,
  startMesh,
  STORES,
  type World,
} from '../support/durable/stores.ts';
import { WorkerProcess } from '../support/durable/worker-process.ts';

/** Defect 44: what a worker ran when it was killed was lost. */
interface Fleet {
  submit(count: number): Promise<void>;
  /** Kills the worker that runs them. */
  kill(): Promise<void>;
  /** Another worker is there; how many of the tasks have ended, when all have or after so long. */
  ended(withinMs: number): Promise<number>;
}

export async function scenario(fleet: Fleet): Promise<void> {
  await fleet.submit(4);
  await fleet.kill();
  expect(await fleet.ended(LEASE_MS + 2_000)).toBe(4);
}

/** Takes tasks off a list, so that they are in the worker's memory alone. */
function naive(): Fleet {
  const worker = plainRedis();
  const other = plainRedis();
  return {
    async submit(count) {
      for (let i = 0; i < count; i++) await worker.client.lpush(worker.key, `task-${i}`);
      for (let i = 0; i < count; i++) await worker.client.brpop(worker.key, 1);
    },
    kill: () => Promise.resolve(worker.client.disconnect()),
    async ended() {
      let ended = 0;
      while ((await other.client.rpop(worker.key)) !== null) ended += 1;
      return ended;
    },
  };
}

function ours(world: World): Fleet {
  let worker: WorkerProcess;
  let results: Promise<unknown>[] = [];
  return {
    async submit(count) {
      worker = await WorkerProcess.start(world, { slots: count });
      const mesh = await startMesh(world);
      const tasks = Array.from({ length: count }, () => ({ type: 'work', input: { ms: 60_000 } }));
      const handles = await Promise.all(tasks.map((task) => mesh.submitTask(task)));
      results = handles.map((handle) => handle.result());
      for (const { id } of handles) await worker.heard(({ ran }) => (ran === id ? true : undefined));
    },
    kill: () => worker.kill(),
    async ended(withinMs) {
      const rescuer = await startMesh(world);
      rescuer.registerAgent({ id: 'rescuer', handler: () => 'done' });
      return (await settledWithin(withinMs, Promise.all(results)))?.length ?? 0;
    },
  };
}

test('defect 44: a list forgets what it gave to a worker that was killed', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)('defect 44: on %s another worker does it', async (store) => {
  await expect(scenario(ours(newWorld(store)))).resolves.toBeUndefined();
});
