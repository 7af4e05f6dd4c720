import { Redis } from 'ioredis';
import pg from 'pg';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { Transition } from '../../src/core/ports/tasks.ts';
import type { Cursor, Page } from '../../src/core/ports/words.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import type { Held, Rest, Sample, StoredTask } from './checks/evidence.ts';
import { now } from './journal.ts';
import { backendOf, type World } from './world.ts';

/** What the store's own rows say, read past the library. */
interface Rows {
  held(): Promise<Held[]>;
  /** Those of sessions that live, and rows of tasks. */
  rest(): Promise<Pick<Rest, 'holders' | 'waiters' | 'rows'>>;
  close(): Promise<void>;
}

/** Looks at the store by a straight connection of its own: by the ports, and at its rows. */
export class Observer {
  readonly backend: Backend;
  readonly #rows: Rows;

  private constructor(world: World) {
    this.backend = backendOf(world, world.direct);
    this.#rows = world.backend === 'postgres' ? new TableRows(world) : new KeyRows(world);
  }

  static async start(world: World): Promise<Observer> {
    const observer = new Observer(world);
    await observer.backend.start(createRuntime());
    return observer;
  }

  async sample(): Promise<Sample> {
    const { queues } = (await this.backend.tasks?.counts()) ?? { queues: [] };
    const t = now();
    const states: Record<string, number> = {};
    let enqueued = 0;
    let pruned = 0;
    for (const queue of queues) {
      enqueued += queue.totals.enqueued;
      pruned += queue.totals.pruned;
      for (const [state, count] of Object.entries(queue.states)) states[state] = (states[state] ?? 0) + count;
    }
    return { t, enqueued, pruned, states, held: await this.#rows.held() };
  }

  async rest(): Promise<Rest> {
    const rows = await this.#rows.rest();
    return { ...rows, t: now(), sample: await this.sample() };
  }

  /** The session of a process, and what it runs. */
  async claimsOf(
    pid: number,
  ): Promise<{ readonly at: number; readonly session: number; readonly tasks: string[] }> {
    const { sessions, tasks } = this.backend;
    const alive = await sessions?.list({ limit: 1_000, state: 'alive' });
    const session = alive?.items.find(({ report }) => report.pid === pid)?.session ?? 0;
    const claimed = await tasks?.list({ state: ['claimed'] }, { limit: 1_000 });
    const own = (claimed?.items ?? []).filter((task) => task.session === session && task.started);
    return { at: claimed?.at ?? 0, session, tasks: own.map(({ id }) => id) };
  }

  async tasks(): Promise<Map<string, StoredTask>> {
    const store = this.backend.tasks;
    const records = await pages(async (after) => store?.list({}, { limit: 1_000, ...after }));
    return new Map(
      records.map(({ id, state, body, attempt, crashes, reason }) => {
        const { by, n } = (body.headers ?? {}) as { readonly by?: string; readonly n?: number };
        const stored = { id, state, type: body.type, priority: body.priority, attempt, crashes };
        return [
          id,
          {
            ...stored,
            ...(reason === undefined ? {} : { reason }),
            ...(by === undefined ? {} : { by, n: n ?? 0 }),
          },
        ];
      }),
    );
  }

  /** The history of one task, or of all. */
  history(task?: string): Promise<Transition[]> {
    const store = this.backend.tasks;
    return pages(async (after) =>
      store?.history(task === undefined ? {} : { task }, { limit: 1_000, ...after }),
    );
  }

  async close(): Promise<void> {
    await this.backend.stop();
    await this.#rows.close();
  }
}

async function pages<T>(
  read: (after: { readonly after?: Cursor }) => Promise<Page<T> | undefined>,
): Promise<T[]> {
  const all: T[] = [];
  let after: Cursor | undefined;
  do {
    const page = await read(after === undefined ? {} : { after });
    all.push(...(page?.items ?? []));
    after = page?.next;
  } while (after !== undefined);
  return all;
}

class TableRows implements Rows {
  readonly #pool: pg.Pool;
  readonly #name: string;

  constructor({ direct, name }: World) {
    this.#pool = new pg.Pool({ connectionString: direct, max: 2, connectionTimeoutMillis: 3_000 });
    this.#pool.on('error', () => undefined);
    this.#name = name;
  }

  async held(): Promise<Held[]> {
    const { rows } = await this.#pool.query<Held>(
      `select h.resource, count(*) filter (where h.mode = 4)::int as exclusive, count(*) filter (where h.mode = 2)::int as shared,
         coalesce(sum(h.units) filter (where h.mode = 5), 0)::int as units, max(r.capacity)::int as of
       from ${this.#name}.lock_holders h join ${this.#name}.lock_resources r on r.name = h.resource group by h.resource`,
    );
    return rows;
  }

  async rest(): Promise<Pick<Rest, 'holders' | 'waiters' | 'rows'>> {
    const alive = `(select t.id from ${this.#name}.lock_tickets t where ${this.#name}.session_alive_v1(t.session)
      and (t.expires_at is null or t.expires_at > ${this.#name}.now_us()))`;
    const { rows } = await this.#pool.query<Pick<Rest, 'holders' | 'waiters' | 'rows'>>(
      `select (select count(*)::int from ${this.#name}.lock_holders where ticket in ${alive}) as holders,
        (select count(*)::int from ${this.#name}.lock_waiters where ticket in ${alive}) as waiters,
        (select count(*)::int from ${this.#name}.tasks) + (select count(*)::int from ${this.#name}.task_ends) as rows`,
    );
    return rows[0] as Pick<Rest, 'holders' | 'waiters' | 'rows'>;
  }

  close(): Promise<void> {
    return this.#pool.end();
  }
}

/** Layout: `l:r` has [capacity, units in use, held, waiting, held by mode, …] of each resource; modes from 1, 3 shared, 5 exclusive. */
class KeyRows implements Rows {
  readonly #client: Redis;
  readonly #tag: string;

  constructor({ direct, name }: World) {
    this.#client = new Redis(direct, {
      maxRetriesPerRequest: 2,
      retryStrategy: () => 100,
      commandTimeout: 3_000,
    });
    this.#client.on('error', () => undefined);
    this.#tag = `agentmesh:{${name}}:`;
  }

  async held(): Promise<Held[]> {
    const all = await this.#client.hgetall(`${this.#tag}l:r`);
    return Object.entries(all).map(([resource, text]) => {
      const [of, units, , , modes] = JSON.parse(text) as [number, number, number, number, number[]];
      return { resource, exclusive: modes[4] ?? 0, shared: modes[2] ?? 0, units, of };
    });
  }

  async rest(): Promise<Pick<Rest, 'holders' | 'waiters' | 'rows'>> {
    const now = Date.now() * 1_000;
    const [records, live, rows] = await Promise.all([
      this.#client.hgetall(`${this.#tag}l:g`),
      this.#client.zrangebyscore(`${this.#tag}s:live`, now, '+inf'),
      this.#client.hlen(`${this.#tag}t`),
    ]);
    const alive = new Set(live);
    const requests = Object.values(records)
      .map((text) => JSON.parse(text.split('\n', 1)[0] ?? '') as { readonly s: string; readonly t: string })
      .filter(({ s }) => alive.has(String(s)));
    const waiters = requests.filter(({ t }) => t === 'w').length;
    return { holders: requests.length - waiters, waiters, rows };
  }

  async close(): Promise<void> {
    this.#client.disconnect();
  }
}
