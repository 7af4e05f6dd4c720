import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { fenced } from '../../src/backends/postgres/fenced.ts';
import { postgres } from '../../src/backends/postgres/postgres.ts';
import { isCoordinationError } from '../../src/core/errors.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';

const schema = `fence_${randomBytes(5).toString('hex')}`;
const clients: pg.Client[] = [];

async function connect(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  clients.push(client);
  return client;
}

let one: pg.Client;
let two: pg.Client;

beforeAll(async () => {
  const backend = postgres({ url: inject('postgresUrl'), schema });
  await backend.start(createRuntime());
  await backend.stop();
  [one, two] = [await connect(), await connect()];
  await one.query(`create table ${schema}.ledger (n bigserial, resource text, token bigint)`);
});
afterAll(async () => {
  await one.query(`drop schema ${schema} cascade`);
  for (const client of clients) await client.end();
});

/** One transaction with one write under a token. Returns the code of the refusal, if any. */
async function write(client: pg.Client, resource: string, token: number): Promise<string | undefined> {
  await client.query('begin');
  try {
    await fenced(
      client,
      { resource, token },
      (now) =>
        client.query(`insert into ${schema}.ledger (resource, token) values ($1, $2)`, [resource, now]),
      { schema },
    );
    await client.query('commit');
    return undefined;
  } catch (error) {
    await client.query('rollback');
    return isCoordinationError(error) ? error.code : String(error);
  }
}

async function ledger(resource: string): Promise<number[]> {
  const { rows } = await one.query<{ token: number }>(
    `select token::float8 as token from ${schema}.ledger where resource = $1 order by n`,
    [resource],
  );
  return rows.map(({ token }) => token);
}

async function waitingFor(pid: number): Promise<boolean> {
  const { rows } = await one.query<{ waits: boolean }>(
    `select wait_event_type = 'Lock' as waits from pg_stat_activity where pid = $1`,
    [pid],
  );
  return rows[0]?.waits === true;
}

describe('a write under a lock', () => {
  test('with an older token never succeeds once a newer one was seen; the naive one does', async () => {
    expect(await write(one, 'db', 5)).toBeUndefined();
    expect(await write(one, 'db', 5)).toBeUndefined();
    expect(await write(two, 'db', 7)).toBeUndefined();
    expect(await write(one, 'db', 5)).toBe('STALE_FENCE');
    expect(await write(one, 'other', 5)).toBeUndefined();
    expect(await ledger('db')).toEqual([5, 5, 7]);
    await one.query(`insert into ${schema}.ledger (resource, token) values ('naive', 7), ('naive', 5)`);
    expect(await ledger('naive')).toEqual([7, 5]);
  });

  test('without a fence nothing is asked', async () => {
    for (const fence of [undefined, null, 7, { tokens: undefined }, { tokens: [1] }])
      await expect(fenced(one, fence as never, () => 'written', { schema })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
  });

  test('a refusal says which token was seen, and undoes nothing but its own transaction', async () => {
    await write(one, 'told', 9);
    await one.query('begin');
    const refusal = fenced(one, { resource: 'told', token: 8 }, () => 'written', { schema });
    await expect(refusal).rejects.toMatchObject({
      code: 'STALE_FENCE',
      message: 'A write to told with token 8 was refused: token 9 was seen',
    });
    await one.query('rollback');
    expect(await write(one, 'told', 9)).toBeUndefined();
  });

  test('what is rolled back was not seen', async () => {
    await one.query('begin');
    await fenced(one, { resource: 'undone', token: 9 }, () => undefined, { schema });
    await one.query('rollback');
    expect(await write(one, 'undone', 3)).toBeUndefined();
  });

  test('two writers at once come one after the other, and the older one after the newer is refused', async () => {
    await one.query('begin');
    await fenced(one, { resource: 'race', token: 4 }, () => undefined, { schema });
    const pid = (await two.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid as number;
    const newer = write(two, 'race', 6);
    await expect.poll(() => waitingFor(pid)).toBe(true);
    await one.query(`insert into ${schema}.ledger (resource, token) values ('race', 4)`);
    await one.query('commit');
    expect(await newer).toBeUndefined();
    expect(await write(one, 'race', 4)).toBe('STALE_FENCE');
    expect(await ledger('race')).toEqual([4, 6]);
  });

  test('a lease with several resources is checked at each of them', async () => {
    const lease = (a: number, b: number): { readonly tokens: ReadonlyMap<string, number> } => ({
      tokens: new Map([
        ['set b', b],
        ['set a', a],
      ]),
    });
    await write(two, 'set a', 11);
    await one.query('begin');
    const refusal = fenced(one, lease(10, 12), () => undefined, { schema });
    await expect(refusal).rejects.toMatchObject({ code: 'STALE_FENCE' });
    await one.query('rollback');
    await one.query('begin');
    expect(await fenced(one, lease(11, 12), (token) => token, { schema })).toBe(12);
    await one.query('commit');
  });

  test('outside of a transaction it is refused, and other languages call the function', async () => {
    const outside = fenced(one, { resource: 'x', token: 1 }, () => undefined, { schema });
    await expect(outside).rejects.toMatchObject({ code: 'NOT_SUPPORTED' });
    await one.query(`select ${schema}.fence_v1('sql', 3)`);
    await one.query(`select ${schema}.fence_v1(token => 4, resource => 'sql')`);
    await expect(one.query(`select ${schema}.fence_v1('sql', 3)`)).rejects.toMatchObject({ code: 'AM004' });
    const bad = fenced(one, { resource: 'x', token: Number.NaN }, () => undefined, { schema });
    await expect(bad).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('whatever the writers, the order of commits never goes back to an older token', async () => {
    let round = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 9 })), { minLength: 4, maxLength: 24 }),
        async (writes) => {
          const resource = `round ${round++}`;
          while (clients.length < 6) await connect();
          const lanes = [0, 1, 2, 3].map(async (lane) => {
            for (const [who, token] of writes)
              if (who === lane) await write(clients[lane + 2] as pg.Client, resource, token);
          });
          await Promise.all(lanes);
          const seen = await ledger(resource);
          expect(seen).toEqual(seen.toSorted((a, b) => a - b));
          expect(seen.at(-1)).toBe(Math.max(...writes.map(([, token]) => token)));
        },
      ),
      { numRuns: 30 },
    );
  });
});
