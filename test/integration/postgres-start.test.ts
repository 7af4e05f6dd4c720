import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import type { DriverQuery, DriverResult, PostgresPool } from '../../src/backends/postgres/driver.ts';
import type { Build } from '../../src/backends/postgres/mesh-server.ts';
import type { PostgresOptions } from '../../src/backends/postgres/options.ts';
import { type PostgresBackend, postgresOfBuild } from '../../src/backends/postgres/postgres.ts';
import { MIGRATIONS, type Migration, WRITER } from '../../src/backends/postgres/schema/migrations.ts';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import { isCoordinationError } from '../../src/core/errors.ts';
import type { BackendReport } from '../../src/core/ports/backend.ts';
import { createClock } from '../../src/core/runtime/clock.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { CoordinationManager } from '../../src/index.ts';
import { begin, comesTo } from '../support/postgres-races.ts';
import { scratchRole, scratchSchema, sql } from '../support/postgres-scratch.ts';
import { type PostgresServer, startPostgres } from '../support/servers/postgres-server.ts';

const backends: PostgresBackend[] = [];

afterEach(async () => {
  for (const backend of backends.splice(0)) await backend.stop();
});

const OWN: Build = { migrations: MIGRATIONS, writer: WRITER };

function backendOf(options: Partial<PostgresOptions> = {}, build: Build = OWN): PostgresBackend {
  const source = options.pool === undefined ? { url: inject('postgresUrl') } : {};
  const settings = { ...source, schema: scratchSchema(), listen: false, ...options };
  const backend = postgresOfBuild(settings, build);
  backends.push(backend);
  return backend;
}

async function start(options: Partial<PostgresOptions> = {}, build: Build = OWN): Promise<BackendReport> {
  return backendOf(options, build).start(createRuntime());
}

/** A pool of a server that says of itself what is given. */
function agedPool(pool: pg.Pool, facts: object): PostgresPool {
  const aged = async (query: DriverQuery, answer: Promise<DriverResult>): Promise<DriverResult> => {
    const { rows } = await answer;
    return {
      rows: query.text.includes('server_version_num') ? [{ ...(rows[0] as object), ...facts }] : rows,
    };
  };
  return {
    query: (query) => pool.query(query as pg.QueryConfig),
    connect: async () => {
      const client = await pool.connect();
      return {
        query: (query) => aged(query, client.query(query as pg.QueryConfig)),
        release: (destroy) => client.release(destroy),
      };
    },
  };
}

async function failure(call: () => Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await call();
  } catch (error) {
    if (isCoordinationError(error)) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: 'none', message: '' };
}

const codes = ({ problems }: BackendReport): string[] =>
  problems.map(({ code, severity }) => `${severity} ${code}`);

