import { expect, test } from 'vitest';
import { PortProcess } from '../support/durable/port-process.ts';
import { newWorld, plainRedis, STORES, type World } from '../support/durable/stores.ts';

/** Defect 29: while urgent tasks kept coming, one of low priority never ran. */
interface Queue {
  /** Names of tasks, with their priorities, added at once. */
  add(tasks: Readonly<Record<string, number>>): Promise<void>;
  next(): Promise<string>;
}

/** Two come and one goes: as long as urgent ones are ahead, their number grows. */
const ROUNDS = 400;

export async function scenario(queue: Queue): Promise<void> {
  // What is slow the first time is over then.
  await queue.add({ first: 0 });
  expect(await queue.next()).toBe('first');
  const taken: string[] = [];
  await queue.add({ low: 0, urgent: 3 });
  for (let i = 0; i < ROUNDS && !taken.includes('low'); i++) {
    taken.push(await queue.next());
    await queue.add({ [`urgent-${2 * i}`]: 3, [`urgent-${2 * i + 1}`]: 3 });
  }
  expect(taken[0]).toBe('urgent');
  expect(taken).toContain('low');
}

function naive(): Queue {
  const { client, key } = plainRedis();
  return {
    async add(tasks) {
      for (const [id, priority] of Object.entries(tasks)) await client.zadd(key, priority, id);
    },
    next: async () => (await client.zpopmax(key))[0] ?? '',
  };
}

/** Three points of priority are worth 120 ms of waiting. */
async function ours(world: World): Promise<Queue> {
  const process = await PortProcess.start(world, 60_000);
  const settings = { paused: false, ageStepMs: 40 };
  await process.tasks.configure(process.op(), 'work', undefined, settings);
  return {
    async add(tasks) {
      await process.tasks.enqueue(
        process.op(),
        Object.entries(tasks).map(([id, priority]) => process.task(id, { priority })),
      );
    },
    async next() {
      const [claim] = await process.claim();
      if (claim === undefined) return '';
      await process.settle({ claim, as: 'complete', result: undefined });
      return claim.task;
    },
  };
}

test('defect 29: in a queue of strict priorities low ones starve', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)('defect 29: on %s they come to their turn', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
