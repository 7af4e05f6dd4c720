import pg from 'pg';
import { afterEach, expect, inject } from 'vitest';
import { postgres } from '../../src/backends/postgres/postgres.ts';
import type { DriverQuery, PooledClient } from '../../src/backends/postgres/driver.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { LONG_MS, open, Peer } from './postgres-peers.ts';
import { sql } from './postgres-scratch.ts';

/**
 * Races without chance: one side stays in a transaction that the test ends, the other one is seen to wait for it, or to be answered
 * although it should have waited.
 */

const clients: pg.Client[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) await client.end();
});

async function connect(name: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: inject('postgresUrl'), application_name: name });
  clients.push(client);
  await client.connect();
  return client;
}

/** A transaction that is driven by hand. It is the first to notice that it waits in a circle. */
export async function begin(
  schema: string,
): Promise<((text: string) => Promise<pg.QueryResult>) & { readonly client: pg.Client }> {
  const client = await connect(`${schema} by hand`);
  await client.query(`begin; set local search_path = ${schema}; set local deadlock_timeout = '20ms'`);
  const send = (text: string) => client.query(text.replaceAll('agentmesh.', `${schema}.`));
  return Object.assign(send, { client });
}

/** One connection that all calls of a process go to. */
class OneConnection {
  readonly #client: pg.Client;
  #isOpen = false;
  /** Statements that the server undid. */
  undone = 0;

  constructor(client: pg.Client) {
    this.#client = client;
  }

  /** A statement that the server undid can be sent again, as if it had a transaction of its own. */
  async query(query: DriverQuery): Promise<pg.QueryResult> {
    if (!this.#isOpen) return this.#client.query(query as pg.QueryConfig);
    await this.#client.query('savepoint call');
    try {
      return await this.#client.query(query as pg.QueryConfig);
    } catch (error) {
      this.undone += 1;
      await this.#client.query('rollback to savepoint call');
      throw error;
    }
  }

  connect(): Promise<PooledClient> {
    return Promise.resolve({ query: (query) => this.query(query), release: () => undefined });
  }

  async send(text: string): Promise<void> {
    if (['begin', 'commit', 'rollback'].includes(text)) this.#isOpen = text === 'begin';
    await this.#client.query(text);
  }
}

/** A process whose calls are answered, but not committed before the test says so. */
export class OpenPeer extends Peer {
  readonly #connection: OneConnection;
  readonly #schema: string;

  private constructor(
    connection: OneConnection,
    schema: string,
    ...rest: ConstructorParameters<typeof Peer>
  ) {
    super(...rest);
    this.#connection = connection;
    this.#schema = schema;
  }

  static async boot(schema: string, name: string): Promise<OpenPeer> {
    const connection = new OneConnection(await connect(`${schema} ${name}`));
    const backend = postgres({ pool: connection, schema, listen: false });
    open.push(backend);
    await backend.start(createRuntime());
    const opened = await backend.sessions.open({ boot: name, leaseMs: LONG_MS, writer: 1, report: REPORT });
    return new OpenPeer(connection, schema, backend, name, opened.session);
  }

  /** It is the first to notice that it waits in a circle. */
  async begin(): Promise<void> {
    await this.send('begin');
    await this.send(`set local deadlock_timeout = '20ms'`);
  }

  /** Statements that the server undid, though they were sent again. */
  get undone(): number {
    return this.#connection.undone;
  }

  commit(): Promise<void> {
    return this.#connection.send('commit');
  }

  /** Beside its calls, in the same transaction. */
  send(text: string): Promise<void> {
    return this.#connection.send(text.replaceAll('agentmesh.', `${this.#schema}.`));
  }

  /** What was answered is undone, as by a server that lost its last moments. */
  lose(): Promise<void> {
    return this.#connection.send('rollback');
  }
}

async function waits(schema: string, name: string): Promise<boolean> {
  const rows = await sql(`select from pg_stat_activity
    where application_name = '${schema} ${name}' and cardinality(pg_blocking_pids(pid)) > 0`);
  return rows.length > 0;
}

/** Until a process waits for a lock. */
export async function isBlocked(schema: string, name: string): Promise<void> {
  await expect.poll(() => waits(schema, name), { timeout: 10_000, interval: 5 }).toBe(true);
}

/** What becomes of a call of a process: it is answered, or it waits for a lock. */
export async function comesTo(
  call: PromiseLike<unknown>,
  schema: string,
  name: string,
): Promise<'answered' | 'waits'> {
  let answered = false;
  const done = (): void => void (answered = true);
  call.then(done, done);
  let isWaiting = false;
  await expect
    .poll(async () => answered || (isWaiting = await waits(schema, name)), { timeout: 10_000, interval: 5 })
    .toBe(true);
  return isWaiting ? 'waits' : 'answered';
}

/** From now on the clock of a mesh stands still, but for what the test lets pass. */
export async function stopClock(schema: string): Promise<(ms: number) => Promise<void>> {
  await sql(`create table ${schema}.test_clock as select ${schema}.now_us() as us;
    create or replace function ${schema}.now_us() returns bigint language sql volatile parallel safe as
      $$ select us from ${schema}.test_clock $$`);
  return async (ms) => {
    await sql(`update ${schema}.test_clock set us = us + ${ms * 1_000}`);
  };
}

/**
 * Makes a process wait in front of a statement of a function, where no lock would let the test hold it: until the transaction that it answers
 * is ended.
 */
export async function gateBefore(
  schema: string,
  name: string,
  functionName: string,
  statement: string,
): Promise<Awaited<ReturnType<typeof begin>>> {
  const [row] = await sql<{ text: string }>(
    `select pg_get_functiondef('${schema}.${functionName}'::regproc) as text`,
  );
  const lock = `pg_advisory_xact_lock(hashtextextended('${schema} gate', 0))`;
  const [before, after, ...more] = (row?.text ?? '').split(statement);
  expect([after === undefined, more.length]).toEqual([false, 0]);
  await sql(`${before}
    if current_setting('application_name') = '${schema} ${name}' then perform ${lock}; end if;
    ${statement}${after}`);
  const shut = await begin(schema);
  await shut(`select ${lock}`);
  return shut;
}