describe('what start finds', () => {
  test('a server for tests: time, version, schema, and that it may lose something', async () => {
    const report = await start();
    expect(Math.abs(report.at / 1_000 - Date.now())).toBeLessThan(5_000);
    expect(report.server).toMatch(/^PostgreSQL 1\d/);
    expect(report.schema).toEqual({ version: 1, oldestWriter: 1 });
  });

  describe('with a server of its own', () => {
    let server: PostgresServer;
    beforeAll(async () => {
      server = await startPostgres({ own: true, durable: true });
    });
    afterAll(async () => {
      await server.stop();
    });

    test.each([
      ['durable', '', [], 'server-crash'],
      ['not waiting for the disk', 'synchronous_commit = off', ['warn SYNCHRONOUS_COMMIT_OFF'], 'seconds'],
      [
        'of another isolation',
        `default_transaction_isolation = 'repeatable read'`,
        ['refuse DEFAULT_ISOLATION'],
        'server-crash',
      ],
      ['read-only', 'default_transaction_read_only = on', ['refuse REPLICA'], 'server-crash'],
    ] as const)('a role that is %s', async (_, setting, problems, durability) => {
      const role = await scratchRole('', server.url);
      if (setting !== '') await sql(`alter role ${role.name} set ${setting}`, server.url);
      const report = await start({ url: role.url });
      expect(codes(report)).toEqual(problems);
      expect(report.durability).toBe(durability);
    });

    test('a replica is refused by the manager, and nothing is written to it', async () => {
      const [place] = await sql<{ data: string }>(
        `select current_setting('data_directory') as data`,
        server.url,
      );
      for (const backend of backends.splice(0)) await backend.stop();
      await server.kill9();
      writeFileSync(join(place?.data ?? '', 'standby.signal'), '');
      await server.restart();
      const report = await start({ url: server.url });
      expect(codes(report)).toEqual(['refuse REPLICA']);
      expect(report.schema.version).toBe(0);
      const mesh = new CoordinationManager({ backend: backendOf({ url: server.url }) });
      expect(await failure(() => mesh.initialize())).toEqual({
        code: 'BACKEND_UNAVAILABLE',
        message: expect.stringContaining('The server is a replica') as string,
      });
      await mesh.shutdown();
    });
  });

  test('fsync = off', async () => {
    const server = await startPostgres({ own: true });
    try {
      const report = await start({ url: server.url });
      expect(codes(report)).toEqual(['warn FSYNC_OFF']);
      expect(report.durability).toBe('seconds');
    } finally {
      for (const backend of backends.splice(0)) await backend.stop();
      await server.stop();
    }
  });

  test.each(['SQL_ASCII', 'LATIN1'])('a database in another encoding: %s', async (encoding) => {
    const name = scratchSchema();
    await sql(
      `create database ${name} encoding '${encoding}' template template0 lc_collate 'C' lc_ctype 'C'`,
    );
    const url = new URL(inject('postgresUrl'));
    url.pathname = `/${name}`;
    const report = await start({ url: url.href });
    expect(codes(report)).toContain('refuse ENCODING');
    expect(report.schema.version).toBe(0);
    const mesh = new CoordinationManager({ backend: backendOf({ url: url.href }) });
    const refused = {
      message: expect.stringContaining(`The database is encoded in ${encoding}, not UTF8`) as string,
      hint: expect.stringContaining("Create it with ENCODING 'UTF8'.") as string,
    };
    await expect(mesh.initialize()).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE', ...refused });
    await mesh.shutdown();
    await expect(backendOf({ url: url.href }).migrate()).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
      retryable: false,
      ...refused,
    });
    for (const backend of backends.splice(0)) await backend.stop();
    await sql(`drop database ${name} with (force)`);
  });

  test('a database in another encoding that is allowed all the same gets its schema', async () => {
    const name = scratchSchema();
    await sql(`create database ${name} encoding 'SQL_ASCII' template template0 lc_collate 'C' lc_ctype 'C'`);
    const url = new URL(inject('postgresUrl'));
    url.pathname = `/${name}`;
    const backend = backendOf({ url: url.href });
    const mesh = new CoordinationManager({ backend, allow: ['ENCODING'] });
    const report = await mesh.initialize();
    expect(codes(report)).toContain('refuse ENCODING');
    expect(report.schema).toEqual({ version: 1, oldestWriter: 1 });
    mesh.registerAgent({ id: 'a', handler: ({ task }) => task.input });
    expect(await mesh.runTask({ type: 't', input: 'plain' })).toBe('plain');
    await mesh.shutdown();
    const other = backendOf({ url: url.href, schema: scratchSchema(), migrate: 'check' });
    expect(await other.migrate({ allow: ['ENCODING'] })).toMatchObject({ applied: [1] });
    await sql(`drop database ${name} with (force)`);
  });

  test('a server that is too old is refused, and gets no schema', async () => {
    const pool = new pg.Pool({ connectionString: inject('postgresUrl'), max: 2 });
    const old = agedPool(pool, { version: '12.20', number: 120_020 });
    const schema = scratchSchema();
    const report = await backendOf({ pool: old, schema }).start(createRuntime());
    expect(codes(report)).toContain('refuse SERVER_TOO_OLD');
    expect(report.schema.version).toBe(0);
    const mesh = new CoordinationManager({ backend: backendOf({ pool: old, schema }) });
    const refused = {
      message: expect.stringContaining('PostgreSQL 12.20 is older than 13') as string,
      hint: expect.stringContaining('Upgrade the server') as string,
    };
    await expect(mesh.initialize()).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE', ...refused });
    await mesh.shutdown();
    await expect(backendOf({ pool: old, schema }).migrate()).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
      retryable: false,
      ...refused,
    });
    expect(await sql(`select to_regnamespace('${schema}')::text as name`)).toEqual([{ name: null }]);
    for (const backend of backends.splice(0)) await backend.stop();
    await pool.end();
  });

  test('a clock that is off', async () => {
    const clock = createClock();
    const off = { ...clock, wall: () => clock.wall() + 60_000 };
    const report = await backendOf().start(createRuntime({ clock: off }));
    const found = report.problems.find(({ code }) => code === 'CLOCK_SKEW');
    expect(found).toMatchObject({ severity: 'warn', message: expect.stringContaining('60 s') as string });
  });

  test('a role that may create no schema uses one that was made for it', async () => {
    const role = await scratchRole();
    const schema = scratchSchema();
    const database = new URL(role.url).pathname.slice(1);
    await sql(`revoke create on database "${database}" from ${role.name}`);
    expect((await failure(() => start({ url: role.url, schema }))).code).toBe('NOT_SUPPORTED');
    await sql(`create schema ${schema} authorization ${role.name}`);
    expect((await start({ url: role.url, schema })).schema.version).toBe(1);
  });

  test('a role that may not make the tables is told who may', async () => {
    const role = await scratchRole();
    const schema = scratchSchema();
    await sql(`create schema ${schema}; grant usage on schema ${schema} to ${role.name}`);
    await expect(start({ url: role.url, schema })).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
      message: expect.stringContaining(`permission denied for schema ${schema}`) as string,
      hint: expect.stringMatching(/`migrate\(\)`.*owns/) as string,
      retryable: false,
    });
  });

  test('a schema that holds a table of somebody else under one of our names', async () => {
    const schema = scratchSchema();
    await sql(`create schema ${schema}; create table ${schema}.tasks (n int)`);
    await expect(start({ schema })).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
      message: expect.stringContaining('relation "tasks" already exists') as string,
      hint: expect.stringMatching(/another `schema`/) as string,
    });
    expect(await sql(`select n from ${schema}.tasks`)).toEqual([]);
  });
});

