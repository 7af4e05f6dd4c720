import type { Awaitable, BackendTime, Encoded, Operation, Stamped } from './words.ts';

export interface Entry {
  readonly key: string;
  readonly value: Encoded | undefined; // undefined = deleted (tombstone, 10 min)
  /** Position in the commit order of the whole store; strictly increasing. */
  readonly revision: number;
  readonly changedAt: BackendTime;
}

export interface Swap {
  readonly key: string;
  readonly expected: number; // revision; 0 = must not exist
  readonly value: Encoded | undefined;
  readonly expiresInMs?: number; // or `session`: gone with its session
  readonly session?: true;
}

/** Small shared facts (≤ 64 KiB a value): breakers, proposals, limits, topology snapshots, schedules. Linearizable. 3 methods. */
export interface StateStore {
  get(keys: readonly string[]): Awaitable<Stamped & { readonly entries: readonly (Entry | undefined)[] }>;
  /** All swaps or none. `false` comes with the current entries, so a retry needs no read. */
  compareAndSet(
    op: Operation,
    swaps: readonly Swap[],
  ): Awaitable<Stamped & { readonly swapped: boolean; readonly entries: readonly (Entry | undefined)[] }>;
  /**
   * Everything under `prefix` with a revision above `after` (0 = all), oldest first: list, resume and watch in one; a `state` hint says when to ask. Revisions follow
   * commit order (a sequence doesn't), so nothing is skipped. `reset` = `after` is older than the tombstones: drop what you have.
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
