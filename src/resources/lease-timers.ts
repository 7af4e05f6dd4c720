import type { Clock } from '../core/ports/runtime.ts';
import type { LockRecord } from './lock-record.ts';
import { lostError } from './lost-errors.ts';
import type { Kept, LeaseKeeper } from './lease-keeper.ts';

/** Renews leases of their own at a third of their time, and gives them up at two thirds when no renewal came through. */
export class LeaseTimers {
  readonly #clock: Clock;
  readonly #keeper: LeaseKeeper;
  readonly #gaveUp: (lock: LockRecord) => void;
  readonly #kept = new Map<LockRecord, Kept>();

  constructor(clock: Clock, keeper: LeaseKeeper, gaveUp: (lock: LockRecord) => void) {
    this.#clock = clock;
    this.#keeper = keeper;
    this.#gaveUp = gaveUp;
  }

  /** @param sentAt mono ms when the store was asked: the lease counts from there. False: it is over already. */
  start(lock: LockRecord, leaseMs: number, renew: boolean, sentAt: number, expiresInMs = leaseMs): boolean {
    const terms = { leaseMs, renew, deadline: 0, timer: undefined };
    lock.terms = terms;
    if (!this.#extend(lock, sentAt, Math.min(expiresInMs, leaseMs))) return false;
    if (renew) this.#keep(lock, sentAt);
    return true;
  }

  stop(lock: LockRecord): void {
    lock.terms?.timer?.cancel();
    const kept = this.#kept.get(lock);
    if (kept === undefined) return;
    this.#kept.delete(lock);
    this.#keeper.remove(kept);
  }

  /** It ends within this time, and isn't renewed any more. */
  limit(lock: LockRecord, inMs: number): void {
    const deadline = Math.min(lock.terms?.deadline ?? Number.POSITIVE_INFINITY, this.#clock.mono() + inMs);
    this.stop(lock);
    lock.terms = { leaseMs: inMs, renew: false, deadline, timer: undefined };
    this.#arm(lock);
  }

  #keep(lock: LockRecord, sentAt: number): void {
    const { leaseMs } = lock.terms as NonNullable<LockRecord['terms']>;
    const due = (from: number): number => Math.max(0, from + leaseMs / 3 - this.#clock.mono());
    const kept: Kept = {
      id: lock.grant.id,
      get token() {
        return lock.ref.token;
      },
      get change() {
        return lock.change;
      },
      answered: (answer, at, change) => {
        if (lock.status !== 'held' || lock.isRevoked) return undefined;
        // An upgrade may have overtaken the question, even one that was taken back since: the token asked with was not the lock's then.
        if (answer.status === 'lost' && change !== lock.change) return 0;
        if (answer.status !== 'granted' || answer.revoked !== undefined) {
          lock.lockChanged(answer);
          return undefined;
        }
        if (this.#extend(lock, at, answer.expiresInMs)) return due(at);
        this.#gaveUp(lock);
        return undefined;
      },
    };
    this.#kept.set(lock, kept);
    this.#keeper.add(kept, due(sentAt));
  }

  #extend(lock: LockRecord, sentAt: number, expiresInMs: number): boolean {
    const terms = lock.terms as NonNullable<LockRecord['terms']>;
    const margin = terms.renew ? terms.leaseMs / 3 : terms.leaseMs / 20;
    terms.deadline = sentAt + expiresInMs - margin;
    if (terms.deadline <= this.#clock.mono()) return false;
    this.#arm(lock);
    return true;
  }

  #arm(lock: LockRecord): void {
    const terms = lock.terms as NonNullable<LockRecord['terms']>;
    terms.timer?.cancel();
    terms.timer = this.#clock.after(terms.deadline - this.#clock.mono(), () => {
      if (lock.status !== 'held') return;
      lock.abort(lock.reason ?? lostError(lock.names));
      this.#gaveUp(lock);
    });
  }
}
