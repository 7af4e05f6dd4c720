import { isPromise } from '../core/awaitable.ts';
import { checkId } from '../core/check.ts';
import type { EventSink } from '../core/events.ts';
import { EXCLUSIVE } from '../core/lock-modes.ts';
import type { Operations } from '../core/operations.ts';
import type {
  LockAnswer,
  LockOrder,
  LockStore,
  QuickAnswer,
  QuickGrant,
  QuickLocks,
} from '../core/ports/locks.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Awaitable, BackendTime, SessionNumber } from '../core/ports/words.ts';
import { FenceRegister } from './fence-register.ts';
import { HeldLocks } from './held-locks.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { type AskOptions, DEFAULT_PRIORITY, type Holder, type LockHost, LockRecord } from './lock-record.ts';
import { LockCalls } from './lock-calls.ts';
import { LockOutcomes } from './lock-outcomes.ts';
import { LockReports } from './lock-reports.ts';
import { lostWait } from './lost-errors.ts';
import { ModeChanges, type UpgradeOptions } from './mode-changes.ts';
import { Moment, Moments } from './moment.ts';
import type { OptimisticLockManager } from './optimistic-lock-manager.ts';
import { SingleOwner } from './owner-book.ts';
import { OwnerWork } from './owner-work.ts';
import { OwnerRegistry } from './owner-registry.ts';
import { PendingWaits } from './pending-waits.ts';
import type { WaitForGraph } from './wait-for-graph.ts';

export interface LockClientOptions {
  readonly runtime: Runtime;
  readonly store: LockStore;
  readonly operations: Operations;
  /** Most items of one call to a store across a network; absent: it is in this process. */
  readonly farBatch?: number | undefined;
  readonly events: EventSink;
  readonly graph: WaitForGraph;
  readonly order: LockOrder;
  /** Longest wait of an upgrade that doesn't say. */
  readonly timeoutMs: number;
  readonly versions?: OptimisticLockManager | undefined;
}

/**
 * This process's side of the lock store: sends requests, and says who hears the answers. All user input was checked before. What becomes of a
 * request is decided in `outcomes`; what waits is in `waits`, what is held in `held`.
 */
export class LockClient implements LockHost {
  readonly runtime: Runtime;
  readonly store: LockStore;
  readonly operations: Operations;
  readonly keeper: LeaseKeeper;
  readonly owners: OwnerRegistry;
  readonly work: OwnerWork;
  readonly held: HeldLocks;
  readonly waits: PendingWaits;
  readonly outcomes: LockOutcomes;
  readonly order: LockOrder;
  readonly #quick: QuickLocks | undefined;
  readonly #graph: WaitForGraph;
  readonly #calls: LockCalls;
  readonly #modes: ModeChanges;
  readonly #reports: LockReports;
  readonly #fences: FenceRegister;
  readonly #moments: Moments;
  readonly #scopeId = (): string => this.newId('scope');
  #nextId = 0;

  constructor(options: LockClientOptions) {
    const { runtime, store, operations, events, graph, order, timeoutMs, versions } = options;
    this.runtime = runtime;
    this.store = store;
    this.operations = operations;
    this.order = order;
    this.#quick = store.quick;
    this.#graph = graph;
    this.#calls = new LockCalls({ store, operations, clock: runtime.clock, farBatch: options.farBatch });
    this.#fences = new FenceRegister(events);
    this.#moments = new Moments(runtime.clock);
    const reports = new LockReports(events, runtime.clock);
    const owners = new OwnerRegistry(
      (book) => book.since === 0 && graph.defeats(book.id) === 0,
      () => this.#inStore(),
    );
    const keeper = new LeaseKeeper(store, () => this.session, runtime.clock, options.farBatch);
    const work = new OwnerWork(owners, graph, store, runtime.clock);
    this.#reports = reports;
    this.owners = owners;
    this.keeper = keeper;
    this.work = work;
    this.held = new HeldLocks({
      runtime,
      store,
      calls: this.#calls,
      sessionMs: () => operations.leftMs?.() ?? Number.POSITIVE_INFINITY,
      keeper,
      owners,
      work,
      reports,
      versions,
    });
    this.waits = new PendingWaits({ store, graph, owners, work, reports, held: this.held }, runtime.clock);
    const { held, waits } = this;
    const ask = (record: LockRecord, ms: number): Awaitable<LockRecord | undefined> => this.#ask(record, ms);
    this.#modes = new ModeChanges({ store, operations, held, reports, timeoutMs, ask });
    this.outcomes = new LockOutcomes({ clock: runtime.clock, keeper, graph, reports, work, held, waits });
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
    return this.single(undefined, undefined, DEFAULT_PRIORITY);
  }

