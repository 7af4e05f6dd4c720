import pg from 'pg';
import { afterEach, describe, expect, inject, test } from 'vitest';
import type { PostgresOptions } from '../../src/backends/postgres/options.ts';
import { MeshServer } from '../../src/backends/postgres/mesh-server.ts';
import { postgresSettings } from '../../src/backends/postgres/options.ts';
import { MIGRATIONS, WRITER } from '../../src/backends/postgres/schema/migrations.ts';
import type { Hint } from '../../src/core/ports/backend.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { recordingPool, scratchSchema, sql } from '../support/postgres-scratch.ts';

const servers: MeshServer[] = [];
const pools: pg.Pool[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
  for (const pool of pools.splice(0)) await pool.end();
});

async function meshServer(schema: string, options: Partial<PostgresOptions> = {}): Promise<MeshServer> {
  const source = options.pool === undefined ? { url: inject('postgresUrl') } : {};
  const settings = postgresSettings({ schema, ...source, ...options });
  const server = new MeshServer(settings, { migrations: MIGRATIONS, writer: WRITER });
  servers.push(server);
  await server.start(createRuntime());
  return server;
}

function poolOf(max: number): pg.Pool {
  const pool = new pg.Pool({ connectionString: inject('postgresUrl'), max });
  pools.push(pool);
  return pool;
}

/** Everything that is heard of some interest. */
function ear(server: MeshServer, interest: readonly Hint[]): Hint[] {
  const heard: Hint[] = [];
  server.onHint(interest, (hint) => heard.push(hint));
  return heard;
}

async function until(what: string, holds: () => unknown): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await holds()) return;
    await new Promise((resolve) => void setTimeout(resolve, 10));
  }
  throw new Error(`It never came: ${what}`);
}

const queue = (name: string): Hint => ({ about: 'tasks', queue: name });

describe('hints of PostgreSQL', () => {
  test('reach this process at once and once, others by the server, and each only what it asked for', async () => {
    const schema = scratchSchema();
    const [a, b] = [await meshServer(schema), await meshServer(schema)];
    const mine = ear(a, [queue('x')]);
    const theirs = [ear(b, [queue('x')]), ear(b, [queue('*')]), ear(b, [{ about: 'locks', resource: 'x' }])];
    a.database.hint([queue('x'), queue('x'), queue('y')]);
    await Promise.resolve();
    expect(mine).toEqual([queue('x')]);
    await until('both hints', () => theirs[1]?.length === 2);
    expect(theirs).toEqual([[queue('x')], [queue('x'), queue('y')], []]);
    expect(mine).toEqual([queue('x')]);
  });

  test('a disposed listener hears nothing more, nor does a stopped backend say anything', async () => {
    const a = await meshServer(scratchSchema());
    const heard: Hint[] = [];
    const listening = a.onHint([queue('*')], (hint) => heard.push(hint));
    a.database.hint([queue('x')]);
    await Promise.resolve();
    listening[Symbol.dispose]();
    a.database.hint([queue('y')]);
    await a.stop();
    a.database.hint([queue('z')]);
    await new Promise((resolve) => void setTimeout(resolve, 20));
    expect(heard).toEqual([queue('x')]);
  });

  test('many go out in few notifications, outside of every transaction', async () => {
    const schema = scratchSchema();
    const recording = recordingPool(poolOf(3));
    const a = await meshServer(schema, { pool: recording, listen: false });
    const b = await meshServer(schema);
    const heard = ear(b, [queue('*')]);
    recording.sent.length = 0;
    for (let i = 0; i < 1_000; i++) a.database.hint([queue(`queue ${i % 100}`), queue('busy')]);
    await until('all of them', () => new Set(heard.map((hint) => JSON.stringify(hint))).size === 101);
    const sent = recording.sent.map(({ text }) => text);
    expect(sent.every((text) => text.startsWith('select pg_notify'))).toBe(true);
    expect(sent.length).toBeLessThanOrEqual(3);
  });

  test('schemas whose names are alike for 47 letters hear nothing of each other', async () => {
    const stem = scratchSchema().padEnd(47, 'x');
    const [a, b] = [await meshServer(`${stem}1`), await meshServer(`${stem}2`)];
    const [own, other] = [ear(a, [queue('*')]), ear(b, [queue('*')])];
    const c = await meshServer(`${stem}1`);
    c.database.hint([queue('x')]);
    await until('it is heard', () => own.length > 0);
    expect(other).toEqual([]);
  });

  test("those of a caller's transaction come a little later", async () => {
    const a = await meshServer(scratchSchema());
    const heard = ear(a, [queue('*')]);
    a.database.within(new pg.Client()).hint([queue('x')]);
    await Promise.resolve();
    expect(heard).toEqual([]);
    await until('it is heard', () => heard.length > 0);
  });

  test.each(['url', 'pool'])(
    'a lost connection (%s) is opened again, and whoever asks is told to look once',
    async (kind) => {
      const schema = scratchSchema();
      const a = await meshServer(schema, kind === 'pool' ? { pool: poolOf(3) } : {});
      const heard = ear(a, [queue('*'), { about: 'reconnected' }]);
      const other = await meshServer(schema);
      for (let round = 1; round <= 2; round++) {
        await sql(`select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen am_%'`);
        await until('the hint', () => heard.filter(({ about }) => about === 'reconnected').length === round);
      }
      other.database.hint([queue('again')]);
      await until('a hint on the new connection', () => heard.some((hint) => hint.about === 'tasks'));
      expect(heard.at(-1)).toEqual(queue('again'));
    },
  );

  test('one connection listens, however many listeners there are, and it is closed by stop', async () => {
    const schema = scratchSchema();
    const [{ channel }] = (await sql<{ channel: string }>(`select 'am_' || md5('${schema}') as channel`)) as [
      { channel: string },
    ];
    const a = await meshServer(schema);
    for (let i = 0; i < 100; i++) ear(a, [queue(`${i}`)]);
    const count = async (): Promise<number> =>
      (await sql(`select 1 from pg_stat_activity where query = 'listen ${channel}'`)).length;
    expect(await count()).toBe(1);
    await a.stop();
    await until('it is closed', async () => (await count()) === 0);
  });

  test('an unreachable listening connection fails neither the start nor the calls', async () => {
    await using proxy = await startFaultProxy({ port: Number(new URL(inject('postgresUrl')).port) });
    const url = new URL(inject('postgresUrl'));
    url.port = String(proxy.port);
    proxy.cutRequests(1, (request) => request.includes('listen am_'));
    const warned: string[] = [];
    const settings = postgresSettings({ schema: scratchSchema(), url: url.href });
    const server = new MeshServer(settings, { migrations: MIGRATIONS, writer: WRITER });
    servers.push(server);
    const heard = ear(server, [{ about: 'reconnected' }]);
    const logger = {
      debug: () => undefined,
      info: () => undefined,
      error: () => undefined,
      warn: (text: string) => void warned.push(text),
    };
    await server.start(createRuntime({ logger }));
    expect(await server.database.read('select 1 as one')).toEqual([{ one: 1 }]);
    await until('it listens after all', () => heard.length === 1);
    expect(warned).toEqual(['PostgreSQL: the connection for hints is lost; waits poll until it is back']);
  });
});
