import { handled } from '../core/awaitable.ts';
import type { Grant, LockAnswer } from '../core/ports/locks.ts';
import type { Clock } from '../core/ports/runtime.ts';
import type { Awaitable, BackendTime } from '../core/ports/words.ts';
import type { HeldLocks } from './held-locks.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import type { LockRecord } from './lock-record.ts';
import type { LockReports } from './lock-reports.ts';
import { lostError, lostWait } from './lost-errors.ts';
import type { Moment } from './moment.ts';
import type { OwnerWork } from './owner-work.ts';
import type { Pending } from './pending.ts';
import { namesOf, type PendingWaits } from './pending-waits.ts';
import { refusalError } from './refusal.ts';
import { verdictOf } from './verdict.ts';
import type { WaitForGraph } from './wait-for-graph.ts';

/** How often a store that tells nobody is asked about a wait, ms. */
const POLL_MS = 1_000;

export interface LockOutcomesParts {
  readonly clock: Clock;
  readonly keeper: LeaseKeeper;
  readonly graph: WaitForGraph;
  readonly reports: LockReports;
  readonly work: OwnerWork;
  readonly held: HeldLocks;
  readonly waits: PendingWaits;
}

/** What becomes of requests by what the store says: they are held, wait, or are refused. */
export class LockOutcomes {
  readonly #parts: LockOutcomesParts;

  constructor(parts: LockOutcomesParts) {
    this.#parts = parts;
  }

  /** The first answer of a store that answers at once, and may be far all the same. */
  first(
    record: LockRecord,
    answer: LockAnswer,
    at: BackendTime,
    began: Moment,
    timeoutMs: number,
  ): Awaitable<LockRecord | undefined> {
    switch (answer.status) {
      case 'granted':
        return this.#arriveFar(record, answer, began.ms, undefined);
      case 'waiting': {
        const pending = this.#parts.waits.begin(record, timeoutMs, began);
        this.#queued(pending, answer, at);
        return pending.promise;
      }
      case 'refused':
        return this.refused(record, answer);
      default:
        throw lostWait(record.names, record.upgradeOf !== undefined);
    }
  }

  /** The first answer of a store across a network; the wait may have ended meanwhile. */
  late(pending: Pending<LockRecord>, answer: LockAnswer, at: BackendTime): void {
    const { record, startedAt } = pending;
    record.isUnderWay = false;
    if (record.status === 'failed') {
      if (answer.status === 'granted' || answer.status === 'waiting') this.#parts.held.withdraw(record);
      else record.change?.end(true);
    } else if (record.status === 'waiting') {
      if (answer.status === 'waiting') this.#queued(pending, answer, at);
      else this.#answered(record, answer, startedAt);
    }
  }

  /** It waits in a store that may be far: that may close a cycle. */
  #queued(
    pending: Pending<LockRecord>,
    answer: LockAnswer & { readonly status: 'waiting' },
    at: BackendTime,
  ): void {
    const { record } = pending;
    if (!record.holder.single) this.#parts.work.began(record.holder, at);
    pending.holders = namesOf(answer.holders);
    if (answer.pushed !== true) this.#poll(record);
    this.#parts.reports.waited(record, answer.ahead);
    if (record.status === 'waiting') this.#parts.graph.entered(record.holder.id);
  }

  #poll(record: LockRecord): void {
    this.#parts.keeper.add(
      {
        id: record.waitId,
        token: undefined,
        answered: (answer, sentAt) => {
          if (record.status !== 'waiting') return undefined;
          if (answer.status === 'waiting') return POLL_MS;
          this.#answered(record, answer, sentAt);
          return undefined;
        },
      },
      POLL_MS,
    );
  }

  /** A store in this process has granted it. */
  granted(record: LockRecord): void {
    const { pending } = record;
    if (record.status !== 'waiting' || pending === undefined) return;
    if (record.ask === undefined) this.#parts.waits.settleHeld(record, pending);
    else this.#parts.waits.settle(record, pending, () => this.arrive(record, pending));
  }

  /** What the store says of a wait, or of a lock that is held. */
  changed(record: LockRecord, answer: LockAnswer): void {
    if (record.status === 'waiting') {
      if (!record.isUnderWay || answer.status !== 'waiting') {
        this.#answered(record, answer, this.#parts.clock.mono());
      }
    } else if (record.status === 'held') {
      if (answer.status === 'lost') this.#parts.held.lost(record, lostError(record.names));
      else if (answer.status === 'granted' && answer.revoked !== undefined)
        this.#parts.held.revoked(record, answer);
    } else if (record.status === 'failed' && answer.status === 'granted' && !record.isUnderWay) {
      this.#parts.held.withdraw(record);
    }
  }

  #answered(record: LockRecord, answer: LockAnswer, sentAt: number): void {
    const { pending } = record;
    if (answer.status === 'waiting' || pending === undefined) return;
    this.#parts.waits.settle(record, pending, () => {
      switch (answer.status) {
        case 'granted':
          return this.#arriveFar(record, answer, sentAt, pending);
        case 'aborted':
          throw verdictOf(record.holder.id, answer.cycle);
        case 'refused':
          return this.refused(record, answer) as LockRecord;
        default:
          throw lostWait(record.names, record.upgradeOf !== undefined);
      }
    });
  }

  /** @throws the error for the refusal, but for one that is an answer */
  refused(record: LockRecord, answer: LockAnswer & { readonly status: 'refused' }): LockRecord | undefined {
    const { holder } = record;
    if (answer.why === 'busy' && !record.wait) return undefined;
    if (answer.why === 'reentrant' && record.isLegacy && !holder.single) {
      const lock = holder.find(record.resource);
      if (lock?.isExclusive === true) return lock;
    }
    throw refusalError(answer, record.names, holder.label);
  }

  /** A grant of a store in this process has come. */
  arrive(record: LockRecord, pending: Pending<LockRecord> | undefined): LockRecord {
    const { upgradeOf } = record;
    if (upgradeOf !== undefined) return this.#upgraded(record, upgradeOf, undefined, pending);
    this.#parts.held.begin(record, pending);
    this.#parts.waits.share(record);
    return record;
  }

  /** A grant of a store that may be far has come. @throws LEASE_LOST when it took longer than its lease to come */
  #arriveFar(
    record: LockRecord,
    grant: Grant,
    sentAt: number,
    pending: Pending<LockRecord> | undefined,
  ): LockRecord {
    const { upgradeOf } = record;
    if (upgradeOf !== undefined) return this.#upgraded(record, upgradeOf, grant, pending);
    record.setFar(grant, this.#parts.clock.mono());
    if (!this.#parts.held.begin(record, pending, sentAt, grant)) {
      const late = lostError(record.names);
      record.abort(late);
      handled(this.#parts.held.release(record));
      throw late;
    }
    this.#parts.waits.share(record);
    return record;
  }

  #upgraded(
    record: LockRecord,
    lock: LockRecord,
    grant: Grant | undefined,
    pending: Pending<LockRecord> | undefined,
  ): LockRecord {
    record.status = 'released';
    if (lock.status !== 'held') throw lock.reason ?? lostWait(record.names, true);
    lock.changeModes(record.plan.items, grant);
    this.#parts.reports.converted(lock, pending);
    return lock;
  }
}