  /** Unique in the mesh: session numbers are never used twice. */
  newId(kind: string): string {
    this.#nextId += 1;
    return `${kind}-${this.session}-${this.#nextId}`;
  }

  /** What the store in this process has of this client's by the quick way. */
  *#inStore(): Iterable<LockRecord> {
    for (const listener of this.#quick?.listeners() ?? []) {
      if (!(listener instanceof LockRecord) || listener.host !== this || listener.quick === undefined)
        continue;
      if (listener.status === 'held' || listener.status === 'waiting') yield listener;
    }
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
    return this.#ask(record, timeoutMs);
  }

  #ask(record: LockRecord, timeoutMs: number): Awaitable<LockRecord | undefined> {
    if (this.#quick === undefined) return this.#send(record, timeoutMs);
    return this.#inPlace(record, this.#quick.ask(this.session, record.request()), timeoutMs);
  }

  /** The answer of a store in this process. */
  #inPlace(record: LockRecord, answer: QuickAnswer, timeoutMs: number): Awaitable<LockRecord | undefined> {
    if ('status' in answer) {
      if (answer.status !== 'lost') return this.outcomes.refused(record, answer);
      if (record.upgradeOf !== undefined) throw lostWait(record.names, true);
      // The session is over: by the port's own method the request finds the next one.
      return this.#send(record, timeoutMs);
    }
    record.quick = answer;
    if (answer.state !== 'waiting') return this.outcomes.arrive(record, undefined);
    const pending = this.waits.begin(record, timeoutMs, this.#moments.begin());
    const { ahead, suspect, since } = answer.wait as NonNullable<QuickGrant['wait']>;
    const { book } = record;
    if (book !== undefined) this.work.began(book, since);
    if (record.status !== 'waiting') return pending.promise;
    this.#reports.waited(record, ahead);
    // A listener may have ended it. Nobody can wait for an owner that holds nothing and whose id nobody has.
    if (record.pending === pending && (suspect || book !== undefined))
      this.#graph.entered(record.holder.id, !suspect);
    return pending.promise;
  }

  /** Asks a store that may be far. */
  #send(record: LockRecord, timeoutMs: number): Awaitable<LockRecord | undefined> {
    const began = new Moment(this.runtime.clock).end();
    const { holder } = record;
    // Its age when it holds something; else the store knows what time it is.
    if (!holder.single) this.work.began(holder, 0 as BackendTime);
    const request = record.request();
    const answered = this.#calls.request(request);
    if (!isPromise(answered))
      return this.outcomes.first(record, answered.answer, answered.at, began, timeoutMs);
    const pending = this.waits.begin(record, timeoutMs, began);
    record.isUnderWay = true;
    answered.then(
      ({ answer, at }) => this.outcomes.late(pending, answer, at),
      (error: unknown) => {
        record.isUnderWay = false;
        // It may have been carried out all the same: whoever gave up before could not withdraw it.
        if (record.status === 'failed') this.held.withdraw(record);
        else this.waits.fail(record, error);
      },
    );
    return pending.promise;
  }

  // ── what its locks ask for

  /** A store in this process has granted it. */
  granted(record: LockRecord): void {
    this.outcomes.granted(record);
  }

  /** The store says what became of it. */
  changed(record: LockRecord, answer: LockAnswer): void {
    this.outcomes.changed(record, answer);
  }

  release(lock: LockRecord): Promise<void> {
    return this.held.release(lock);
  }

  expiresInMs(lock: LockRecord): number {
    return this.held.expiresInMs(lock);
  }

  ageMs(lock: LockRecord): number {
    return this.held.ageMs(lock);
  }

  upgrade(lock: LockRecord, options: UpgradeOptions): Promise<void> {
    return this.#modes.upgrade(lock, options);
  }

  downgrade(lock: LockRecord): Promise<void> {
    return this.#modes.downgrade(lock);
  }

  fenced<R>(lock: LockRecord, write: (token: number) => R | Promise<R>): Promise<R> {
    return this.#fences.write(lock, write);
  }

  /** Lets people ask about the waits of an owner that was made for one request. */
  expose(owner: string): void {
    for (const { quick } of this.owners.recordsOf(owner)) {
      if (quick !== undefined) this.#quick?.expose(quick);
    }
  }
}
