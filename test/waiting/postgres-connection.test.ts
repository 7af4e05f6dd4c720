import { once } from 'node:events';
import { createServer } from 'node:net';
import { inspect } from 'node:util';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Database } from '../../src/backends/postgres/database.ts';
import { MeshServer } from '../../src/backends/postgres/mesh-server.ts';
import { type PostgresOptions, postgresSettings } from '../../src/backends/postgres/options.ts';
import { postgres, type PostgresBackend } from '../../src/backends/postgres/postgres.ts';
import { MIGRATIONS, WRITER } from '../../src/backends/postgres/schema/migrations.ts';
import { PostgresSessions } from '../../src/backends/postgres/sessions.ts';
import { PostgresStateStore } from '../../src/backends/postgres/state-store.ts';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import { isCoordinationError } from '../../src/core/errors.ts';
import type { Hint } from '../../src/core/ports/backend.ts';
import type { SessionNumber } from '../../src/core/ports/words.ts';
import { printable } from '../../src/core/runtime/printable.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { recordingPool, scratchRole, scratchSchema, sql } from '../support/postgres-scratch.ts';
import { freePort } from '../support/servers/free-port.ts';
import { type PostgresServer, startPostgres } from '../support/servers/postgres-server.ts';

const backends: { stop(): Promise<void> }[] = [];

function backendOf(options: Partial<PostgresOptions> = {}): PostgresBackend {
  const source =
    options.pool === undefined && options.config === undefined ? { url: inject('postgresUrl') } : {};
  const backend = postgres({ schema: scratchSchema(), listen: false, ...source, ...options });
  backends.push(backend);
  return backend;
}

async function started(options: Partial<PostgresOptions> = {}): Promise<PostgresBackend> {
  const backend = backendOf(options);
  await backend.start(createRuntime());
  return backend;
}

afterEach(async () => {
  for (const backend of backends.splice(0)) await backend.stop();
});

/** A session, and a way to change something by it. */
async function caller(backend: PostgresBackend) {
  const { session } = await backend.sessions.open({
    boot: `boot ${Math.random()}`,
    leaseMs: 600_000,
    writer: 1,
    report: EMPTY_REPORT,
  });
  let sequence = 0;
  return {
    session,
    next: () => ({ session, sequence: ++sequence }),
    put: (key: string, op = { session, sequence: ++sequence }) =>
      backend.state.compareAndSet(op, [{ key, expected: 0, value: key }]),
  };
}

/** The code of what a call rejects with, and how long that took. */
async function failure(call: () => Promise<unknown>): Promise<{ code: string; ms: number; error: unknown }> {
  const since = performance.now();
  try {
    await call();
  } catch (error) {
    return {
      code: isCoordinationError(error) ? error.code : String(error),
      ms: performance.now() - since,
      error,
    };
  }
  return { code: 'none', ms: performance.now() - since, error: undefined };
}

async function until(what: string, holds: () => unknown): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await holds()) return;
    await new Promise((resolve) => void setTimeout(resolve, 10));
  }
  throw new Error(`It never came: ${what}`);
}

/** Ends all connections of the backends in a database but ours. */
const TERMINATE = `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and application_name = `;

