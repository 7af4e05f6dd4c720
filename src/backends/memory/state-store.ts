import type { Entry, StateStore, Swap } from '../../core/ports/state.ts';
import type { BackendTime, Operation, SessionNumber, Stamped } from '../../core/ports/words.ts';
import type { MemoryCore } from './memory-core.ts';
import type { SessionFollower } from './sessions.ts';

const TOMBSTONE_US = 10 * 60_000_000;

interface Stored extends Entry {
  readonly session?: SessionNumber;
}

interface Due {
  readonly at: number;
  readonly entry: Stored;
}

/** Shared facts in memory: one thread, so each call is atomic, and a counter is the commit order. */
export class MemoryStateStore implements StateStore, SessionFollower {
  readonly #core: MemoryCore;
  readonly #current = new Map<string, Stored>();
  /** Every change in order of revision; superseded ones stay until {@link #compact}. */
  #log: Stored[] = [];
  #revision = 0;
  /** Entries with an expiry, soonest first. */
  #due: Due[] = [];
  /** Tombstones, oldest first. */
  #tombstones: Stored[] = [];
  /** The highest revision of a tombstone that is forgotten: who read less can't know of that deletion. */
  #forgotten = 0;
  readonly #bound = new Map<SessionNumber, Set<string>>();

  constructor(core: MemoryCore) {
    this.#core = core;
    core.sessions.follow(this);
  }

  get(keys: readonly string[]): Stamped & { readonly entries: readonly (Entry | undefined)[] } {
    const at = this.#tidy();
    return { at, entries: keys.map((key) => this.#live(key)) };
  }

  compareAndSet(
    op: Operation,
    swaps: readonly Swap[],
  ): Stamped & { readonly swapped: boolean; readonly entries: readonly (Entry | undefined)[] } {
    this.#core.sessions.expireDue();
    return this.#core.log.once(op, () => {
      const at = this.#tidy();
      const swapped = swaps.every((swap) => (this.#live(swap.key)?.revision ?? 0) === swap.expected);
      if (swapped) for (const swap of swaps) this.#write(op, swap, at);
      return { at, swapped, entries: swaps.map((swap) => this.#live(swap.key)) };
    });
  }

  changes(
    prefix: string,
    after: number,
    limit: number,
  ): Stamped & {
    readonly entries: readonly Entry[];
    readonly revision: number;
    readonly reset: boolean;
    readonly more: boolean;
  } {
    const at = this.#tidy();
    const reset = after > 0 && after < this.#forgotten;
    const listing = reset || after <= 0;
    const from = reset ? 0 : Math.abs(after);
    const entries: Entry[] = [];
    for (let i = this.#firstAbove(from); i < this.#log.length; i++) {
      const entry = this.#log[i] as Stored;
      if (!entry.key.startsWith(prefix) || this.#current.get(entry.key) !== entry) continue;
      // A reader that begins at 0 has nothing to delete.
      if (from === 0 && entry.value === undefined) continue;
      if (entries.length === limit) {
        const { revision } = entries.at(-1) as Entry;
        return { at, entries, revision: listing ? -revision : revision, reset, more: true };
      }
      entries.push(entry);
    }
    return { at, entries, revision: this.#revision, reset, more: false };
  }

  sessionEnded(session: SessionNumber): void {
    const keys = this.#bound.get(session);
    if (keys === undefined) return;
    this.#bound.delete(session);
    const at = this.#core.clock.now();
    for (const key of keys) {
      const entry = this.#current.get(key);
      if (entry?.session === session) this.#put({ key, value: undefined, revision: 0, changedAt: at });
    }
  }

  #live(key: string): Stored | undefined {
    const entry = this.#current.get(key);
    return entry?.value === undefined ? undefined : entry;
  }

  #write(op: Operation, swap: Swap, at: BackendTime): void {
    const { key, value, expiresInMs } = swap;
    // Deleting what isn't there is no change.
    if (value === undefined && this.#live(key) === undefined) return;
    const bound = swap.session === true && value !== undefined;
    const entry = this.#put({
      key,
      value,
      revision: 0,
      changedAt: at,
      ...(bound ? { session: op.session } : {}),
    });
    if (bound) this.#bind(op.session, key);
    if (value !== undefined && expiresInMs !== undefined)
      this.#expireAt({ at: at + expiresInMs * 1_000, entry });
  }

  #put(draft: Stored): Stored {
    const former = this.#current.get(draft.key);
    if (former?.session !== undefined) this.#bound.get(former.session)?.delete(draft.key);
    const entry: Stored = { ...draft, revision: ++this.#revision };
    this.#current.set(entry.key, entry);
    this.#log.push(entry);
    if (entry.value === undefined) this.#tombstones.push(entry);
    if (this.#log.length > 2 * this.#current.size + 64) this.#compact();
    if (!this.#core.hints.idle) this.#core.hint({ about: 'state', prefix: partOf(entry.key) });
    return entry;
  }

  #bind(session: SessionNumber, key: string): void {
    const keys = this.#bound.get(session);
    if (keys === undefined) this.#bound.set(session, new Set([key]));
    else keys.add(key);
  }

  #expireAt(due: Due): void {
    let index = this.#due.length;
    while (index > 0 && (this.#due[index - 1] as Due).at > due.at) index -= 1;
    this.#due.splice(index, 0, due);
  }

  /** Carries out ends that are due and forgets old tombstones; returns the time it used. */
  #tidy(): BackendTime {
    const at = this.#core.sessions.expireDue();
    let due = 0;
    while (due < this.#due.length && (this.#due[due] as Due).at <= at) due += 1;
    for (const { entry } of this.#due.splice(0, due)) {
      if (this.#current.get(entry.key) === entry)
        this.#put({ key: entry.key, value: undefined, revision: 0, changedAt: at });
    }
    let old = 0;
    while (old < this.#tombstones.length && (this.#tombstones[old] as Stored).changedAt + TOMBSTONE_US <= at)
      old += 1;
    for (const tombstone of this.#tombstones.splice(0, old)) {
      if (this.#current.get(tombstone.key) !== tombstone) continue;
      this.#current.delete(tombstone.key);
      this.#forgotten = Math.max(this.#forgotten, tombstone.revision);
    }
    return at;
  }

  #compact(): void {
    this.#log = this.#log.filter((entry) => this.#current.get(entry.key) === entry);
    this.#tombstones = this.#tombstones.filter((entry) => this.#current.get(entry.key) === entry);
    this.#due = this.#due.filter(({ entry }) => this.#current.get(entry.key) === entry);
  }

  /** Index of the first change above a revision: binary search. */
  #firstAbove(revision: number): number {
    let low = 0;
    let high = this.#log.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#log[middle] as Stored).revision <= revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** What a hint names: the key up to and with its first `/`. */
function partOf(key: string): string {
  const slash = key.indexOf('/');
  return slash < 0 ? key : key.slice(0, slash + 1);
}
