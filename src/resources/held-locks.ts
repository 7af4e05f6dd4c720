import { andThen, isPromise } from '../core/awaitable.ts';
import { type CoordinationError, describe } from '../core/errors.ts';
import type { Grant, LockRelease, LockStore, QuickLocks } from '../core/ports/locks.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import type { LockCalls } from './lock-calls.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import { LeaseTimers } from './lease-timers.ts';
import type { LockRecord } from './lock-record.ts';
import type { LockReports } from './lock-reports.ts';
import { lostError, revokedError } from './lost-errors.ts';
import type { OptimisticLockManager } from './optimistic-lock-manager.ts';
import type { OwnerWork } from './owner-work.ts';
import type { OwnerRegistry } from './owner-registry.ts';
import type { Pending } from './pending.ts';

const DONE: Promise<void> = Promise.resolve();

export interface HeldLocksParts {
  readonly runtime: Runtime;
  readonly store: LockStore;
  readonly calls: LockCalls;
  /** For how long the session of this process may be counted on, ms. */
  readonly sessionMs: () => number;
  readonly keeper: LeaseKeeper;
  readonly owners: OwnerRegistry;
  readonly work: OwnerWork;
  readonly reports: LockReports;
  readonly versions: OptimisticLockManager | undefined;
}

/** Locks from their grant to their end: given back, lost or taken back. */
export class HeldLocks {
  readonly #runtime: Runtime;
  readonly #quick: QuickLocks | undefined;
  readonly #calls: LockCalls;
  readonly #sessionMs: () => number;
  readonly #owners: OwnerRegistry;
  readonly #work: OwnerWork;
  readonly #reports: LockReports;
  readonly #versions: OptimisticLockManager | undefined;
  readonly #timers: LeaseTimers;

  constructor(parts: HeldLocksParts) {
    this.#runtime = parts.runtime;
    this.#quick = parts.store.quick;
    this.#calls = parts.calls;
    this.#sessionMs = parts.sessionMs;
    this.#owners = parts.owners;
    this.#work = parts.work;
    this.#reports = parts.reports;
    this.#versions = parts.versions;
    this.#timers = new LeaseTimers(parts.runtime.clock, parts.keeper, (lock) => this.#gaveUp(lock));
  }

  // ── begin

  /**
   * It is held from now on. False: it took longer than its lease to come, and is over.
   * @param sentAt mono ms when the store was asked: a lease counts from there
   */
  begin(lock: LockRecord, pending: Pending<LockRecord> | undefined, sentAt?: number, grant?: Grant): boolean {
    lock.status = 'held';
    this.#owners.addHeld(lock);
    const { ask } = lock;
    if (ask?.leaseMs !== undefined) {
      const from = sentAt ?? this.#runtime.clock.mono();
      if (!this.#timers.start(lock, ask.leaseMs, ask.renew, from, grant?.expiresInMs)) return false;
    }
    this.#reports.acquired(lock, pending);
    return true;
  }

  // ── end

  /** Gives a lock back; who waits for it has it before this returns, if the store is in this process. */
  release(lock: LockRecord): Promise<void> {
    if (lock.status !== 'held') return DONE;
    lock.status = 'released';
    this.#delist(lock);
    // Said before the next holder is: whoever reads events sees them in the order in which they were.
    this.#reports.released(lock);
    if (this.#versions !== undefined) bump(lock, this.#versions);
    const done = this.#handBack(lock);
    this.#work.left(lock);
    return isPromise(done) ? done.then(() => undefined) : DONE;
  }

  /** Of a failure nobody can be told but the log: the lock is gone for its user whatever comes. False: so it did. */
  #giveBack(item: LockRelease): Awaitable<boolean> {
    const failed = (error: unknown): boolean => {
      this.#runtime.logger.warn('A lock could not be given back', { error: describe(error) });
      return false;
    };
    try {
      const answer = this.#calls.release(item);
      return isPromise(answer) ? answer.then(() => true, failed) : true;
    } catch (error) {
      return failed(error);
    }
  }

  /** Takes back what was asked for and isn't wanted any more. */
  withdraw(record: LockRecord): void {
    if (record.quick !== undefined) {
      this.#quick?.give(record.quick);
      return;
    }
    record.isWithdrawn = true;
    void andThen(this.#giveBack({ id: record.waitId }), (isKnown) => record.change?.end(isKnown));
  }

  /** The store, or the clock, says that it isn't ours any more. */
  lost(lock: LockRecord, reason: CoordinationError): void {
    if (lock.status !== 'held') return;
    lock.status = 'lost';
    this.#delist(lock);
    this.#reports.expired(lock);
    lock.abort(reason);
    this.#work.left(lock);
  }

  /** Its own deadline came without a renewal: it stops here before the store gives it to somebody else. */
  #gaveUp(lock: LockRecord): void {
    this.lost(lock, lock.reason ?? lostError(lock.names));
    void this.#handBack(lock);
  }

  #handBack(lock: LockRecord): Awaitable<unknown> {
    if (lock.quick === undefined) return this.#giveBack(lock.ref);
    this.#quick?.give(lock.quick);
    return undefined;
  }

  /** Somebody takes it back: its user is told to stop, and may still release in good order. */
  revoked(lock: LockRecord, answer: Grant): void {
    const reason = revokedError(lock.names, answer.revoked as string);
    lock.abort(reason, true);
    if (answer.expiresInMs <= 0) this.lost(lock, reason);
    else this.#timers.limit(lock, answer.expiresInMs);
  }

  #delist(lock: LockRecord): void {
    this.#owners.removeHeld(lock);
    if (lock.terms !== undefined) this.#timers.stop(lock);
  }

  // ── figures

  expiresInMs(lock: LockRecord): number {
    // After a pause of the process this is asked before the timers that end it have run.
    if (lock.status !== 'held' || this.#sessionMs() === 0) return 0;
    const { terms } = lock;
    return terms === undefined
      ? Number.POSITIVE_INFINITY
      : Math.max(0, terms.deadline - this.#runtime.clock.mono());
  }

  ageMs(lock: LockRecord): number {
    if (lock.quick !== undefined) return this.#quick?.ageMs(lock.quick) ?? 0;
    return this.#runtime.clock.mono() - lock.grantedAt;
  }
}

/** Under an exclusive lock the resource may have changed. */
function bump(lock: LockRecord, versions: OptimisticLockManager): void {
  for (const { resource, mode } of lock.namedItems()) if (mode === 'exclusive') versions.bump(resource);
}
