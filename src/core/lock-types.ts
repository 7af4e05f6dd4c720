/** The words of locking that users write and several parts pass on. */

/**
 * A name, exclusively or in another mode; a path, or a folder and everything below (`src/**`): paths that overlap exclude each other; some
 * of the units of a semaphore: `{ semaphore: 'gpu', of: 4, units: 2 }`. The mode is exclusive and the units 1 unless said otherwise.
 */
export type ResourceRequest =
  | string
  | { readonly resource: string; readonly mode?: 'exclusive' | 'shared' | 'update' }
  | { readonly path: string; readonly mode?: 'exclusive' | 'shared' }
  | { readonly semaphore: string; readonly of: number; readonly units?: number };

export interface AcquireOptions {
  /**
   * Who holds it, as the deadlock detection sees it: locks of one owner belong together. Without an owner each call is a scope of its
   * own, so a cycle through two nested calls is not seen. In a handler `context.withLock` names the task by itself.
   * @default a new anonymous scope
   */
  readonly owner?: string;
  /** Whose locks these are when the agent leaves, and whom events name. @default the owner */
  readonly agent?: string;
  /** Task on whose behalf it is taken, for people. */
  readonly task?: string;
  /** Larger is more urgent: −1,000…1,000. @default 2 */
  readonly priority?: number;
  /** Longest wait, ms. @default resourceTimeout (30,000) */
  readonly timeoutMs?: number;
  /** Ends the wait and rejects with its reason; what is held stays. */
  readonly signal?: AbortSignal;
  /** Lease of its own, ms; without it the lock lives with this process's session. */
  readonly leaseMs?: number;
  /** Whether a lease of its own is renewed until release; without, it ends after `leaseMs`. @default true */
  readonly renew?: boolean;
  /** Whether the owner may take again what it holds; each time is given back on its own. @default false */
  readonly reentrant?: boolean;
}

/** A held lock (or set). `await using lease = await manager.acquire('db')` gives it back. */
export interface Lease extends AsyncDisposable {
  readonly resources: readonly string[];
  readonly owner: string;
  /** Fencing token of the first resource; `tokens` for all. */
  readonly token: number;
  readonly tokens: ReadonlyMap<string, number>;
  /** Aborts at the local deadline, on a failed renewal or when the lock is revoked: stop writing. */
  readonly signal: AbortSignal;
  readonly expiresInMs: number;
  release(): Promise<void>;
  upgrade(options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }): Promise<void>;
  downgrade(): Promise<void>;
  /** Runs a write that carries the token and is refused when a newer one was seen for this resource. */
  fenced<R>(write: (token: number) => R | Promise<R>): Promise<R>;
}
