import { unreadable } from '../core/check.ts';
import { DeadlockError } from '../core/deadlock-error.ts';
import type { LockStore } from '../core/ports/locks.ts';
import type { Clock } from '../core/ports/runtime.ts';
import { nodeName } from '../core/run-node.ts';
import type { HeldLocks } from './held-locks.ts';
import type { LockRecord } from './lock-record.ts';
import type { LockReports } from './lock-reports.ts';
import { LockTimeoutError } from './lock-timeout-error.ts';
import type { Moment } from './moment.ts';
import type { OwnerWork } from './owner-work.ts';
import type { OwnerRegistry } from './owner-registry.ts';
import { Pending } from './pending.ts';
import type { WaitForGraph } from './wait-for-graph.ts';
import { WaitTimeouts } from './wait-timeouts.ts';

export interface PendingWaitsParts {
  readonly store: LockStore;
  readonly graph: WaitForGraph;
  readonly owners: OwnerRegistry;
  readonly work: OwnerWork;
  readonly reports: LockReports;
  readonly held: HeldLocks;
}

/** Waits from their beginning to their end: settled once, and taken out of everything that may end them (L6). */
export class PendingWaits {
  readonly #parts: PendingWaitsParts;
  readonly #timeouts: WaitTimeouts<LockRecord>;

  constructor(parts: PendingWaitsParts, clock: Clock) {
    this.#parts = parts;
    this.#timeouts = new WaitTimeouts(clock, (pending, ms) => this.#timedOut(pending, ms));
  }

  /** Makes the promise, and arms everything that may end the wait. */
  begin(record: LockRecord, timeoutMs: number, began: Moment): Pending<LockRecord> {
    const pending = new Pending(record, began);
    record.pending = pending;
    this.#parts.owners.addWait(record);
    this.#timeouts.add(pending, timeoutMs);
    const signal = record.ask?.signal;
    if (signal !== undefined) this.#listen(pending, signal);
    return pending;
  }

  #listen(pending: Pending<LockRecord>, signal: AbortSignal): void {
    const { record } = pending;
    const onAbort = (): void => this.fail(record, signal.reason);
    try {
      signal.addEventListener('abort', onAbort, { once: true });
      pending.onAbort = onAbort;
    } catch (error) {
      // A likeness of a signal. The store has the request already.
      this.fail(record, unreadable('signal', error));
    }
  }

  /** Ends a wait: with what `outcome` returns, or the error that it throws. */
  settle(record: LockRecord, pending: Pending<LockRecord>, outcome: () => LockRecord): void {
    this.#takeOut(record, pending);
    this.#settle(record, pending, outcome);
  }

  /** The same for one resource granted and nothing else said: the commonest, in as few steps as it takes. */
  settleHeld(record: LockRecord, pending: Pending<LockRecord>): void {
    this.#timeouts.remove(pending);
    record.pending = undefined;
    record.status = 'held';
    this.#parts.owners.waitIsHeld(record);
    this.#parts.reports.acquired(record, pending);
    this.share(record);
    pending.resolve(record);
    if (this.#parts.graph.hasOpen) this.#parts.graph.left(record.holder.id);
  }

  /** Ends a wait from this side: time, abort, an agent that left. */
  fail(record: LockRecord, error: unknown): void {
    const { pending } = record;
    if (record.status !== 'waiting' || pending === undefined) return;
    this.#leave(record, pending, () => {
      throw error;
    });
  }

  /** Other documented calls of the same agent for the same resource get the same lease. */
  share(lock: LockRecord): void {
    const { book } = lock;
    if (book?.firstWait === undefined || !lock.isExclusive) return;
    for (const other of book.waits()) {
      const { pending } = other;
      if (!other.isLegacy || pending === undefined || other.resource !== lock.resource) continue;
      this.#leave(other, pending, () => lock);
    }
  }

  /** Ends a wait in this process, then in the store. */
  #leave(record: LockRecord, pending: Pending<LockRecord>, outcome: () => LockRecord): void {
    this.#takeOut(record, pending);
    record.status = 'failed';
    // What isn't answered yet is withdrawn when it is: a withdrawal must not overtake its request.
    if (!record.isUnderWay) this.#parts.held.withdraw(record);
    this.#settle(record, pending, outcome);
  }

  #settle(record: LockRecord, pending: Pending<LockRecord>, outcome: () => LockRecord): void {
    try {
      pending.resolve(outcome());
    } catch (error) {
      this.#failed(record, pending, error);
    }
    if (this.#parts.graph.hasOpen) this.#parts.graph.left(record.holder.id);
  }

  #failed(record: LockRecord, pending: Pending<LockRecord>, error: unknown): void {
    record.status = 'failed';
    const { holder } = record;
    if (error instanceof DeadlockError && !holder.single) holder.defeated = true;
    const wasQueued = record.quick !== undefined || pending.holders !== undefined;
    if (wasQueued) this.#parts.reports.abandoned(pending, error);
    pending.reject(error);
    this.#parts.work.left(record);
  }

  /** Nothing can end it any more. */
  #takeOut(record: LockRecord, pending: Pending<LockRecord>): void {
    this.#timeouts.remove(pending);
    if (pending.onAbort !== undefined) stopListening(record.ask?.signal, pending.onAbort);
    this.#parts.owners.removeWait(record);
    record.pending = undefined;
  }

  #timedOut(pending: Pending<LockRecord>, timeoutMs: number): void {
    const { record } = pending;
    const holders = pending.holders ?? this.#holdersOf(record);
    this.fail(record, new LockTimeoutError(record.resource, holders, timeoutMs));
  }

  /** Who holds now what a wait is for. */
  #holdersOf({ quick }: LockRecord): readonly string[] {
    if (quick === undefined) return [];
    return namesOf(this.#parts.store.quick?.holders(quick) ?? []);
  }
}

/** A likeness of a signal may throw: it is heard no more all the same, for the wait has ended. */
function stopListening(signal: AbortSignal | undefined, onAbort: () => void): void {
  try {
    signal?.removeEventListener('abort', onAbort);
  } catch {}
}

/** Owners as people know them, each once. */
export function namesOf(
  owners: readonly { readonly owner: string; readonly agent?: string | undefined }[],
): readonly string[] {
  return [...new Set(owners.map(({ owner, agent }) => agent ?? nodeName(owner)))];
}