test('a role with rights on tables and functions alone works with a schema that another one owns', async () => {
  const schema = scratchSchema();
  await backendOf({ schema }).migrate();
  const role = await scratchRole();
  await sql(`grant usage on schema ${schema} to ${role.name};
    grant select, insert, update, delete on all tables in schema ${schema} to ${role.name};
    grant usage on all sequences in schema ${schema} to ${role.name}`);
  const backend = backendOf({ url: role.url, schema, migrate: 'check', listen: true });
  await backend.start(createRuntime());
  const { session } = await backend.sessions.open({
    boot: 'b',
    leaseMs: 60_000,
    writer: WRITER,
    report: EMPTY_REPORT,
  });
  const op = { session, sequence: 1 };
  const swap = { key: 'a/1', expected: 0, value: 1, session: true } as const;
  expect((await backend.state.compareAndSet(op, [swap])).swapped).toBe(true);
  expect((await backend.sessions.beat(session, EMPTY_REPORT)).status).toBe('alive');
  await backend.sessions.close(session);
  expect((await backend.state.get(['a/1'])).entries).toEqual([undefined]);
  expect((await failure(() => backend.migrate())).code).toBe('none');
});

describe('health of a process whose schema', () => {
  async function started(): Promise<{ mesh: CoordinationManager; schema: string }> {
    const schema = scratchSchema();
    const mesh = new CoordinationManager({ backend: backendOf({ schema }), session: { thread: 'main' } });
    await mesh.initialize();
    expect(await mesh.getHealthStatus()).toMatchObject({ healthy: true });
    return { mesh, schema };
  }

  test('was dropped says so', async () => {
    const { mesh, schema } = await started();
    await sql(`drop schema ${schema} cascade`);
    const health = await mesh.getHealthStatus();
    expect(health.components['backend']).toEqual({
      healthy: false,
      error: `SCHEMA_MISMATCH: PostgreSQL: relation "${schema}.meta" does not exist (42P01)`,
    });
    await mesh.shutdown();
  });

  test('asks for newer builds says so', async () => {
    const { mesh, schema } = await started();
    await sql(`update ${schema}.meta set version = 3, oldest_writer = 2`);
    const health = await mesh.getHealthStatus();
    expect(health.components['backend']).toEqual({
      healthy: false,
      error: `SCHEMA_MISMATCH: The schema ${schema} asks for writers of level 2, this build is of level 1`,
    });
    await mesh.shutdown();
  });
});

