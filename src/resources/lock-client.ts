import { handled, isPromise } from '../core/awaitable.ts';
import { DeadlockError } from '../core/deadlock-error.ts';
import { checkId } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import { EXCLUSIVE } from '../core/lock-modes.ts';
import type { EventSink } from '../core/events.ts';
import type { Operations } from '../core/operations.ts';
import type {
  Grant,
  LockAnswer,
  LockOrder,
  LockRelease,
  LockStore,
  QuickAnswer,
  QuickGrant,
  QuickLocks,
} from '../core/ports/locks.ts';
import type { Runtime, Timer } from '../core/ports/runtime.ts';
import type { Awaitable, BackendTime, SessionNumber } from '../core/ports/words.ts';
import { nodeName } from '../core/run-node.ts';
import { FenceRegister } from './fence-register.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { LeaseTimers } from './lease-timers.ts';
import {
  type AskOptions,
  DEFAULT_PRIORITY,
  type Holder,
  type LockHost,
  LockRecord,
  lostError,
} from './lock-record.ts';
import { LockReports } from './lock-reports.ts';
import { LockTimeoutError } from './lock-timeout-error.ts';
import type { OptimisticLockManager } from './optimistic-lock-manager.ts';
import { Moment, Moments } from './moment.ts';
import { type OwnerBook, SingleOwner } from './owner-book.ts';
import { OwnerRegistry } from './owner-registry.ts';
import { Pending } from './pending.ts';
import { refusalError } from './refusal.ts';
import { downgraded, upgraded } from './resource-request.ts';
import { survivorOf } from './survivor.ts';
import type { WaitForGraph } from './wait-for-graph.ts';
import { WaitTimeouts } from './wait-timeouts.ts';

const DONE: Promise<void> = Promise.resolve();
/** How often a store that tells nobody is asked about a wait, ms. */
const POLL_MS = 1_000;
/** How often an owner of another process is looked for, ms. */
const ELSEWHERE_MS = 100;

export interface LockClientOptions {
  readonly runtime: Runtime;
  readonly store: LockStore;
  readonly operations: Operations;
  readonly events: EventSink;
  readonly graph: WaitForGraph;
  readonly order: LockOrder;
  /** Longest wait of an upgrade that doesn't say. */
  readonly timeoutMs: number;
  readonly versions?: OptimisticLockManager | undefined;
}

/**
 * This process's side of the lock store: sends requests, hears what becomes of them, and gives back what is over. All user input was
 * checked before.
 */
export class LockClient implements LockHost {
  readonly runtime: Runtime;
  readonly store: LockStore;
  readonly operations: Operations;
  readonly keeper: LeaseKeeper;
  readonly owners: OwnerRegistry;
  readonly order: LockOrder;
  readonly #quick: QuickLocks | undefined;
  readonly #graph: WaitForGraph;
  readonly #timeoutMs: number;
  readonly #versions: OptimisticLockManager | undefined;
  readonly #reports: LockReports;
  readonly #fences: FenceRegister;
  readonly #timers: LeaseTimers;
  readonly #timeouts: WaitTimeouts<LockRecord>;
  readonly #moments: Moments;
  readonly #scopeId = (): string => this.newId('scope');
  #nextId = 0;

  constructor(options: LockClientOptions) {
    const { runtime, store, operations, events, graph, order, timeoutMs, versions } = options;
    this.runtime = runtime;
    this.store = store;
    this.#quick = store.quick;
    this.operations = operations;
    this.order = order;
    this.#graph = graph;
    this.#timeoutMs = timeoutMs;
    this.#versions = versions;
    this.#reports = new LockReports(events, runtime.clock);
    this.#fences = new FenceRegister(events);
    this.owners = new OwnerRegistry((book) => book.since === 0 && graph.defeats(book.id) === 0);
    this.keeper = new LeaseKeeper(store, () => this.session, runtime.clock);
    this.#timers = new LeaseTimers(runtime.clock, this.keeper, (lock) => this.#gaveUp(lock));
    this.#moments = new Moments(runtime.clock);
    this.#timeouts = new WaitTimeouts(runtime.clock, (pending) => this.#timedOut(pending));
  }

  /** Of the life that runs now: a mesh that starts again has another one. */
  get session(): SessionNumber {
    return this.operations.session;
  }

