import pg from 'pg';
import { expect, test } from 'vitest';
import {
  behindProxy,
  newWorld,
  plainPostgres,
  plainRedis,
  startMesh,
  STORES,
  type World,
} from '../support/durable/stores.ts';

/** Defect 50: a client that sends again what wasn't answered carries it out twice, and nobody learns of it (ioredis). */
interface Counter {
  /** Adds one; the answer is lost. */
  addAndLose(): Promise<void>;
  count(): Promise<number>;
}

const TIMES = 5;

export async function scenario(counter: Counter): Promise<void> {
  for (let i = 0; i < TIMES; i++) await counter.addAndLose();
  expect(await counter.count()).toBe(TIMES);
}

async function naiveRedis(): Promise<Counter> {
  const { world, proxy } = await behindProxy(newWorld('redis'));
  const { client, key } = plainRedis({ retryStrategy: () => 5 }, world.url);
  return {
    async addAndLose() {
      await client.ping();
      proxy.cutReplies(1, (request) => request.includes(key));
      await client.incr(key);
    },
    count: async () => Number(await client.get(key)),
  };
}

/** Tries again when there is an error, as every wrapper for retries does. */
async function naivePostgres(): Promise<Counter> {
  const { world, proxy } = await behindProxy(newWorld('postgres'));
  const { pool, table } = await plainPostgres('n int');
  return {
    async addAndLose() {
      proxy.cutReplies(1, (request) => request.includes(`insert into ${table}`));
      for (let isDone = false; !isDone; ) {
        const client = new pg.Client({ connectionString: world.url });
        client.on('error', () => undefined);
        await client.connect();
        isDone = await client.query(`insert into ${table} values (1)`).then(
          () => true,
          () => false,
        );
        if (isDone) await client.end();
      }
    },
    count: async () => (await pool.query(`select from ${table}`)).rowCount ?? 0,
  };
}

async function ours(direct: World): Promise<Counter> {
  const { world, proxy } = await behindProxy(direct);
  const mesh = await startMesh(world, { session: { leaseMs: 30_000 } });
  let count = 0;
  return {
    async addAndLose() {
      const before = proxy.cuts;
      const type = `increment-${count++}`;
      proxy.cutReplies(1, (request) => request.includes(type));
      await mesh.submitTask({ type, input: {} });
      expect(proxy.cuts).toBe(before + 1);
    },
    count: async () => (await mesh.queues.list({})).items.length,
  };
}

test.each([naiveRedis, naivePostgres])(
  'defect 50: a client that sends again counts twice',
  async (create) => {
    await expect(scenario(await create())).rejects.toThrow();
  },
);

test.each(STORES)('defect 50: on %s what is sent again is the same operation', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