describe('start', () => {
  test('a port that nobody listens on is refused at once', async () => {
    const backend = backendOf({ url: `postgres://x:canary@127.0.0.1:${await freePort()}/x` });
    const { code, ms, error } = await failure(() => backend.start(createRuntime()));
    expect(code).toBe('BACKEND_UNAVAILABLE');
    expect(ms).toBeLessThan(1_000);
    expect(inspect(error, { depth: 9 })).not.toContain('canary');
    expect(await backend.check()).toMatchObject({ healthy: false });
  });

  test('a server that never answers is given up after connectTimeoutMs', async () => {
    const hole = createServer();
    hole.listen(0, '127.0.0.1');
    await once(hole, 'listening');
    const { port } = hole.address() as { port: number };
    const backend = backendOf({ url: `postgres://x:canary@127.0.0.1:${port}/x`, connectTimeoutMs: 300 });
    const { code, ms } = await failure(() => backend.start(createRuntime()));
    hole.close();
    expect(code).toBe('BACKEND_UNAVAILABLE');
    expect(ms).toBeGreaterThan(250);
    expect(ms).toBeLessThan(1_500);
  });

  test('a server that stops answering during the start too', async () => {
    await using proxy = await startFaultProxy({ port: portOf(inject('postgresUrl')) });
    const { schema } = await withDatabase();
    const url = through(inject('postgresUrl'), proxy.port);
    const backend = backendOf({ schema, url, connectTimeoutMs: 1_000 });
    proxy.cutRequests(1, (request) => {
      if (request.includes('server_version_num')) proxy.be('held');
      return false;
    });
    const { code, ms } = await failure(() => backend.start(createRuntime()));
    expect(code).toBe('BACKEND_UNAVAILABLE');
    expect(ms).toBeLessThan(2_500);
    // Nothing is left that would hold the process.
    proxy.cutRequests(0);
    proxy.be('forwarding');
    await until('its connection is closed', () => proxy.connections === 0);
    expect((await backend.start(createRuntime())).schema.version).toBeGreaterThan(0);
  });

  test('is idempotent, may follow a stop, and a failed one may be repeated', async () => {
    const runtime = createRuntime();
    const backend = backendOf();
    const [first, second] = await Promise.all([backend.start(runtime), backend.start(runtime)]);
    expect(second).toEqual(first);
    expect(await backend.check()).toEqual({ healthy: true });
    await backend.stop();
    await backend.stop();
    expect(await backend.check()).toEqual({ healthy: false, detail: 'stopped' });
    await backend.start(runtime);
    expect((await backend.sessions.list({ limit: 1 })).items).toEqual([]);
  });

  test('before it, calls are refused', async () => {
    expect((await failure(async () => backendOf().state.get(['a']))).code).toBe('NOT_STARTED');
  });

  test('a wrong user or database is named without showing the password', async () => {
    const url = new URL(inject('postgresUrl'));
    url.username = 'nobody';
    url.password = 'canary-91';
    url.pathname = '/nowhere';
    for (const source of [{ url: url.href }, { config: { connectionString: url.href } }]) {
      const { code, error } = await failure(() => backendOf(source).start(createRuntime()));
      expect(code).toBe('BACKEND_UNAVAILABLE');
      expect(inspect(error, { depth: 20, showHidden: true })).not.toContain('canary');
    }
  });
});

test('a password is shown by nothing: errors of every kind, logs, the report, the backend itself', async () => {
  const role = await scratchRole();
  await using proxy = await startFaultProxy({ port: portOf(role.url) });
  const shown: unknown[] = [];
  const say = (...words: unknown[]): void => void shown.push(words);
  const logger = { debug: say, info: say, warn: say, error: say };
  const url = through(role.url, proxy.port);
  const schema = scratchSchema();
  await backendOf({ url: role.url, schema }).migrate();
  const backend = backendOf({ url, schema, listen: true, connectTimeoutMs: 1_000, commandTimeoutMs: 1_000 });
  shown.push(await backend.start(createRuntime({ logger })), backend, await backend.check());
  const { put } = await caller(backend);
  proxy.cutReplies(1);
  shown.push((await failure(() => put('a'))).error);
  proxy.be('refusing');
  shown.push((await failure(() => put('b'))).error, await backend.check());
  proxy.be('held');
  shown.push((await failure(() => put('c'))).error, (await failure(() => backend.migrate())).error);
  await backend.stop();
  shown.push((await failure(() => put('d'))).error, await backend.check(), backend);
  proxy.be('refusing');
  shown.push((await failure(() => backend.start(createRuntime({ logger })))).error);
  const codes = shown.map((thing) => (isCoordinationError(thing) ? thing.code : '')).filter(Boolean);
  expect(new Set(codes)).toEqual(new Set(['OUTCOME_UNKNOWN', 'BACKEND_UNAVAILABLE', 'STOPPED']));
  expect(inspect(shown, { depth: 30, showHidden: true })).not.toContain(role.password);
  expect(JSON.stringify(shown, printable)).not.toContain(role.password);
});