  /** An owner for one request; its id is made when somebody reads it. */
  single(agent: string | undefined, task: string | undefined, priority: number): SingleOwner {
    return new SingleOwner(this.#scopeId, agent, task, priority);
  }

  anybody(): SingleOwner {
    return new SingleOwner(this.#scopeId, undefined, undefined, DEFAULT_PRIORITY);
  }

  /** Unique in the mesh: session numbers are never used twice. */
  newId(kind: string): string {
    this.#nextId += 1;
    return `${kind}-${this.session}-${this.#nextId}`;
  }

  // ── acquiring

  /**
   * One resource for one exclusive holder, nothing else said: the commonest request. Its name needn't have been checked.
   * @param holder without one: an owner for this request
   */
  acquireOne(
    resource: string,
    holder: Holder | undefined,
    timeoutMs: number,
  ): LockRecord | Promise<LockRecord> {
    const record = new LockRecord(this, holder, resource);
    if (this.#quick === undefined) {
      checkId(resource, 'resource');
      return this.#send(record, timeoutMs) as LockRecord | Promise<LockRecord>;
    }
    const answer = this.#quick.one(this.operations.session, resource, EXCLUSIVE, record);
    if ('status' in answer || answer.state !== 'held' || record.book?.firstWait !== undefined)
      return this.#inPlace(record, answer, timeoutMs) as LockRecord | Promise<LockRecord>;
    record.quick = answer;
    record.status = 'held';
    this.owners.addHeld(record);
    this.#reports.acquired(record, undefined);
    return record;
  }

  /** Resolves with the lock, or with `undefined` when it may not wait. */
  acquire(
    holder: Holder,
    ask: AskOptions,
    priority: number,
    timeoutMs: number,
  ): Awaitable<LockRecord | undefined> {
    if (ask.signal?.aborted === true) return Promise.reject(ask.signal.reason as Error);
    if (!holder.single) holder.priority = priority;
    const record = new LockRecord(this, holder, ask.plan.names[0] as string).withOptions(ask);
    if (this.#quick === undefined) return this.#send(record, timeoutMs);
    return this.#inPlace(record, this.#quick.ask(this.session, record.request()), timeoutMs);
  }

  /** The answer of a store in this process. */
  #inPlace(record: LockRecord, answer: QuickAnswer, timeoutMs: number): Awaitable<LockRecord | undefined> {
    if ('status' in answer) {
      // The session is over: by the port's own method the request finds the next one.
      if (answer.status === 'lost' && record.upgradeOf === undefined) return this.#send(record, timeoutMs);
      if (answer.status === 'lost') throw lostWait(record);
      return this.#refused(record, answer);
    }
    record.quick = answer;
    if (answer.state !== 'waiting') return this.#arrive(record, undefined);
    const pending = this.#begin(record, timeoutMs, this.#moments.begin());
    pending.queued = true;
    const { ahead, suspect, since } = answer.wait as NonNullable<QuickGrant['wait']>;
    const { book } = record;
    if (book !== undefined) this.#age(book, since);
    this.#reports.waited(record, ahead);
    // Nobody can wait for an owner that holds nothing and whose id nobody has.
    if (record.status === 'waiting' && (suspect || book !== undefined))
      this.#graph.entered(record.holder.id, !suspect);
    return pending.promise;
  }

  /** Since when a named owner that begins to wait is at work, and how often it lost: what a victim is chosen by. */
  #age(book: OwnerBook<LockRecord>, now: BackendTime): void {
    if (book.since === 0) book.since = book.firstHeld === undefined ? now : sinceOf(book);
    if (this.#graph.hasDefeats) book.defeats = this.#graph.defeats(book.id);
  }

  /** Asks a store that may be far. */
  #send(record: LockRecord, timeoutMs: number): Awaitable<LockRecord | undefined> {
    const began = new Moment(this.runtime.clock).end();
    const { holder } = record;
    // Its age when it holds something; else the store knows what time it is.
    if (!holder.single) this.#age(holder, 0 as BackendTime);
    const request = record.request();
    const answer = this.operations.run((op) => this.store.request(op, [request]));
    if (!isPromise(answer))
      return this.#first(record, answer.answers[0] as LockAnswer, answer.at, began, timeoutMs);
    const pending = this.#begin(record, timeoutMs, began);
    record.isUnderWay = true;
    answer.then(
      ({ answers, at }) => this.#late(pending, answers[0] as LockAnswer, at),
      (error: unknown) => {
        record.isUnderWay = false;
        this.fail(record, error);
      },
    );
    return pending.promise;
  }

  #first(
    record: LockRecord,
    answer: LockAnswer,
    at: BackendTime,
    began: Moment,
    timeoutMs: number,
  ): Awaitable<LockRecord | undefined> {
    switch (answer.status) {
      case 'granted':
        return this.#arriveFar(record, answer, began.ms);
      case 'waiting': {
        const pending = this.#begin(record, timeoutMs, began);
        this.#queued(pending, answer, at);
        return pending.promise;
      }
      case 'refused':
        return this.#refused(record, answer);
      default:
        throw lostWait(record);
    }
  }

