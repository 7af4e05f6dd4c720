import { Redis } from 'ioredis';
import pg from 'pg';
import type { TaskContext } from '../../src/index.ts';
import { isCoordinationError } from '../../src/index.ts';
import { once } from '../../src/backends/redis/index.ts';
import type { World } from './world.ts';

/** An effect of a task, as it stands in the ledger. */
export interface LedgerRow {
  readonly task: string;
  readonly token: number;
  readonly worker: number;
}

/**
 * The effects of tasks: a table, or a list in Redis, to which rows are only added. Nothing in it is unique, so that what happens twice is seen
 * twice.
 */
export interface Ledger {
  prepare(): Promise<void>;
  /** Does the effect of a task exactly once, whoever else tries. False: another attempt has the task, or has done it. */
  effect(context: TaskContext, worker: number): Promise<boolean>;
  /** The same without looking: what any program does that trusts its lease. */
  blindEffect(context: TaskContext, worker: number): Promise<void>;
  rows(): Promise<readonly LedgerRow[]>;
  /** Effects that were refused because another attempt had the task. */
  refused(): Promise<number>;
  /** Takes away what the run has left on the server: the ledger, and in PostgreSQL the schema of the mesh. */
  drop(): Promise<void>;
  close(): Promise<void>;
}

export function openLedger(world: World): Ledger {
  return world.backend === 'postgres' ? new TableLedger(world) : new ListLedger(world);
}

/** Effect and completion in one transaction: both happen, or neither. */
class TableLedger implements Ledger {
  readonly #pool: pg.Pool;
  readonly #name: string;
  readonly #schema: string;

  constructor({ url, name }: World) {
    this.#pool = new pg.Pool({ connectionString: url, max: 6 });
    // A worker may lose its connections, at work or idle; the next effect gets another one.
    this.#pool.on('connect', (client) => void client.on('error', () => undefined));
    this.#pool.on('error', () => undefined);
    this.#name = `${name}_ledger`;
    this.#schema = name;
  }

  async prepare(): Promise<void> {
    await this.#pool.query(`create table ${this.#name} (task text, token bigint, worker int)`);
    await this.#pool.query(`create table ${this.#name}_refused (task text, token bigint, worker int)`);
  }

  async effect(context: TaskContext, worker: number): Promise<boolean> {
    const { task, token } = context;
    const client = await this.#pool.connect();
    try {
      await client.query('begin');
      await client.query(`insert into ${this.#name} values ($1, $2, $3)`, [task.id, token, worker]);
      await context.completeWithin(client, { worker });
      await client.query('commit');
      return true;
    } catch (error) {
      await client.query('rollback');
      if (!isCoordinationError(error, 'STALE_CLAIM')) throw error;
      await client.query(`insert into ${this.#name}_refused values ($1, $2, $3)`, [task.id, token, worker]);
      return false;
    } finally {
      client.release();
    }
  }

  async blindEffect({ task, token }: TaskContext, worker: number): Promise<void> {
    await this.#pool.query(`insert into ${this.#name} values ($1, $2, $3)`, [task.id, token, worker]);
  }

  async rows(): Promise<readonly LedgerRow[]> {
    const { rows } = await this.#pool.query<{ task: string; token: string; worker: number }>(
      `select task, token, worker from ${this.#name}`,
    );
    return rows.map(({ task, token, worker }) => ({ task, token: Number(token), worker }));
  }

  async refused(): Promise<number> {
    const { rows } = await this.#pool.query<{ n: number }>(
      `select count(*)::int as n from ${this.#name}_refused`,
    );
    return rows[0]?.n ?? 0;
  }

  async drop(): Promise<void> {
    await this.#pool.query(`drop table if exists ${this.#name}, ${this.#name}_refused`);
    await this.#pool.query(`drop schema if exists ${this.#schema} cascade`);
  }

  close(): Promise<void> {
    return this.#pool.end();
  }
}

/** The effect is guarded by the task's fence: it is refused with an older token, and done once over all tokens. */
class ListLedger implements Ledger {
  readonly #client: Redis;
  readonly #mesh: string;
  readonly #key: string;

  constructor({ url, name }: World) {
    this.#client = new Redis(url, { maxRetriesPerRequest: 3 });
    this.#client.on('error', () => undefined);
    this.#mesh = name;
    this.#key = `ledger:{${name}}`;
  }

  async prepare(): Promise<void> {}

  async effect({ task, token }: TaskContext, worker: number): Promise<boolean> {
    const row = JSON.stringify({ task: task.id, token, worker });
    const fence = { resource: `effect of ${task.id}`, token };
    try {
      await once(this.#client, fence, [['RPUSH', this.#key, row]], { mesh: this.#mesh });
      return true;
    } catch (error) {
      if (!isCoordinationError(error, 'STALE_FENCE')) throw error;
      await this.#client.rpush(`${this.#key}:refused`, row);
      return false;
    }
  }

  async blindEffect({ task, token }: TaskContext, worker: number): Promise<void> {
    await this.#client.rpush(this.#key, JSON.stringify({ task: task.id, token, worker }));
  }

  async rows(): Promise<readonly LedgerRow[]> {
    const rows = await this.#client.lrange(this.#key, 0, -1);
    return rows.map((row) => JSON.parse(row) as LedgerRow);
  }

  refused(): Promise<number> {
    return this.#client.llen(`${this.#key}:refused`);
  }

  async drop(): Promise<void> {
    await this.#client.del(this.#key, `${this.#key}:refused`);
  }

  async close(): Promise<void> {
    this.#client.disconnect();
  }
}
