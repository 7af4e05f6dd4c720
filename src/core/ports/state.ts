import type { Awaitable, BackendTime, Encoded, Operation, Stamped } from './words.ts';

export interface Entry {
  /** Named `part/name`. A `state` hint names the part: the key up to and with its first `/`, or the whole key. */
  readonly key: string;
  /** `undefined` = deleted: a tombstone, kept for 10 min, seen by {@link StateStore.changes} only. */
  readonly value: Encoded | undefined;
  /** Position in the commit order of the whole store; strictly increasing. */
  readonly revision: number;
  readonly changedAt: BackendTime;
}

export interface Swap {
  readonly key: string;
  /** The revision that must be current; 0 = must not exist. */
  readonly expected: number;
  /** `undefined` deletes. */
  readonly value: Encoded | undefined;
  /** Deleted after this time. */
  readonly expiresInMs?: number;
  /** Deleted with the session that wrote it. */
  readonly session?: true;
}

/** Small shared facts (≤ 64 KiB a value): breakers, proposals, limits, topology snapshots, schedules. Linearizable. 3 methods. */
export interface StateStore {
  /** Current entries; `undefined` for keys that don't exist. */
  get(keys: readonly string[]): Awaitable<Stamped & { readonly entries: readonly (Entry | undefined)[] }>;
  /** All swaps or none; keys are distinct. Answers with the entries as they are now, so a retry after `false` needs no read. */
  compareAndSet(
    op: Operation,
    swaps: readonly Swap[],
  ): Awaitable<Stamped & { readonly swapped: boolean; readonly entries: readonly (Entry | undefined)[] }>;
  /**
   * The latest change of each key under `prefix` with a revision above `after` (0 = all), oldest first, tombstones included: list,
   * resume and watch in one; a `state` hint says when to ask. Revisions follow commit order (a sequence doesn't), so nothing is skipped.
   * Go on with `revision`: a position, negative between the pages of a listing that began at 0, so that it isn't taken for an old one.
   * `reset`: deletions after `after` are forgotten already; drop what you have, this answer begins at 0.
   */
  changes(
    prefix: string,
    after: number,
    limit: number,
  ): Awaitable<
    Stamped & {
      readonly entries: readonly Entry[];
      readonly revision: number;
      readonly reset: boolean;
      readonly more: boolean;
    }
  >;
}
