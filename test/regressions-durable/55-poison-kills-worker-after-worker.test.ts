import { expect, test } from 'vitest';
import { newWorld, plainRedis, startMesh, STORES, type World, within } from '../support/durable/stores.ts';
import { WorkerProcess } from '../support/durable/worker-process.ts';

/** Defect 55: a job that killed its worker was run again, and killed worker after worker (Sidekiq #4633). */
interface Fleet {
  /** Submits a job that kills whoever runs it. */
  submitPoison(): Promise<void>;
  /** Starts another worker. Resolves whether it was killed too, within this time. */
  nextIsKilled(withinMs: number): Promise<boolean>;
  /** Where the job is put aside, with the reason. */
  reason(): Promise<string | undefined>;
}

/** Crashes that a task may have; the next one puts it aside. */
const MAX_CRASHES = 1;

export async function scenario(fleet: Fleet): Promise<void> {
  await fleet.submitPoison();
  for (let i = 0; i <= MAX_CRASHES; i++) expect(await fleet.nextIsKilled(10_000)).toBe(true);
  expect(await fleet.nextIsKilled(2_000)).toBe(false);
  expect(await fleet.reason()).toBe('POISON');
}

/** A list of jobs, and one of those in work, which go back when their worker has died. */
function naive(): Fleet {
  const { client, key } = plainRedis();
  return {
    submitPoison: async () => void (await client.lpush(key, 'poison')),
    async nextIsKilled() {
      const job = await client.lmove(key, `${key}:working`, 'RIGHT', 'LEFT');
      if (job !== 'poison') return false;
      await client.lmove(`${key}:working`, key, 'RIGHT', 'LEFT');
      return true;
    },
    reason: () => Promise.resolve(undefined),
  };
}

async function ours(world: World): Promise<Fleet> {
  const mesh = await startMesh(world, { scheduling: { maxCrashes: MAX_CRASHES } });
  let id = '';
  return {
    async submitPoison() {
      ({ id } = await mesh.submitTask({ type: 'poison', input: {} }));
    },
    async nextIsKilled(withinMs) {
      const worker = await WorkerProcess.start(world, { slots: 1 });
      return (await within(withinMs, () => (worker.isGone ? true : undefined))) === true;
    },
    async reason() {
      const task = await mesh.getTask(id);
      return task?.state === 'dead' ? task.reason : task?.state;
    },
  };
}

test('defect 55: whatever kills its worker goes back to the queue', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)('defect 55: on %s it is put aside after so many crashes', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
