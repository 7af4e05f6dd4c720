import type { LockStore } from '../core/ports/locks.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { BackendTime } from '../core/ports/words.ts';
import type { Holder, LockRecord } from './lock-record.ts';
import type { OwnerBook } from './owner-book.ts';
import type { OwnerRegistry } from './owner-registry.ts';
import type { WaitForGraph } from './wait-for-graph.ts';

/** How often an owner of another process is looked for, ms. */
const ELSEWHERE_MS = 100;

/** The work of owners: when it began, and when it is finished, because they hold and want nothing any more. */
export class OwnerWork {
  readonly #owners: OwnerRegistry;
  readonly #graph: WaitForGraph;
  readonly #store: LockStore;
  readonly #clock: Clock;

  constructor(owners: OwnerRegistry, graph: WaitForGraph, store: LockStore, clock: Clock) {
    this.#owners = owners;
    this.#graph = graph;
    this.#store = store;
    this.#clock = clock;
  }

  /** Since when a named owner that begins to wait is at work, and how often it lost: what a victim is chosen by. */
  began(book: OwnerBook<LockRecord>, now: BackendTime): void {
    if (book.since === 0) book.since = book.firstHeld === undefined ? now : sinceOf(book);
    if (this.#graph.hasDefeats) book.defeats = this.#graph.defeats(book.id);
  }

  /** Something of an owner has ended. If nothing is left, it has finished. */
  left(record: LockRecord): void {
    const { book } = record;
    if (book === undefined) {
      if (record.isAwaited && this.#owners.recordsOf(record.holder.id).length === 0) finish(record.holder);
      return;
    }
    if (!book.idle) return;
    if (book.since !== 0) {
      this.#graph.finished(book.id);
      // After a defeat it keeps its age.
      if (!book.defeated) book.since = 0 as BackendTime;
      book.defeated = false;
    }
    if (book.finishers !== undefined) finish(book);
  }

  /** Whether an owner holds or wants something, as far as this process can tell. */
  isAtWork(owner: string): boolean {
    const holder = this.#owners.find(owner);
    if (holder !== undefined) return holder.single || !holder.idle;
    return this.#isElsewhere(owner) ?? true;
  }

  /** Resolves when an owner has finished, or after this time. */
  untilFinished(owner: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const holder = this.#owners.find(owner);
    if (holder?.single === false && holder.idle) return Promise.resolve();
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      let timer: Timer | undefined;
      let watch: Disposable | undefined;
      const end = (): void => {
        timer?.cancel();
        watch?.[Symbol.dispose]();
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const onAbort = (): void => {
        end();
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      if (timeoutMs !== Number.POSITIVE_INFINITY) timer = this.#clock.after(timeoutMs, end, true);
      if (holder === undefined) watch = this.#watch(owner, end);
      else (holder.finishers ??= []).push(end);
    });
  }

  /** Somebody else's: another process, or another manager on the same store. */
  #watch(owner: string, end: () => void): Disposable {
    let poll: Timer | undefined;
    const again = (): void => {
      poll = this.#clock.after(ELSEWHERE_MS, look, true);
    };
    const look = (): void => (this.#isElsewhere(owner) === true ? again() : end());
    // A store that can't be asked is given that time once.
    if (this.#store.live === undefined) again();
    else look();
    return { [Symbol.dispose]: () => poll?.cancel() };
  }

  /** `undefined`: the store doesn't say. */
  #isElsewhere(owner: string): boolean | undefined {
    const { live } = this.#store;
    return live === undefined ? undefined : live.isWaiting(owner) || (live.owner(owner)?.locks ?? 0) > 0;
  }
}

function finish(holder: Holder): void {
  const { finishers = [] } = holder;
  holder.finishers = undefined;
  for (const finished of finishers) finished();
}

/** Tokens are times of the backend: the oldest held one says since when this owner is at work. */
function sinceOf(book: OwnerBook<LockRecord>): BackendTime {
  let oldest = 0;
  for (const { grant } of book.held()) if (oldest === 0 || grant.token < oldest) oldest = grant.token;
  return oldest as BackendTime;
}
