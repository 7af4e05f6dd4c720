import { expect, test } from 'vitest';
import { newWorld, plainRedis, startMesh, STORES, type World, within } from '../support/durable/stores.ts';
import { WorkerProcess } from '../support/durable/worker-process.ts';

/** Defect 55: a job that killed its worker was run again, and killed worker after worker (Sidekiq #4633). */
interface Fleet {
  /** So many workers are there when a job is submitted that kills whoever runs it. */
  submitPoison(workers: number): Promise<void>;
  /** How many of them were killed when the job was put aside, or after so long. */
  killed(withinMs: number): Promise<number>;
  /** Why the job is put aside. */
  reason(): Promise<string | undefined>;
}

/** Crashes that a task may have; the next one puts it aside. */
const MAX_CRASHES = 1;

export async function scenario(fleet: Fleet): Promise<void> {
  await fleet.submitPoison(MAX_CRASHES + 2);
  expect(await fleet.killed(10_000)).toBe(MAX_CRASHES + 1);
  expect(await fleet.reason()).toBe('POISON');
}

/** A list of jobs, and one of those in work, which go back when their worker has died. */
function naive(): Fleet {
  const { client, key } = plainRedis();
  let alive = 0;
  return {
    async submitPoison(workers) {
      alive = workers;
      await client.lpush(key, 'poison');
    },
    async killed() {
      let killed = 0;
      while (killed < alive && (await client.lmove(key, `${key}:working`, 'RIGHT', 'LEFT')) === 'poison') {
        killed += 1;
        await client.lmove(`${key}:working`, key, 'RIGHT', 'LEFT');
      }
      return killed;
    },
    reason: () => Promise.resolve(undefined),
  };
}

async function ours(world: World): Promise<Fleet> {
  const mesh = await startMesh(world, { scheduling: { maxCrashes: MAX_CRASHES } });
  let workers: readonly WorkerProcess[] = [];
  let id = '';
  return {
    async submitPoison(count) {
      const starting = Array.from({ length: count }, () => WorkerProcess.start(world, { slots: 1 }));
      workers = await Promise.all(starting);
      ({ id } = await mesh.submitTask({ type: 'poison', input: {} }));
    },
    async killed(withinMs) {
      await within(withinMs, async () => ((await mesh.getTask(id))?.state === 'dead' ? true : undefined));
      return workers.filter((worker) => worker.isGone).length;
    },
    reason: async () => (await mesh.getTask(id))?.reason,
  };
}

test('defect 55: whatever kills its worker goes back to the queue', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)('defect 55: on %s it is put aside after so many crashes', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
