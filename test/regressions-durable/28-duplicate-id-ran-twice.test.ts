import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { newWorld, plainRedis, startMesh, STORES, type World, within } from '../support/durable/stores.ts';

/** Defect 28: a task that was submitted twice under one id ran twice. */
interface Queue {
  submit(id: string): Promise<void>;
  /** How often the task ran, once it has. */
  runs(): Promise<number>;
}

export async function scenario(queue: Queue): Promise<void> {
  await Promise.all([queue.submit('invoice-7'), queue.submit('invoice-7'), queue.submit('invoice-7')]);
  expect(await queue.runs()).toBe(1);
}

function naive(): Queue {
  const { client, key } = plainRedis();
  return {
    async submit(id) {
      await client.hset(`${key}:tasks`, id, '{}');
      await client.lpush(`${key}:queue`, id);
    },
    async runs() {
      let runs = 0;
      while ((await client.rpop(`${key}:queue`)) !== null) runs += 1;
      return runs;
    },
  };
}

async function ours(world: World): Promise<Queue> {
  const meshes = await Promise.all([startMesh(world), startMesh(world)]);
  let runs = 0;
  let turn = 0;
  for (const mesh of meshes) mesh.registerAgent({ id: `agent-${turn++}`, handler: () => void (runs += 1) });
  return {
    async submit(id) {
      await meshes[turn++ % 2]?.submitTask({ id, type: 't', input: {} });
    },
    async runs() {
      await within(3_000, () => (runs > 0 ? true : undefined));
      // A second run would have come by now.
      await sleep(300);
      return runs;
    },
  };
}

test('defect 28: an id that comes twice runs twice', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)('defect 28: on %s it runs once, whoever submits it', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
