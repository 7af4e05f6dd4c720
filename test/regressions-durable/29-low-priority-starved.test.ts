import { expect, test } from 'vitest';
import { PortProcess } from '../support/durable/port-process.ts';
import { newWorld, plainRedis, STORES, type World } from '../support/durable/stores.ts';

/** Defect 29: while urgent tasks kept coming, one of low priority never ran. */
interface Queue {
  add(id: string, priority: number): Promise<void>;
  next(): Promise<string>;
}

const ROUNDS = 60;

export async function scenario(queue: Queue): Promise<void> {
  await queue.add('low', 0);
  const taken: string[] = [];
  for (let i = 0; i < ROUNDS && !taken.includes('low'); i++) {
    await queue.add(`high-${i}`, 3);
    await queue.add(`higher-${i}`, 3);
    taken.push(await queue.next());
  }
  expect(taken[0]).toMatch(/^high/);
  expect(taken).toContain('low');
}

function naive(): Queue {
  const { client, key } = plainRedis();
  return {
    add: async (id, priority) => void (await client.zadd(key, priority, id)),
    next: async () => (await client.zpopmax(key))[0] ?? '',
  };
}

/** Three points of priority are worth 60 ms of waiting. */
async function ours(world: World): Promise<Queue> {
  const process = await PortProcess.start(world, 60_000);
  const settings = { paused: false, ageStepMs: 20 };
  await process.tasks.configure(process.op(), 'work', undefined, settings);
  return {
    add: async (id, priority) => void (await process.enqueue(id, { priority })),
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
