import type { LockRow, LockStore } from '../../../core/ports/locks.ts';
import type { BackendTime, Cursor, Page, PageRequest } from '../../../core/ports/words.ts';
import type { RedisStore } from '../connection.ts';
import { defineScript } from '../scripts.ts';
import { LockPicture } from './lock-pictures.ts';
import { LOCK_BUSY, LOCK_QUIET } from './lua/pictures.ts';

const BUSY = defineScript('lock-busy', LOCK_BUSY);
const QUIET = defineScript('lock-quiet', LOCK_QUIET);

export type LockFilter = Parameters<LockStore['list']>[0];

/** Resources that are looked at together. */
const STEP = 100;
/** Waiters of a mode that are looked at for the longest wait, or for one of an agent. */
const SOME_WAITERS = 50;

/**
 * Where a list goes on: `b` and how many of the contended resources were looked at; or `q`, a cursor of all, and how many of its batch were looked
 * at. Contended ones come first, the longest queue first, then the rest in no order.
 */
interface Place {
  readonly part: 'b' | 'q';
  readonly cursor: string;
  readonly skip: number;
}

interface Batch {
  readonly names: readonly string[];
  readonly next: Place | undefined;
}

/** See `LockStore.list`. */
export async function listLocks(
  store: RedisStore,
  filter: LockFilter,
  page: PageRequest,
): Promise<Page<LockRow>> {
  const reader = new ListReader(store, filter, page);
  if (filter.resource !== undefined) await reader.readOne(filter.resource);
  else await reader.read(placeOf(page.after));
  return reader.page();
}

class ListReader {
  readonly #store: RedisStore;
  readonly #filter: LockFilter;
  readonly #limit: number;
  readonly #items: LockRow[] = [];
  #left: number;
  #scanned = 0;
  #at = 0 as BackendTime;
  #next: Place | undefined;

  constructor(store: RedisStore, filter: LockFilter, { limit, scanBudget = 20_000 }: PageRequest) {
    this.#store = store;
    this.#filter = filter;
    this.#limit = limit;
    this.#left = scanBudget;
  }

  page(): Page<LockRow> {
    return {
      at: this.#at,
      items: this.#items,
      next: this.#next === undefined ? undefined : (textOf(this.#next) as Cursor),
      scanned: this.#scanned,
    };
  }

  async readOne(resource: string): Promise<void> {
    await this.#store.run(BUSY, ['0', '0'], 'read');
    await this.#take([resource]);
  }

  async read(from: Place): Promise<void> {
    let at: Place | undefined = from;
    while (at !== undefined) {
      const batch: Batch = at.part === 'b' ? await this.#busy(at) : await this.#quiet(at);
      const names = batch.names.slice(at.skip);
      for (let i = 0; i < names.length; i += STEP) {
        const taken: number = await this.#take(names.slice(i, i + STEP));
        const isFull = this.#items.length >= this.#limit || this.#left <= 0;
        if (!isFull) continue;
        const skip: number = at.skip + i + taken;
        this.#next = skip < batch.names.length ? { ...at, skip } : batch.next;
        return;
      }
      at = batch.next;
    }
  }

  async #busy({ cursor }: Place): Promise<Batch> {
    const from = Number(cursor);
    const names = (await this.#store.run(BUSY, [from, from + STEP - 1], 'read')) as string[];
    if (names.length === STEP) return { names, next: { part: 'b', cursor: String(from + STEP), skip: 0 } };
    return {
      names,
      next: this.#filter.contended === true ? undefined : { part: 'q', cursor: '0', skip: 0 },
    };
  }

  async #quiet({ cursor }: Place): Promise<Batch> {
    const [next, names] = (await this.#store.run(QUIET, [cursor], 'read')) as [string, string[]];
    return {
      names: names.toSorted(),
      next: next === '0' ? undefined : { part: 'q', cursor: next, skip: 0 },
    };
  }

  /** Adds those that match, until the page is full. Returns how many were looked at. */
  async #take(names: readonly string[]): Promise<number> {
    const { prefix = '', agent, contended } = this.#filter;
    const picture = new LockPicture(this.#store);
    await picture.readRows(
      names.filter((name) => name.startsWith(prefix)),
      agent === undefined ? SOME_WAITERS : 10 * SOME_WAITERS,
      true,
    );
    if (picture.at > 0) this.#at = picture.at;
    const rows = new Map(picture.rows().map((row) => [row.resource, row]));
    let taken = 0;
    for (const name of names) {
      if (this.#items.length >= this.#limit || this.#left <= 0) break;
      taken += 1;
      this.#left -= 1;
      this.#scanned += 1;
      const row = rows.get(name);
      if (row === undefined || (contended === true && row.waiting === 0)) continue;
      if (agent === undefined || picture.hasAgent(name, agent)) this.#items.push(row);
    }
    return taken;
  }
}

function placeOf(after: Cursor | undefined): Place {
  const [part, cursor = '0', skip = '0'] = (after ?? 'b:0:0').split(':');
  return {
    part: part === 'q' ? 'q' : 'b',
    cursor: /^\d+$/.test(cursor) ? cursor : '0',
    skip: Math.max(0, Math.trunc(Number(skip)) || 0),
  };
}

function textOf({ part, cursor, skip }: Place): string {
  return `${part}:${cursor}:${skip}`;
}
