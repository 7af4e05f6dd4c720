import type { Backend } from '../../src/core/ports/backend.ts';
import type { Transition } from '../../src/core/ports/tasks.ts';
import type { Cursor, Page } from '../../src/core/ports/words.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import type { Reading, Rest, Sample, StoredTask } from './checks/evidence.ts';
import { now } from './journal.ts';
import { KeyRows } from './rows/keys.ts';
import type { Rows } from './rows/rows.ts';
import { TableRows } from './rows/tables.ts';
import { backendOf, PATIENT_MS, type World } from './world.ts';

/** Looks at the store by a straight connection of its own: by the ports, and at its rows. */
export class Observer {
  readonly backend: Backend;
  readonly #rows: Rows;

  private constructor(world: World) {
    this.backend = backendOf(world, world.direct, PATIENT_MS);
    this.#rows = world.backend === 'postgres' ? new TableRows(world) : new KeyRows(world);
  }

  static async start(world: World): Promise<Observer> {
    const observer = new Observer(world);
    await observer.backend.start(createRuntime());
    return observer;
  }

  async sample(): Promise<Sample> {
    const { queues, at } = (await this.backend.tasks?.counts()) ?? { queues: [], at: 0 };
    const t = now();
    const states: Record<string, number> = {};
    let enqueued = 0;
    let pruned = 0;
    for (const queue of queues) {
      enqueued += queue.totals.enqueued;
      pruned += queue.totals.pruned;
      for (const [state, count] of Object.entries(queue.states)) states[state] = (states[state] ?? 0) + count;
    }
    return { t, at, enqueued, pruned, states, held: await this.#rows.held() };
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
            ...(body.key === undefined ? {} : { key: body.key }),
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

  /** The same once more, past the library. */
  read(): Promise<Reading> {
    return this.#rows.read();
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
