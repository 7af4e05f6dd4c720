import { expect, test } from 'vitest';
import {
  behindProxy,
  newWorld,
  plainPostgres,
  plainRedis,
  settledWithin,
  startMesh,
  STORES,
  type World,
} from '../support/durable/stores.ts';

/** Defect 27: a task was inserted into a table and pushed to a list, two writes: a connection lost in between left a task that nobody ran. */
interface Queue {
  /** Submits a task; the connection is lost after the first thing that was written. */
  submitAndLose(id: string): Promise<void>;
  /** Tasks that are stored, and those of them that have run, when all have or after so long. */
  look(withinMs: number): Promise<{ readonly stored: number; readonly ran: number }>;
}

export async function scenario(queue: Queue): Promise<void> {
  const ids = ['one', 'two', 'three'];
  for (const id of ids) await queue.submitAndLose(id);
  expect(await queue.look(5_000)).toEqual({ stored: ids.length, ran: ids.length });
}

async function naive(): Promise<Queue> {
  const { pool, table } = await plainPostgres('id text primary key');
  const { client, key } = plainRedis();
  return {
    async submitAndLose(id) {
      await pool.query(`insert into ${table} values ($1)`, [id]);
      const lost = client.duplicate();
      lost.disconnect();
      await lost.lpush(key, id).catch(() => undefined);
    },
    async look() {
      const { rowCount } = await pool.query(`select from ${table}`);
      return { stored: rowCount ?? 0, ran: await client.llen(key) };
    },
  };
}

async function ours(direct: World): Promise<Queue> {
  const { world, proxy } = await behindProxy(direct);
  const mesh = await startMesh(world, { session: { leaseMs: 30_000 } });
  const results: Promise<unknown>[] = [];
  return {
    async submitAndLose(id) {
      const before = proxy.cuts;
      proxy.cutReplies(1, (request) => request.includes(`task-${id}`));
      const handle = await mesh.submitTask({ id: `task-${id}`, type: 't', input: {} });
      expect(proxy.cuts).toBe(before + 1);
      const result = handle.result();
      result.catch(() => undefined);
      results.push(result);
    },
    async look(withinMs) {
      const worker = await startMesh(direct);
      let ran = 0;
      worker.registerAgent({ id: 'worker', handler: () => void (ran += 1) });
      await settledWithin(withinMs, Promise.all(results));
      return { stored: (await worker.queues.list({ type: 't' })).items.length, ran };
    },
  };
}

test('defect 27: a task that is stored and not pushed never runs', async () => {
  await expect(scenario(await naive())).rejects.toThrow();
});

test.each(STORES)('defect 27: on %s what is stored runs, once', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