  /** The first answer of a store across a network; the wait may have ended meanwhile. */
  #late(pending: Pending<LockRecord>, answer: LockAnswer, at: BackendTime): void {
    const { record, startedAt } = pending;
    record.isUnderWay = false;
    if (record.status === 'failed') {
      if (answer.status === 'granted' || answer.status === 'waiting') this.#withdraw(record);
    } else if (record.status === 'waiting') {
      if (answer.status === 'waiting') this.#queued(pending, answer, at);
      else this.#answered(record, answer, startedAt);
    }
  }

  /** Makes the promise, and arms everything that may end the wait. */
  #begin(record: LockRecord, timeoutMs: number, began: Moment): Pending<LockRecord> {
    const pending = new Pending(record, began, timeoutMs);
    record.pending = pending;
    this.owners.addWait(record);
    this.#timeouts.add(pending);
    const signal = record.ask?.signal;
    if (signal !== undefined) {
      pending.onAbort = () => this.fail(record, signal.reason);
      signal.addEventListener('abort', pending.onAbort, { once: true });
    }
    return pending;
  }

  /** It waits in a store that may be far: that may close a cycle. */
  #queued(
    pending: Pending<LockRecord>,
    answer: LockAnswer & { readonly status: 'waiting' },
    at: BackendTime,
  ): void {
    const { record } = pending;
    if (!record.holder.single) this.#age(record.holder, at);
    pending.holders = answer.holders.map(({ owner, agent }) => agent ?? nodeName(owner));
    pending.queued = true;
    if (answer.pushed !== true) this.#poll(record);
    this.#reports.waited(record, answer.ahead);
    if (record.status === 'waiting') this.#graph.entered(record.holder.id);
  }

  #poll(record: LockRecord): void {
    this.keeper.add(
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
    if (record.ask !== undefined) {
      this.#endWait(record, pending);
      this.#settle(record, pending, () => this.#arrive(record, pending));
      return;
    }
    // The commonest, in as few steps as it takes.
    this.#timeouts.remove(pending);
    record.pending = undefined;
    record.status = 'held';
    this.owners.waitIsHeld(record);
    this.#reports.acquired(record, pending);
    const { book } = record;
    if (book?.firstWait !== undefined) this.#shareWith(record, book);
    pending.resolve(record);
    if (this.#graph.hasOpen) this.#graph.left(record.holder.id);
  }

  /** What the store says of a wait, or of a lock that is held. */
  changed(record: LockRecord, answer: LockAnswer): void {
    if (record.status === 'waiting') {
      if (!record.isUnderWay || answer.status !== 'waiting') {
        this.#answered(record, answer, this.runtime.clock.mono());
      }
    } else if (record.status === 'held') {
      if (answer.status === 'lost') this.lost(record, lostError(record));
      else if (answer.status === 'granted' && answer.revoked !== undefined) this.#revoked(record, answer);
    } else if (record.status === 'failed' && answer.status === 'granted' && !record.isUnderWay) {
      this.#withdraw(record);
    }
  }

  #answered(record: LockRecord, answer: LockAnswer, sentAt: number): void {
    const { pending } = record;
    if (answer.status === 'waiting' || pending === undefined) return;
    this.#endWait(record, pending);
    this.#settle(record, pending, () => {
      switch (answer.status) {
        case 'granted':
          return this.#arriveFar(record, answer, sentAt);
        case 'aborted':
          throw verdictOf(record, answer.cycle);
        case 'refused':
          return this.#refused(record, answer) as LockRecord;
        default:
          throw lostWait(record);
      }
    });
  }

  /** Settles a wait that has left all lists. */
  #settle(record: LockRecord, pending: Pending<LockRecord>, outcome: () => LockRecord): void {
    try {
      pending.resolve(outcome());
    } catch (error) {
      this.#failed(record, pending, error);
    }
    if (this.#graph.hasOpen) this.#graph.left(record.holder.id);
  }

  #refused(record: LockRecord, answer: LockAnswer & { readonly status: 'refused' }): LockRecord | undefined {
    const { holder } = record;
    if (answer.why === 'busy' && !record.wait) return undefined;
    if (answer.why === 'reentrant' && record.isLegacy && !holder.single) {
      const lock = holder.find(record.resource);
      if (lock?.isExclusive === true) return lock;
    }
    throw refusalError(answer, record.names, holder.label);
  }

  /** A grant of a store in this process has come. */
  #arrive(record: LockRecord, pending: Pending<LockRecord> | undefined): LockRecord {
    const ask = record.ask;
    if (ask?.upgradeOf !== undefined) return this.#upgraded(record, ask.upgradeOf, undefined, pending);
    record.status = 'held';
    this.owners.addHeld(record);
    if (ask?.leaseMs !== undefined)
      this.#timers.start(record, ask.leaseMs, ask.renew, this.runtime.clock.mono());
    this.#reports.acquired(record, pending);
    const { book } = record;
    if (book?.firstWait !== undefined) this.#shareWith(record, book);
    return record;
  }

  /** A grant of a store that may be far has come. @throws LEASE_LOST when it took longer than its lease to come */
  #arriveFar(record: LockRecord, grant: Grant, sentAt: number): LockRecord {
    const now = this.runtime.clock.mono();
    const ask = record.ask;
    const { pending } = record;
    if (ask?.upgradeOf !== undefined) return this.#upgraded(record, ask.upgradeOf, grant, pending);
    record.setFar(grant, now);
    record.status = 'held';
    this.owners.addHeld(record);
    if (
      ask?.leaseMs !== undefined &&
      !this.#timers.start(record, ask.leaseMs, ask.renew, sentAt, grant.expiresInMs)
    ) {
      const late = lostError(record);
      record.abort(late);
      handled(this.release(record));
      throw late;
    }
    this.#reports.acquired(record, pending);
    const { book } = record;
    if (book?.firstWait !== undefined) this.#shareWith(record, book);
    return record;
  }

  /** Other documented calls of the same agent for the same resource get the same lease. */
  #shareWith(lock: LockRecord, book: OwnerBook<LockRecord>): void {
    if (!lock.isExclusive) return;
    for (const other of book.waits()) {
      const { pending } = other;
      if (!other.isLegacy || pending === undefined || other.resource !== lock.resource) continue;
      this.#endWait(other, pending);
      other.status = 'failed';
      if (!other.isUnderWay) this.#withdraw(other);
      this.#settle(other, pending, () => lock);
    }
  }

  #upgraded(
    record: LockRecord,
    lock: LockRecord,
    grant: Grant | undefined,
    pending: Pending<LockRecord> | undefined,
  ): LockRecord {
    record.status = 'released';
    if (lock.status !== 'held') throw lock.reason ?? lostWait(record);
    lock.changeModes(record.plan.items, grant);
    this.#reports.acquired(lock, pending);
    return lock;
  }

  // ── ends of waits

  /** Ends a wait from this side: time, abort, an agent that left. Nothing of it stays behind (L6). */
  fail(record: LockRecord, error: unknown): void {
    const { pending } = record;
    if (record.status !== 'waiting' || pending === undefined) return;
    this.#endWait(record, pending);
    record.status = 'failed';
    // What isn't answered yet is withdrawn when it is: a withdrawal must not overtake its request.
    if (!record.isUnderWay) this.#withdraw(record);
    this.#settle(record, pending, () => {
      throw error;
    });
  }

  #failed(record: LockRecord, pending: Pending<LockRecord>, error: unknown): void {
    record.status = 'failed';
    const { holder } = record;
    if (error instanceof DeadlockError && !holder.single) holder.defeated = true;
    if (pending.queued) this.#reports.abandoned(pending, error);
    pending.reject(error);
    this.#left(record);
  }

  /** Takes a wait out of everything that may end it. */
  #endWait(record: LockRecord, pending: Pending<LockRecord>): void {
    this.#timeouts.remove(pending);
    if (pending.onAbort !== undefined) record.ask?.signal?.removeEventListener('abort', pending.onAbort);
    this.owners.removeWait(record);
    record.pending = undefined;
  }

  #withdraw(record: LockRecord): void {
    if (record.quick !== undefined) this.#quick?.give(record.quick);
    else void this.#giveBack([{ id: record.waitId }]);
  }

  #timedOut(pending: Pending<LockRecord>): void {
    const { record, timeoutMs } = pending;
    const holders = pending.holders ?? this.#blockersOf(record);
    this.fail(record, new LockTimeoutError(record.resource, holders, timeoutMs));
  }

  /** At most 5 agents or owners that stand in the way of a wait now. */
  #blockersOf(record: LockRecord): readonly string[] {
    if (record.quick !== undefined) this.#quick?.expose(record.quick);
    const needs = this.store.live?.requirements(record.holder.id) ?? [];
    const nodes = needs.flatMap(({ blockers }) => blockers.slice(0, 5).map(({ node }) => node));
    return [...new Set(nodes)].slice(0, 5).map((node) => this.owners.labelOf(node) ?? nodeName(node));
  }

  /** Lets people ask about the waits of an owner that was made for one request. */
  expose(owner: string): void {
    for (const { quick } of this.owners.recordsOf(owner)) {
      if (quick !== undefined) this.#quick?.expose(quick);
    }
  }

  // ── releasing

  /** Gives a lock back; who waits for it has it before this returns, if the store is in this process. */
  release(lock: LockRecord): Promise<void> {
    if (lock.status !== 'held') return DONE;
    lock.status = 'released';
    this.#delist(lock);
    // Said before the next holder is: whoever reads events sees them in the order in which they were.
    this.#reports.released(lock);
    if (this.#versions !== undefined) this.#bump(lock, this.#versions);
    const { quick } = lock;
    if (quick !== undefined) {
      (this.#quick as QuickLocks).give(quick);
      this.#left(lock);
      return DONE;
    }
    const { id, token } = lock.grant;
    const done = this.#giveBack([{ id, token }]);
    this.#left(lock);
    return isPromise(done) ? done : DONE;
  }

  /** Under an exclusive lock the resource may have changed. */
  #bump(lock: LockRecord, versions: OptimisticLockManager): void {
    for (const { resource, mode } of lock.namedItems()) if (mode === 'exclusive') versions.bump(resource);
  }

  /** Of a failure nobody can be told but the log: the lock is gone for its user whatever comes. */
  #giveBack(items: readonly LockRelease[]): Awaitable<void> {
    const failed = (error: unknown): void => {
      this.runtime.logger.warn('A lock could not be given back', { error: String(error) });
    };
    try {
      const answer = this.operations.run((op) => this.store.release(op, items));
      return isPromise(answer) ? answer.then(() => undefined, failed) : undefined;
    } catch (error) {
      return failed(error);
    }
  }

  /** The store, or the clock, says that it isn't ours any more. */
  lost(lock: LockRecord, reason: CoordinationError): void {
    if (lock.status !== 'held') return;
    lock.status = 'lost';
    this.#delist(lock);
    this.#reports.expired(lock);
    lock.abort(reason);
    this.#left(lock);
  }

  /** Its own deadline came without a renewal: it stops here before the store gives it to somebody else. */
  #gaveUp(lock: LockRecord): void {
    this.lost(lock, lock.reason ?? lostError(lock));
    if (lock.quick !== undefined) this.#quick?.give(lock.quick);
    else void this.#giveBack([{ id: lock.grant.id, token: lock.grant.token }]);
  }

  /** Somebody takes it back: its user is told to stop, and may still release in good order. */
  #revoked(lock: LockRecord, answer: Grant): void {
    const why = answer.revoked as string;
    const reason = new CoordinationError(
      'LOCK_REVOKED',
      `The lock on ${lock.names.join(', ')} was taken back: ${why}`,
      { hint: 'Stop and release it; it ends by itself after the grace.' },
    );
    lock.abort(reason, true);
    if (answer.expiresInMs <= 0) this.lost(lock, reason);
    else this.#timers.limit(lock, answer.expiresInMs);
  }

  expiresInMs(lock: LockRecord): number {
    if (lock.status !== 'held') return 0;
    const { terms } = lock;
    return terms === undefined
      ? Number.POSITIVE_INFINITY
      : Math.max(0, terms.deadline - this.runtime.clock.mono());
  }

  ageMs(lock: LockRecord): number {
    if (lock.quick !== undefined) return this.#quick?.ageMs(lock.quick) ?? 0;
    return this.runtime.clock.mono() - lock.grantedAt;
  }

  // ── changes of held locks

  async upgrade(
    lock: LockRecord,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<void> {
    const items = upgraded(lock.plan.items);
    if (items.every((item, i) => item.mode === lock.plan.items[i]?.mode)) return;
    const ask: AskOptions = {
      plan: { names: lock.names, items },
      signal: options.signal,
      leaseMs: undefined,
      renew: true,
      reentrant: false,
      wait: true,
      legacy: false,
      upgradeOf: lock,
    };
    await this.acquire(lock.holder, ask, lock.holder.priority, options.timeoutMs ?? this.#timeoutMs);
  }

  async downgrade(lock: LockRecord): Promise<void> {
    const items = downgraded(lock.plan.items);
    if (items.every((item, i) => item.mode === lock.plan.items[i]?.mode)) return;
    const { id, token } = lock.grant;
    lock.changeModes(items, undefined);
    this.#reports.acquired(lock, undefined);
    const { ended } = await this.operations.run((op) =>
      this.store.release(op, [{ id, token, downgradeTo: 'shared' }]),
    );
    if (ended[0] !== true) this.lost(lock, lostError(lock));
  }

  fenced<R>(lock: LockRecord, write: (token: number) => R | Promise<R>): Promise<R> {
    return this.#fences.write(lock, write);
  }

  // ── owners

  #delist(lock: LockRecord): void {
    this.owners.removeHeld(lock);
    if (lock.terms !== undefined) this.#timers.stop(lock);
  }

  /** Something of an owner has ended. If nothing is left, it has finished. */
  #left(record: LockRecord): void {
    const { book } = record;
    if (book === undefined) {
      if (record.isAwaited && this.owners.recordsOf(record.holder.id).length === 0) finish(record.holder);
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
    const holder = this.owners.find(owner);
    if (holder !== undefined) return holder.single || !holder.idle;
    const { live } = this.store;
    if (live === undefined) return true;
    return live.isWaiting(owner) || (live.owner(owner)?.locks ?? 0) > 0;
  }

  /** Resolves when an owner holds and wants nothing any more, or after this time. */
  untilFinished(owner: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const holder = this.owners.find(owner);
    if (holder?.single === false && holder.idle) return DONE;
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      let timer: Timer | undefined;
      let poll: Timer | undefined;
      const end = (): void => {
        timer?.cancel();
        poll?.cancel();
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const onAbort = (): void => {
        end();
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      if (timeoutMs !== Number.POSITIVE_INFINITY) timer = this.runtime.clock.after(timeoutMs, end, true);
      if (holder !== undefined) {
        holder.finishers ??= [];
        holder.finishers.push(end);
        return;
      }
      // Somebody else's: another process, or another manager on the same store.
      const { live } = this.store;
      const look = (): void => {
        if (live?.isWaiting(owner) !== true && (live?.owner(owner)?.locks ?? 0) === 0) end();
        else poll = this.runtime.clock.after(ELSEWHERE_MS, look, true);
      };
      if (live === undefined) poll = this.runtime.clock.after(ELSEWHERE_MS, look, true);
      else look();
    });
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

function lostWait(record: LockRecord): CoordinationError {
  const what = record.names.join(', ');
  const upgrade = record.upgradeOf !== undefined;
  const why = upgrade ? 'the lock is not held any more' : 'its session is over';
  return new CoordinationError(
    'LEASE_LOST',
    `The ${upgrade ? 'upgrade of' : 'wait for'} ${what} ended: ${why}`,
    { hint: 'Acquire it again.' },
  );
}

/** The verdict of a detection, wherever it was made. */
function verdictOf({ holder }: LockRecord, cycle: DeadlockError['cycle']): DeadlockError {
  const agents = [...new Set(cycle.map((edge) => edge.agent ?? edge.waiter))];
  const resources = [
    ...new Set(cycle.flatMap(({ by, what }) => (by === 'lock' || by === 'semaphore' ? [what] : []))),
  ];
  const own = cycle.findIndex(({ waiter }) => waiter === holder.id);
  const survivor = own < 0 ? holder.id : survivorOf([...cycle.slice(own), ...cycle.slice(0, own)]);
  return new DeadlockError({ cycle, agents, resources, survivor });
}