describe('stop', () => {
  test('rejects what is under way and what comes', async () => {
    const { backend, db } = await withDatabase();
    const pending = failure(() => db.read('select pg_sleep(5)'));
    await until(
      'the call is under way',
      async () =>
        (
          await sql(
            `select 1 from pg_stat_activity where query like '%pg_sleep(5)%' and pid <> pg_backend_pid()`,
          )
        ).length > 0,
    );
    const since = performance.now();
    await backend.stop();
    expect((await pending).code).toBe('STOPPED');
    expect((await failure(() => db.read('select 1'))).code).toBe('STOPPED');
    expect(performance.now() - since).toBeLessThan(1_000);
  });

  test("leaves a pool of the caller's alone", async () => {
    const pool = new pg.Pool({ connectionString: inject('postgresUrl'), max: 3 });
    try {
      const backend = await started({ pool, listen: true });
      await caller(backend);
      await backend.stop();
      expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    } finally {
      await pool.end();
    }
  });
});

describe('calls', () => {
  test('a beat is one statement, and so is a change of state', async () => {
    const pool = new pg.Pool({ connectionString: inject('postgresUrl'), max: 2 });
    try {
      const recording = recordingPool(pool);
      const backend = await started({ pool: recording });
      const { session, put } = await caller(backend);
      recording.sent.length = 0;
      await backend.sessions.beat(session, EMPTY_REPORT);
      await put('a');
      expect(recording.sent.map(({ text }) => /\w+_v1/.exec(text)?.[0])).toEqual([
        'session_beat_v1',
        'state_swap_v1',
      ]);
    } finally {
      for (const backend of backends.splice(0)) await backend.stop();
      await pool.end();
    }
  });

  test('bigint columns are numbers for us, and what they were for everybody else', async () => {
    const before = pg.types.getTypeParser(20);
    const { db } = await withDatabase();
    expect(
      await db.read('select 7::bigint as n, array[1, null]::bigint[] as list, true as yes, null::int as no'),
    ).toEqual([{ n: 7, list: [1, null], yes: true, no: null }]);
    expect(pg.types.getTypeParser(20)).toBe(before);
    expect(await sql('select 7::bigint as n')).toEqual([{ n: '7' }]);
  });

  test.each([true, false])('prepare %s', async (prepare) => {
    const { db } = await withDatabase({ prepare, connections: 1 });
    await db.read('select $1::int + 1 as n', [1]);
    expect(await db.read('select $1::int + 1 as n', [2])).toEqual([{ n: 3 }]);
    const prepared = await db.read(`select name from pg_prepared_statements where name like 'am%'`);
    expect(prepared.length > 0).toBe(prepare);
  });

  test('prepared statements that a pooler lost, or whose plan is out of date, are no failure', async () => {
    const { db, schema } = await withDatabase({ connections: 1 });
    await sql(`create table ${schema}.shape (a int); insert into ${schema}.shape values (1)`);
    expect(await db.read('select * from agentmesh.shape')).toEqual([{ a: 1 }]);
    await sql(`alter table ${schema}.shape add b int default 2`);
    expect(await db.read('select * from agentmesh.shape')).toEqual([{ a: 1, b: 2 }]);
    await db.read('deallocate all');
    expect(await db.write('select * from agentmesh.shape')).toEqual([{ a: 1, b: 2 }]);
  });

  test.each([
    ['40001', 5, 'none'],
    ['40P01', 3, 'none'],
    ['40001', 6, 'BACKEND_UNAVAILABLE'],
  ])('what the server undid with %s %i times ends with %s', async (state, times, code) => {
    const { db, schema } = await withDatabase();
    await sql(`create sequence ${schema}.tries;
      create function ${schema}.flaky() returns bigint language plpgsql as $$ begin
        if nextval('${schema}.tries') <= ${times} then raise exception 'undone' using errcode = '${state}'; end if;
        return currval('${schema}.tries'); end $$`);
    expect((await failure(() => db.write('select agentmesh.flaky()'))).code).toBe(code);
    expect(await sql(`select last_value::int as n from ${schema}.tries`)).toEqual([
      { n: 6 === times ? 6 : times + 1 },
    ]);
  });

  test.each(['25P03', '25P04'])(
    'a connection that the server ends after a time of its own (%s) is replaced',
    async (state) => {
      const { db, schema } = await withDatabase();
      await sql(`create sequence ${schema}.tries;
        create function ${schema}.timed() returns bigint language plpgsql as $$ begin
          if nextval('${schema}.tries') % 2 = 1 then raise exception 'time is over' using errcode = '${state}'; end if;
          return currval('${schema}.tries'); end $$`);
      expect(await db.read('select agentmesh.timed() as n')).toEqual([{ n: 2 }]);
      expect((await failure(() => db.write('select agentmesh.timed()'))).code).toBe('OUTCOME_UNKNOWN');
      await sql(`alter sequence ${schema}.tries increment 2 restart 1`);
      const { error } = await failure(() => db.read('select agentmesh.timed()'));
      expect(error).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
      expect(error).not.toHaveProperty('retryable', false);
    },
  );

  test('two writers that lock crosswise both get through', async () => {
    const { db, schema } = await withDatabase();
    await sql(`create table ${schema}.pair (id int primary key, n int); insert into ${schema}.pair values (1, 0), (2, 0);
      create function ${schema}.cross(a int, b int) returns void language plpgsql as $$ begin
        update ${schema}.pair set n = n + 1 where id = a; perform pg_sleep(0.1);
        update ${schema}.pair set n = n + 1 where id = b; end $$`);
    await Promise.all([db.write('select agentmesh.cross(1, 2)'), db.write('select agentmesh.cross(2, 1)')]);
    expect(await sql(`select n from ${schema}.pair`)).toEqual([{ n: 2 }, { n: 2 }]);
  });

  test('a dropped table or function is a mismatch of the schema', async () => {
    const { db, schema } = await withDatabase();
    const [state, sessions] = [new PostgresStateStore(db), new PostgresSessions(db)];
    await sql(`drop function ${schema}.state_get_v1; drop table ${schema}.sessions cascade`);
    expect((await failure(() => state.get(['a']))).code).toBe('SCHEMA_MISMATCH');
    expect((await failure(() => sessions.list({ limit: 1 }))).code).toBe('SCHEMA_MISMATCH');
    await sql(`drop schema ${schema} cascade`);
    expect((await failure(() => sessions.close(1 as SessionNumber))).code).toBe('SCHEMA_MISMATCH');
  });

  test('a role without rights is told', async () => {
    const { schema } = await withDatabase();
    const role = await scratchRole();
    await sql(`grant usage on schema ${schema} to ${role.name}`);
    const { code, error } = await failure(() => started({ url: role.url, schema }));
    expect(code).toBe('NOT_SUPPORTED');
    expect((error as { hint: string }).hint).toContain('Grant');
    expect(inspect(error, { depth: 9 })).not.toContain(role.password);
  });
});