describe('migrations', () => {
  const two: Migration = { version: 2, kind: 'expand', sql: 'create table agentmesh.later (n int);' };
  const three: Migration = {
    version: 3,
    kind: 'contract',
    oldestWriter: 2,
    sql: 'alter table agentmesh.later add m int;',
  };
  const V2: Build = { migrations: [...MIGRATIONS, two], writer: 2 };
  const V3: Build = { migrations: [...MIGRATIONS, two, three], writer: 2 };
  const V4: Build = {
    migrations: [
      ...V3.migrations,
      { version: 4, kind: 'expand', sql: 'create table agentmesh.last (n int);' },
    ],
    writer: 3,
  };

  const open = (backend: PostgresBackend, writer: number, boot = `w${writer}`) =>
    backend.sessions.open({ boot, leaseMs: 60_000, writer, report: EMPTY_REPORT });

  test('eight that start at once on nothing make one schema', async () => {
    const schema = scratchSchema();
    const reports = await Promise.all(Array.from({ length: 8 }, () => start({ schema, connections: 1 })));
    expect(reports.map((report) => report.schema.version)).toEqual(Array(8).fill(1));
    expect(await sql(`select version from ${schema}.meta`)).toEqual([{ version: 1 }]);
  });

  test("with 'check' nothing is created; migrate() does it, and says what it did", async () => {
    const schema = scratchSchema();
    const backend = backendOf({ schema, migrate: 'check' });
    expect(await failure(() => backend.start(createRuntime()))).toEqual({
      code: 'SCHEMA_MISMATCH',
      message: `The schema ${schema} is at version 0, this build needs version 1`,
    });
    expect(await sql(`select to_regnamespace('${schema}')::text as name`)).toEqual([{ name: null }]);
    expect(await backend.migrate()).toEqual({ version: 1, oldestWriter: 1, applied: [1] });
    expect(await backend.migrate()).toEqual({ version: 1, oldestWriter: 1, applied: [] });
    expect((await backend.start(createRuntime())).schema).toEqual({ version: 1, oldestWriter: 1 });
  });

  test('a step that fails leaves everything as it was', async () => {
    const schema = scratchSchema();
    await start({ schema });
    const broken: Migration = {
      version: 2,
      kind: 'expand',
      sql: 'create table agentmesh.half (n int); select 1/0;',
    };
    const build = { migrations: [...MIGRATIONS, broken], writer: 2 };
    expect((await failure(() => start({ schema }, build))).message).toContain('division by zero');
    expect(
      await sql(`select version, to_regclass('${schema}.half')::text as half from ${schema}.meta`),
    ).toEqual([{ version: 1, half: null }]);
  });

  test('expand: older builds go on and may start again beside it; migrate() of an older one refuses', async () => {
    const schema = scratchSchema();
    const old = backendOf({ schema });
    await old.start(createRuntime());
    expect((await start({ schema }, V2)).schema).toEqual({ version: 2, oldestWriter: 1 });
    await open(old, 1);
    const again = backendOf({ schema });
    expect(codes(await again.start(createRuntime()))).toContain('warn SCHEMA_NEWER');
    expect(await failure(() => again.migrate())).toEqual({
      code: 'SCHEMA_MISMATCH',
      message: 'The schema is at version 2, this build knows versions up to 1',
    });
  });

  test('contract: waits while an older build lives, tells it to leave, then refuses its like', async () => {
    const schema = scratchSchema();
    const old = backendOf({ schema });
    await old.start(createRuntime());
    const { session } = await open(old, 1);
    const beat = async () => {
      const answer = await old.sessions.beat(session, EMPTY_REPORT);
      return answer.status === 'alive' ? answer.orders : answer.status;
    };

    const next = backendOf({ schema }, V3);
    const report = await next.start(createRuntime());
    expect(report.schema).toEqual({ version: 2, oldestWriter: 1 });
    expect(codes(report)).toContain('warn CONTRACT_PENDING');
    expect(await beat()).toEqual([]);

    expect(await failure(() => next.migrate())).toEqual({
      code: 'SCHEMA_MISMATCH',
      message: 'Version 3 of the schema has to wait: 1 live sessions are of older builds',
    });
    expect(await beat()).toEqual([{ kind: 'upgrade', oldestWriter: 2 }]);
    expect((await failure(() => open(old, 1, 'another'))).code).toBe('SCHEMA_MISMATCH');
    expect((await failure(() => start({ schema }, V4))).message).toContain(
      'is at version 2, this build needs version 4',
    );

    await old.sessions.close(session);
    expect(await next.migrate()).toEqual({ version: 3, oldestWriter: 2, applied: [3] });
    await open(next, 2);
    expect(await failure(() => start({ schema }))).toEqual({
      code: 'SCHEMA_MISMATCH',
      message: 'The schema is at version 3, this build knows versions up to 1',
    });
    expect((await start({ schema }, V4)).schema).toEqual({ version: 4, oldestWriter: 2 });
  });

  test.each(['announces it', 'does not'])(
    'contract: nobody opens a session of an older build between the look and the step of one that %s',
    async (how) => {
      const schema = scratchSchema();
      const url = new URL(inject('postgresUrl'));
      url.searchParams.set('application_name', `${schema} old`);
      const old = backendOf({ url: url.href, schema });
      await old.start(createRuntime());
      await start({ schema }, { migrations: [...MIGRATIONS, two], writer: 2 });
      const last = await begin(schema);
      await last('lock table agentmesh.later');
      const next = backendOf({ schema }, V3);
      const migrating = how === 'announces it' ? next.migrate() : next.start(createRuntime());
      // The step is under way: its table is locked.
      await expect
        .poll(() => sql(`select from pg_locks where not granted and relation = '${schema}.later'::regclass`))
        .toHaveLength(1);
      const opening = failure(() => open(old, 1));
      await comesTo(opening, schema, 'old');
      await last('commit');
      await migrating;
      expect((await opening).code).toBe('SCHEMA_MISMATCH');
    },
  );
});
