import { Redis } from 'ioredis';
import pg from 'pg';
import { fenced as fencedInPostgres } from '../../src/backends/postgres/fenced.ts';
import { fenced as fencedInRedis } from '../../src/backends/redis/fenced.ts';
import type { TaskContext } from '../../src/index.ts';
import type { Effect, GuardedWrite } from './checks/evidence.ts';
import type { World } from './world.ts';

/** What the chaos processes write beside the mesh. Rows are only added, nothing in it is unique, and only they write there. */
export interface Ledger {
  prepare(): Promise<void>;
  /** Does the effect of a task, guarded by its token; with transactions, together with its completion. */
  effect(context: TaskContext, p: string): Promise<void>;
  /** Writes under a lock's token. @throws STALE_FENCE when a newer one was seen */
  write(resource: string, token: number, p: string): Promise<void>;
  /** Adds a row in a transaction with what `submit` does. Without transactions: absent. */
  order?(task: string, rollBack: boolean, submit: (client: unknown) => Promise<unknown>): Promise<void>;
  effects(): Promise<Effect[]>;
  writes(): Promise<GuardedWrite[]>;
  orders(): Promise<ReadonlySet<string> | undefined>;
  close(): Promise<void>;
}

export function openLedger(world: World): Ledger {
  return world.backend === 'postgres' ? new Tables(world) : new Lists(world);
}

class Tables implements Ledger {
  readonly #pool: pg.Pool;
  readonly #name: string;

  constructor({ direct, name }: World) {
    this.#pool = new pg.Pool({ connectionString: direct, max: 6, connectionTimeoutMillis: 3_000 });
    // The server is killed now and then; the next statement gets another connection.
    this.#pool.on('error', () => undefined);
    this.#name = name;
  }

  async prepare(): Promise<void> {
    const row = 'seq bigserial, token bigint, p text';
    await this.#pool.query(`create table ${this.#name}_effects (task text, ${row})`);
    await this.#pool.query(`create table ${this.#name}_writes (resource text, ${row})`);
    await this.#pool.query(`create table ${this.#name}_orders (task text)`);
  }

  effect(context: TaskContext, p: string): Promise<void> {
    return this.#transaction(async (client) => {
      await client.query(`insert into ${this.#name}_effects (task, token, p) values ($1, $2, $3)`, [
        context.task.id,
        context.token,
        p,
      ]);
      await context.completeWithin(client, { by: p });
      return true;
    });
  }

  write(resource: string, token: number, p: string): Promise<void> {
    return this.#transaction(async (client) => {
      const insert = `insert into ${this.#name}_writes (resource, token, p) values ($1, $2, $3)`;
      const work = (): Promise<unknown> => client.query(insert, [resource, token, p]);
      await fencedInPostgres(client, { resource, token }, work, { schema: this.#name });
      return true;
    });
  }

  order(task: string, rollBack: boolean, submit: (client: unknown) => Promise<unknown>): Promise<void> {
    return this.#transaction(async (client) => {
      await client.query(`insert into ${this.#name}_orders values ($1)`, [task]);
      await submit(client);
      return !rollBack;
    });
  }

  async effects(): Promise<Effect[]> {
    const { rows } = await this.#pool.query<{ task: string; token: string; p: string }>(
      `select task, token, p from ${this.#name}_effects order by seq`,
    );
    return rows.map(({ task, token, p }) => ({ task, token: Number(token), p }));
  }

  async writes(): Promise<GuardedWrite[]> {
    const { rows } = await this.#pool.query<{ resource: string; token: string; p: string }>(
      `select resource, token, p from ${this.#name}_writes order by seq`,
    );
    return rows.map(({ resource, token, p }) => ({ resource, token: Number(token), p }));
  }

  async orders(): Promise<ReadonlySet<string>> {
    const { rows } = await this.#pool.query<{ task: string }>(`select task from ${this.#name}_orders`);
    return new Set(rows.map(({ task }) => task));
  }

  close(): Promise<void> {
    return this.#pool.end();
  }

  async #transaction(work: (client: pg.PoolClient) => Promise<boolean>): Promise<void> {
    const client = await this.#pool.connect();
    let isBroken = true;
    const broke = (): void => undefined;
    client.on('error', broke);
    try {
      await client.query('begin');
      const commits = await work(client);
      await client.query(commits ? 'commit' : 'rollback');
      isBroken = false;
    } finally {
      client.off('error', broke);
      // Closing it rolls back.
      client.release(isBroken);
    }
  }
}

class Lists implements Ledger {
  readonly #client: Redis;
  readonly #mesh: string;
  readonly #key: string;

  constructor({ direct, name }: World) {
    // Never sent again by the client: a write whose answer was lost stays one write.
    this.#client = new Redis(direct, {
      maxRetriesPerRequest: 2,
      autoResendUnfulfilledCommands: false,
      commandTimeout: 3_000,
      retryStrategy: () => 100,
    });
    this.#client.on('error', () => undefined);
    this.#mesh = name;
    this.#key = `ledger:{${name}}:`;
  }

  async prepare(): Promise<void> {}

  async effect({ task, token }: TaskContext, p: string): Promise<void> {
    const row = JSON.stringify({ task: task.id, token, p });
    await this.#push('effects', `effect of ${task.id}`, token, row);
  }

  async write(resource: string, token: number, p: string): Promise<void> {
    await this.#push('writes', resource, token, JSON.stringify({ resource, token, p }));
  }

  async #push(list: string, resource: string, token: number, row: string): Promise<void> {
    const command = ['RPUSH', this.#key + list, row] as const;
    await fencedInRedis(this.#client, { resource, token }, [command], { mesh: this.#mesh });
  }

  async effects(): Promise<Effect[]> {
    return (await this.#client.lrange(`${this.#key}effects`, 0, -1)).map((row) => JSON.parse(row) as Effect);
  }

  async writes(): Promise<GuardedWrite[]> {
    const rows = await this.#client.lrange(`${this.#key}writes`, 0, -1);
    return rows.map((row) => JSON.parse(row) as GuardedWrite);
  }

  async orders(): Promise<undefined> {
    return undefined;
  }

  async close(): Promise<void> {
    this.#client.disconnect();
  }
}
