import type { BackendTime } from '../../core/ports/words.ts';
import type { LockTicket } from './lock-entry.ts';
import type { LeaseState } from './lock-ticket.ts';
import type { MemoryClock } from './memory-clock.ts';

const NEVER = Number.POSITIVE_INFINITY;

/** Leases that grants have of their own: each ends by the clock, also when its timer is late. */
export class LockLeases {
  readonly #clock: MemoryClock;
  readonly #ranOut: (ticket: LockTicket, at: BackendTime) => void;

  constructor(clock: MemoryClock, ranOut: (ticket: LockTicket, at: BackendTime) => void) {
    this.#clock = clock;
    this.#ranOut = ranOut;
  }

  hasExpired(ticket: LockTicket): boolean {
    const { lease } = ticket;
    return lease !== undefined && ticket.state === 'held' && lease.expiresAt <= this.#clock.now();
  }

  /** Begins to count: it is granted. */
  start(ticket: LockTicket, lease: LeaseState): void {
    const at = this.#clock.now();
    lease.expiresAt = at + lease.leaseMs * 1_000;
    this.#arm(ticket, lease, at);
  }

  /** Cuts a grant's lease, for good; gives it one if it had none. */
  cut(ticket: LockTicket, graceMs: number, reason: string, at: BackendTime): void {
    if (ticket.lease === undefined) {
      ticket.lease = leaseOf(0);
      for (const { entry } of ticket.places()) entry.leased += 1;
    }
    const { lease } = ticket;
    lease.revoked ??= reason;
    lease.expiresAt = Math.min(lease.expiresAt, at + graceMs * 1_000);
    this.#arm(ticket, lease, at);
  }

  /** One timer for a lease; renewals only move its end, and the timer looks again. */
  #arm(ticket: LockTicket, lease: LeaseState, at: BackendTime): void {
    lease.timer?.cancel();
    lease.timer = undefined;
    if (lease.expiresAt === NEVER) return;
    lease.timer = this.#clock.after((lease.expiresAt - at) / 1_000, () => {
      const now = this.#clock.now();
      if (ticket.state !== 'held') return;
      if (lease.expiresAt > now) this.#arm(ticket, lease, now);
      else this.#ranOut(ticket, now);
    });
  }
}

/** A lease that doesn't count yet. */
export function leaseOf(leaseMs: number): LeaseState {
  return { leaseMs, expiresAt: NEVER, timer: undefined, revoked: undefined };
}