describe("the caller's transaction", () => {
  test('is joined: what it did is undone with it', async () => {
    const { db, schema } = await withDatabase();
    await sql(`create table ${schema}.note (n bigint)`);
    const client = new pg.Client({ connectionString: inject('postgresUrl') });
    await client.connect();
    try {
      for (const end of ['rollback', 'commit']) {
        await client.query('begin');
        await db.within(client).write('insert into agentmesh.note values ($1)', [7]);
        expect(await db.read('select n from agentmesh.note')).toEqual([]);
        await client.query(end);
      }
      expect(await db.read('select n from agentmesh.note')).toEqual([{ n: 7 }]);
    } finally {
      await client.end();
    }
  });

  test.each([
    ['no transaction', ''],
    ['REPEATABLE READ', 'begin isolation level repeatable read'],
    ['SERIALIZABLE', 'begin isolation level serializable'],
  ])('%s is refused', async (_, begin) => {
    const { db } = await withDatabase();
    const client = new pg.Client({ connectionString: inject('postgresUrl') });
    await client.connect();
    try {
      if (begin !== '') await client.query(begin);
      expect((await failure(() => db.within(client).write('select 1'))).code).toBe('NOT_SUPPORTED');
    } finally {
      await client.end();
    }
  });
});

describe('lost connections', () => {
  test('terminated ones are replaced; a change is answered, or its outcome is unknown and it can be repeated', async () => {
    const name = `app_${scratchSchema()}`;
    const backend = await started({
      config: { connectionString: inject('postgresUrl'), application_name: name },
    });
    const { next, put } = await caller(backend);
    const codes = new Set<string>();
    const keys = Array.from({ length: 60 }, (_, i) => `k/${i}`);
    const writing = Promise.all(
      [0, 1, 2, 3].map(async (lane) => {
        for (const key of keys.filter((_, i) => i % 4 === lane)) {
          const op = next();
          for (;;) {
            const { code } = await failure(() => put(key, op));
            codes.add(code);
            if (code === 'none') break;
            if (code !== 'OUTCOME_UNKNOWN' && code !== 'BACKEND_UNAVAILABLE') throw new Error(code);
          }
          await failure(() => backend.state.get([key])).then(({ code }) => expect(code).toBe('none'));
        }
      }),
    );
    for (let i = 0; i < 5; i++) {
      await sql(`${TERMINATE}'${name}'`);
      await new Promise((resolve) => void setTimeout(resolve, 20));
    }
    await writing;
    const { entries } = await backend.state.get(keys);
    expect(entries.map((entry) => entry?.value)).toEqual(keys);
    expect(codes).toContain('none');
  });

  test('a cut reply leaves the outcome of a change unknown; the same operation then gets its answer', async () => {
    await using proxy = await startFaultProxy({ port: portOf(inject('postgresUrl')) });
    const backend = await started({ url: through(inject('postgresUrl'), proxy.port) });
    const { next, put } = await caller(backend);
    const op = next();
    await backend.state.get(['a']);
    proxy.cutReplies(1);
    expect((await failure(() => put('a', op))).code).toBe('OUTCOME_UNKNOWN');
    expect((await put('a', op)).swapped).toBe(true);
    expect((await put('a', op)).swapped).toBe(true);
    proxy.cutReplies(1);
    expect((await backend.state.get(['a'])).entries[0]?.value).toBe('a');
    expect(proxy.cuts).toBe(2);
  });

  test('a black hole: each call ends after commandTimeoutMs, its connection is closed, and later ones work', async () => {
    await using proxy = await startFaultProxy({ port: portOf(inject('postgresUrl')) });
    const { schema } = await withDatabase();
    const backend = await started({
      schema,
      url: through(inject('postgresUrl'), proxy.port),
      connectTimeoutMs: 700,
      commandTimeoutMs: 700,
      connections: 2,
    });
    const { put } = await caller(backend);
    await Promise.all([backend.state.get(['a']), backend.state.get(['b'])]);
    proxy.be('held');
    const all = await Promise.all([
      failure(() => put('a')),
      failure(() => backend.state.get(['a'])),
      failure(() => put('b')),
      failure(() => backend.check()),
    ]);
    expect(all.slice(0, 3).map(({ code }) => code)).toEqual([
      'OUTCOME_UNKNOWN',
      'BACKEND_UNAVAILABLE',
      'BACKEND_UNAVAILABLE',
    ]);
    for (const { ms } of all) expect(ms).toBeLessThan(3_000);
    proxy.be('forwarding');
    await until(
      'it works again',
      async () => (await failure(() => backend.state.get(['a']))).code === 'none',
    );
    expect((await put('c')).swapped).toBe(true);
  });

  test('no room for another connection (53300): BACKEND_UNAVAILABLE until there is', async () => {
    const role = await scratchRole('connection limit 1');
    const backend = backendOf({ url: role.url, connections: 1 });
    const other = new pg.Client({ connectionString: role.url });
    await other.connect();
    const { code, error } = await failure(() => backend.start(createRuntime()));
    expect(code).toBe('BACKEND_UNAVAILABLE');
    expect((error as Error).message).toContain('too many connections');
    await other.end();
    await until(
      'there is room',
      async () => (await failure(() => backend.start(createRuntime()))).code === 'none',
    );
  });

  test('a server that turned read-only (25006): BACKEND_UNAVAILABLE, never unknown', async () => {
    const role = await scratchRole();
    const backend = await started({ url: role.url, connections: 1 });
    const { put } = await caller(backend);
    const turn = async (to: string): Promise<void> => {
      await sql(`alter role ${role.name} set default_transaction_read_only = ${to}`);
      await sql(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '${role.name}'`);
    };
    await turn('on');
    await until('it is refused', async () => {
      const { code, error } = await failure(() => put('a'));
      return code === 'BACKEND_UNAVAILABLE' && (error as Error).message.includes('25006');
    });
    await turn('off');
    await until('it works again', async () => (await failure(() => put('a'))).code === 'none');
    expect((await backend.state.get(['a'])).entries[0]?.value).toBe('a');
  });
});

describe('a server of its own', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres({ own: true });
  });
  afterAll(async () => {
    await server.stop();
  });

  test('killed and started again: unavailable at once, then everything works on what was there', async () => {
    const backend = await started({ url: server.url, listen: true });
    const heard: Hint[] = [];
    backend.onHint([{ about: 'reconnected' }], (hint) => heard.push(hint));
    const { session, put } = await caller(backend);
    await put('before');
    await server.kill9();
    for (let i = 0; i < 3; i++) {
      const { code, ms } = await failure(() => backend.state.get(['before']));
      expect(code).toBe('BACKEND_UNAVAILABLE');
      expect(ms).toBeLessThan(1_000);
    }
    expect((await failure(() => put('down'))).code).toBe('BACKEND_UNAVAILABLE');
    expect((await backend.check()).healthy).toBe(false);
    await server.restart();
    await until('it works again', async () => (await backend.check()).healthy);
    expect((await backend.state.get(['before'])).entries[0]?.value).toBe('before');
    expect((await backend.sessions.beat(session, EMPTY_REPORT)).status).toBe('alive');
    expect((await put('after')).swapped).toBe(true);
    await until('the hint that anything may have been missed', () => heard.length > 0);
    expect(heard).toEqual([{ about: 'reconnected' }]);
  });

  test('frozen for a while (SIGSTOP): calls end in time, and it goes on', async () => {
    const { schema } = await withDatabase({ url: server.url });
    const backend = await started({ schema, url: server.url, connectTimeoutMs: 700, commandTimeoutMs: 700 });
    const { put } = await caller(backend);
    server.freeze();
    try {
      const [read, write] = await Promise.all([
        failure(() => backend.state.get(['a'])),
        failure(() => put('a')),
      ]);
      expect(['BACKEND_UNAVAILABLE', 'OUTCOME_UNKNOWN']).toContain(write.code);
      expect(read.code).toBe('BACKEND_UNAVAILABLE');
      expect(Math.max(read.ms, write.ms)).toBeLessThan(3_000);
    } finally {
      server.thaw();
    }
    await until('it works again', async () => (await failure(() => put('b'))).code === 'none');
  });
});

/** The way of the stores to the server, for statements of our own. */
async function withDatabase(
  options: Partial<PostgresOptions> = {},
): Promise<{ backend: MeshServer; db: Database; schema: string }> {
  const schema = scratchSchema();
  const settings = postgresSettings({ schema, url: inject('postgresUrl'), listen: false, ...options });
  const backend = new MeshServer(settings, { migrations: MIGRATIONS, writer: WRITER });
  backends.push(backend);
  await backend.start(createRuntime());
  return { backend, db: backend.database, schema };
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}

function through(url: string, port: number): string {
  const other = new URL(url);
  other.port = String(port);
  return other.href;
}
