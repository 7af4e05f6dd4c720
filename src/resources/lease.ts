import { checkFunction } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import type { Lease } from '../core/lock-types.ts';
import type { HeldLock } from './owner-book.ts';

const DONE: Promise<void> = Promise.resolve();

/** A held lock, or a set taken together. `await using lease = await locks.acquire('db')` gives it back. */
export class LockLease implements Lease {
  readonly #lock: HeldLock;

  constructor(lock: HeldLock) {
    this.#lock = lock;
  }

  get resources(): readonly string[] {
    return this.#lock.names;
  }

  get owner(): string {
    return this.#lock.book.id;
  }

  get token(): number {
    return this.#lock.token;
  }

  get tokens(): ReadonlyMap<string, number> {
    return new Map([...this.#lock.namedItems()].map(({ resource, token }) => [resource, token]));
  }

  get signal(): AbortSignal {
    return this.#lock.signal;
  }

  /** ms; 0 once it is released or lost, `Infinity` while it lives with this process's session. */
  get expiresInMs(): number {
    return this.#lock.host.expiresInMs(this.#lock);
  }

  /** Gives it back; what waits for it goes on before this returns. Idempotent. */
  release(): Promise<void> {
    return this.#lock.status === 'held' ? this.#lock.host.release(this.#lock) : DONE;
  }

  /**
   * Turns shared and update locks into exclusive ones, with new tokens. The lock stays held meanwhile, in its old mode.
   * @throws UPGRADE_CONFLICT at once when another holder waits to upgrade too; LOCK_TIMEOUT; DEADLOCK; LEASE_LOST
   */
  async upgrade(options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {}): Promise<void> {
    this.#check();
    await this.#lock.host.upgrade(this.#lock, options);
  }

  /** Turns exclusive and update locks into shared ones, with the same tokens. @throws LEASE_LOST */
  async downgrade(): Promise<void> {
    this.#check();
    await this.#lock.host.downgrade(this.#lock);
  }

  /**
   * Runs a write that carries the token. Refused when this lease is no longer held or a newer token has been seen at one of its
   * resources, before or during the write; hand the token on, so that the place you write to can refuse late ones itself.
   * @throws STALE_FENCE
   */
  async fenced<R>(write: (token: number) => R | Promise<R>): Promise<R> {
    checkFunction(write, 'the write');
    return this.#lock.host.fenced(this.#lock, write);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  #check(): void {
    if (this.#lock.status === 'held') return;
    throw (
      this.#lock.reason ??
      new CoordinationError('LEASE_LOST', `The lock on ${this.#lock.names.join(', ')} was released`)
    );
  }
}

/** The lease of a held lock; the same one each time. */
export function leaseOf(lock: HeldLock): LockLease {
  lock.facade ??= new LockLease(lock);
  return lock.facade as LockLease;
}
