import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { postgres, type PostgresBackend } from '../../src/backends/postgres/postgres.ts';
import type { Backend, Capabilities } from '../../src/core/ports/backend.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';

/** What the PostgreSQL backend must say of itself. */
export const POSTGRES: Capabilities = {
  roundTrip: 'network',
  encoding: 'json',
  maxBatch: 1_000,
  ordered: false,
  maxInFlight: 16,
  transactions: true,
  shared: true,
  redelivery: 'item',
};

/** A schema that tests use one after another. */
interface Mesh {
  readonly schema: string;
  readonly pool: pg.Pool;
  readonly backend: PostgresBackend;
}

const idle: Mesh[] = [];
const runtime = createRuntime({ random: createRandom('postgres suite') });

/**
 * A PostgreSQL backend for one test of a suite, as it is or through a wrapper: a schema of its own, emptied after each test, whose clock
 * stands still unless the test moves it.
 */
export async function postgresEnvironment(
  wrap: (backend: Backend, schema: string) => Backend = (b) => b,
): Promise<SuiteEnvironment> {
  const mesh = idle.pop() ?? (await newMesh());
  const { schema, pool } = mesh;
  const backend = wrap(mesh.backend, schema);
  await backend.start(runtime);
  return {
    backend,
    runtime,
    pass: async (ms) => {
      await pool.query(`update ${schema}.test_clock set us = us + $1`, [Math.round(ms * 1_000)]);
    },
    stop: async () => {
      await backend.stop();
      await empty(mesh);
      idle.push(mesh);
    },
  };
}

async function newMesh(): Promise<Mesh> {
  const schema = `t_${randomBytes(6).toString('hex')}`;
  const pool = new pg.Pool({ connectionString: inject('postgresUrl'), max: 6, allowExitOnIdle: true });
  pool.on('error', () => undefined);
  // The pool outlives the tests: connecting anew for each would cost more than the tests themselves.
  const backend = postgres({
    pool,
    schema,
    listen: false,
    connectTimeoutMs: 30_000,
    commandTimeoutMs: 30_000,
  });
  await backend.migrate();
  await pool.query(`
    create table ${schema}.test_clock (us bigint not null);
    insert into ${schema}.test_clock values (${Date.now()}000);
    create or replace function ${schema}.now_us() returns bigint language sql volatile parallel safe as
      $$ select us from ${schema}.test_clock $$;
    ${await resetFunction(pool, schema)}`);
  return { schema, pool, backend };
}

const KEPT = ['meta', 'test_clock'];

/**
 * A function that deletes what a test wrote and puts the rows that a new schema begins with back: DELETE takes a few ms, TRUNCATE a
 * hundred.
 */
async function resetFunction(pool: pg.Pool, schema: string): Promise<string> {
  const { rows } = await pool.query<{ name: string }>(
    `select c.relname as name from pg_class c where c.relnamespace = '${schema}'::regnamespace
     and c.relkind in ('r', 'p') and not c.relispartition order by c.oid`,
  );
  const tables = rows.map(({ name }) => name).filter((name) => !KEPT.includes(name));
  const steps = tables.map((name) => `delete from ${schema}."${name}"`).toReversed();
  const copies: string[] = [];
  for (const name of tables) {
    const { rowCount } = await pool.query(`select from ${schema}."${name}" limit 1`);
    if (rowCount === 0) continue;
    copies.push(`create table ${schema}."first_${name}" as table ${schema}."${name}";`);
    steps.push(`insert into ${schema}."${name}" overriding system value table ${schema}."first_${name}"`);
  }
  return `${copies.join('\n')}
    create function ${schema}.test_reset() returns void language plpgsql as $$ begin ${steps.join('; ')}; end $$;`;
}

async function empty({ schema, pool }: Mesh): Promise<void> {
  await pool.query(`select ${schema}.test_reset()`);
}
