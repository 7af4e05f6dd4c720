import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { fenced as fencedPostgres } from '../../src/backends/postgres/fenced.ts';
import { fenced as fencedRedis } from '../../src/backends/redis/fenced.ts';
import {
  newWorld,
  plainPostgres,
  plainRedis,
  startMesh,
  STORES,
  type World,
} from '../support/durable/stores.ts';
import { WorkerProcess } from '../support/durable/worker-process.ts';

/** Defect 47: a holder that was paused past its lease wrote after its successor: every lease lock without fencing. */
interface Locked {
  /** A process takes the lock and is paused past its lease. */
  firstIsPaused(leaseMs: number): Promise<void>;
  /** Another one takes it and writes. */
  secondWrites(value: string): Promise<void>;
  /** The first goes on where it was: it writes. Resolves whether it learnt that it may not. */
  firstWrites(value: string): Promise<boolean>;
  value(): Promise<string | null>;
}

export async function scenario(locked: Locked): Promise<void> {
  await locked.firstIsPaused(500);
  await locked.secondWrites('second');
  expect(await locked.firstWrites('first')).toBe(false);
  expect(await locked.value()).toBe('second');
}

function naive(): Locked {
  const { client, key } = plainRedis();
  const write = async (value: string): Promise<void> => void (await client.set(`${key}:value`, value));
  return {
    async firstIsPaused(leaseMs) {
      await client.set(`${key}:lock`, 'first', 'PX', leaseMs, 'NX');
      await sleep(leaseMs + 100);
    },
    async secondWrites(value) {
      if ((await client.set(`${key}:lock`, 'second', 'PX', 1_000, 'NX')) === 'OK') await write(value);
    },
    firstWrites: (value) => write(value).then(() => true),
    value: () => client.get(`${key}:value`),
  };
}

/** Where the value is, behind the fence of its store. */
type Place = { write(token: number, value: string): Promise<void>; value(): Promise<string | null> };

async function inPostgres({ name }: World): Promise<Place> {
  const { pool, table } = await plainPostgres('value text');
  await pool.query(`insert into ${table} values ('')`);
  return {
    async write(token, value) {
      const client = await pool.connect();
      try {
        await client.query('begin');
        const update = (): Promise<unknown> => client.query(`update ${table} set value = $1`, [value]);
        await fencedPostgres(client, { resource: 'x', token }, update, { schema: name });
        await client.query('commit');
      } finally {
        await client.query('rollback');
        client.release();
      }
    },
    value: async () =>
      (await pool.query<{ value: string }>(`select value from ${table}`)).rows[0]?.value ?? null,
  };
}

function inRedis({ name }: World): Place {
  const { client } = plainRedis();
  const key = `naive:{${name}}`;
  return {
    write: async (token, value) =>
      void (await fencedRedis(client, { resource: 'x', token }, [['SET', key, value, 'PX', 60_000]], {
        mesh: name,
      })),
    value: () => client.get(key),
  };
}

async function ours(world: World): Promise<Locked> {
  const first = await WorkerProcess.start(world);
  const mesh = await startMesh(world);
  const place = world.backend === 'postgres' ? await inPostgres(world) : inRedis(world);
  let token = 0;
  return {
    async firstIsPaused(leaseMs) {
      first.tell({ lock: 'x', leaseMs });
      token = await first.heard((news) => news.token);
      first.signal('SIGSTOP');
    },
    async secondWrites(value) {
      await using lease = await mesh.locks.acquire('x', { timeoutMs: 3_000 });
      await place.write(lease.token, value);
    },
    async firstWrites(value) {
      first.signal('SIGCONT');
      const isRefused = await place.write(token, value).then(
        () => false,
        (error: unknown) => (error as { readonly code?: unknown }).code === 'STALE_FENCE',
      );
      first.tell({ ask: 'aborted' });
      expect(await first.heard(({ aborted }) => aborted)).toBe(true);
      return !isRefused;
    },
    value: () => place.value(),
  };
}

test('defect 47: a lock with a lease alone lets a paused holder write', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)(
  'defect 47: on %s its token is refused, and it learns that it lost the lock',
  async (store) => {
    await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
  },
);
