import { handled, isPromise } from '../core/awaitable.ts';
import { DeadlockError } from '../core/deadlock-error.ts';
import { CoordinationError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import { modeName } from '../core/lock-modes.ts';
import type { Operations } from '../core/operations.ts';
import type {
  Grant,
  GrantRef,
  LockAnswer,
  LockOrder,
  LockStore,
  QuickAnswer,
  QuickGrant,
} from '../core/ports/locks.ts';
import type { Runtime, Timer } from '../core/ports/runtime.ts';
import type { Awaitable, BackendTime, SessionNumber } from '../core/ports/words.ts';
import { refuseFence } from './fence.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { LeaseTimers } from './lease-timers.ts';
import { LockTimeoutError } from './lock-timeout-error.ts';
import { type LockAsk, LockWait, type WaitHost } from './lock-wait.ts';
import { HeldLock, type LockHost, lostError, OwnerBook } from './owner-book.ts';
import type { OptimisticLockManager } from './optimistic-lock-manager.ts';
import { refusalError } from './refusal.ts';
import { downgraded, upgraded } from './resource-request.ts';
import type { WaitForGraph } from './wait-for-graph.ts';
import { WaitTimeouts } from './wait-timeouts.ts';

const DONE: Promise<void> = Promise.resolve();
/** Resources whose newest seen token is remembered; locks of forgotten ones are still refused once they are lost. */
const MAX_FENCES = 100_000;
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
 * This process's side of the lock store: sends requests, hears what becomes of them, and knows who holds and wants what here. All user
 * input was checked before.
 */
export class LockClient implements LockHost, WaitHost {
  readonly runtime: Runtime;
  readonly store: LockStore;
  readonly operations: Operations;
  readonly keeper: LeaseKeeper;
  readonly #events: EventSink;
  readonly #graph: WaitForGraph;
  readonly order: LockOrder;
  readonly #timeoutMs: number;
  readonly #versions: OptimisticLockManager | undefined;
  readonly #timers: LeaseTimers;
  /** Owners with a name of their own. */
  readonly books = new Map<string, OwnerBook>();
  /** Owners of one request, linked. */
  #singles: OwnerBook | undefined;
  readonly #timeouts: WaitTimeouts;
  readonly #fences = new Map<string, number>();
  #nextId = 0;
  #booksLimit = 16_384;

  constructor(options: LockClientOptions) {
    this.runtime = options.runtime;
    this.store = options.store;
    this.operations = options.operations;
    this.#events = options.events;
    this.#graph = options.graph;
    this.order = options.order;
    this.#timeoutMs = options.timeoutMs;
    this.#versions = options.versions;
    this.keeper = new LeaseKeeper(this.store, () => this.session, this.runtime.clock);
    this.#timeouts = new WaitTimeouts(this.runtime.clock, (wait) => this.#timedOut(wait));
    this.#timers = new LeaseTimers(this.runtime.clock, this.keeper, (lock) => this.#gaveUp(lock));
  }

  /** Known once the backend has been started. */
  get session(): SessionNumber {
    return this.operations.session;
  }

  // ── owners

  /** The record of an owner with a name; made if there is none. */
  book(id: string, agent: string | undefined, task: string | undefined, priority: number): OwnerBook {
    let book = this.books.get(id);
    if (book === undefined) {
      if (this.books.size >= this.#booksLimit) this.#sweepBooks();
      book = new OwnerBook(id, agent, task, priority, false);
      this.books.set(id, book);
    }
    return book;
  }

  /** A record for one request; its id is made when somebody reads it. */
  single(agent: string | undefined, task: string | undefined, priority: number): OwnerBook {
    return new OwnerBook(() => this.newId('scope'), agent, task, priority, true);
  }

  /** Unique in the mesh: session numbers are never used twice. */
  newId(kind: string): string {
    this.#nextId += 1;
    return `${kind}-${this.session}-${this.#nextId}`;
  }

  *locks(): Iterable<HeldLock> {
    for (const book of this.allBooks()) yield* book.locks();
  }

  *waits(): Iterable<LockWait> {
    for (const book of this.allBooks()) yield* waitsOf(book);
  }

  *allBooks(): Iterable<OwnerBook> {
    yield* this.books.values();
    for (let book = this.#singles; book !== undefined; book = book.next) yield book;
  }

  *waitingNodes(): Iterable<string> {
    for (const book of this.allBooks()) if (book.firstWait !== undefined) yield book.id;
  }

  /** The record of an owner that holds or wants something here. */
  findBook(id: string): OwnerBook | undefined {
    const known = this.books.get(id);
    if (known !== undefined) return known;
    for (let book = this.#singles; book !== undefined; book = book.next) if (book.id === id) return book;
    return undefined;
  }

  #sweepBooks(): void {
    for (const [id, book] of this.books) {
      if (book.idle && book.since === 0 && this.#graph.defeats(id) === 0) this.books.delete(id);
    }
    this.#booksLimit = Math.max(16_384, this.books.size * 2);
  }

  // ── acquiring

  /** One free exclusive resource, in place. `undefined`: ask the long way. */
  quick(resource: string, mode: number, book: OwnerBook): HeldLock | undefined {
    const { quick } = this.store;
    if (quick === undefined) return undefined;
    const grant = quick.take(this.session, resource, mode, book);
    if (grant === undefined) return undefined;
    const lock = new HeldLock(this, book, resource, grant, grant, undefined);
    grant.listener = lock;
    this.#enter(book);
    book.add(lock);
    if (this.#events.wants('resource:acquired')) this.#reportAcquired(lock, 0);
    return lock;
  }

  /** Resolves with the lock, or with `undefined` when it may not wait. */
  acquire(ask: LockAsk): Awaitable<HeldLock | undefined> {
    if (ask.signal?.aborted === true) return Promise.reject(ask.signal.reason as Error);
    const { book } = ask;
    book.priority = ask.priority;
    if (!book.single) {
      if (this.#graph.hasDefeats) book.defeats = this.#graph.defeats(book.id);
      if (book.since === 0 && book.count > 0) book.since = oldestToken(book);
    }
    const wait = new LockWait(this, ask, this.runtime.clock.mono());
    const { quick } = this.store;
    if (quick !== undefined) return this.#inPlace(wait, quick.ask(this.session, wait));
    const answer = this.operations.run((op) => this.store.request(op, [wait]));
    if (!isPromise(answer)) return this.#first(wait, answer.answers[0] as LockAnswer, answer.at);
    const promise = this.#begin(wait);
    answer.then(
      ({ answers, at }) => this.#late(wait, answers[0] as LockAnswer, at),
      (error: unknown) => {
        wait.answered = true;
        this.fail(wait, error);
      },
    );
    return promise;
  }

  /** The answer of a store in this process. */
  #inPlace(wait: LockWait, answer: QuickAnswer): Awaitable<HeldLock | undefined> {
    wait.answered = true;
    switch (answer.status) {
      case 'granted':
        wait.grant = answer.grant;
        return this.#arrive(wait, undefined, wait.startedAt);
      case 'waiting': {
        wait.grant = answer.grant;
        const { book } = wait.ask;
        const promise = this.#begin(wait);
        if (book.since === 0 && !book.single) book.since = answer.since;
        wait.queued = true;
        this.#reportWaiting(wait, answer.ahead);
        // Nobody may wait for its locks (`suspect` false), yet for the owner itself: a parent for its child, an asker for its reply.
        if (!wait.settled && (answer.suspect || !book.single)) this.#graph.entered(book.id, !answer.suspect);
        return promise;
      }
      case 'refused':
        return this.#refused(wait, answer);
      default:
        throw lostWait(wait);
    }
  }

  #first(wait: LockWait, answer: LockAnswer, at: BackendTime): Awaitable<HeldLock | undefined> {
    wait.answered = true;
    if (wait.held !== undefined) return wait.held;
    switch (answer.status) {
      case 'granted':
        return this.#arrive(wait, answer, wait.startedAt);
      case 'waiting': {
        const promise = this.#begin(wait);
        this.#queued(wait, answer, at);
        return promise;
      }
      case 'refused':
        return this.#refused(wait, answer);
      default:
        throw lostWait(wait);
    }
  }

  /** The first answer of a store across a network; the wait may have ended meanwhile. */
  #late(wait: LockWait, answer: LockAnswer, at: BackendTime): void {
    wait.answered = true;
    if (wait.settled) {
      if (wait.held === undefined && (answer.status === 'granted' || answer.status === 'waiting')) {
        this.#withdraw(wait);
      }
      return;
    }
    if (answer.status === 'waiting') this.#queued(wait, answer, at);
    else this.changed(wait, answer, wait.startedAt);
  }

  /** Makes the promise, and arms everything that may end the wait. */
  #begin(wait: LockWait): Promise<HeldLock> {
    const { book, signal } = wait.ask;
    const promise = wait.promise();
    this.#enter(book);
    book.addWait(wait);
    this.#timeouts.add(wait);
    if (signal !== undefined) {
      wait.onAbort = () => this.fail(wait, signal.reason);
      signal.addEventListener('abort', wait.onAbort, { once: true });
    }
    return promise;
  }

  /** It waits in the store: that may close a cycle. */
  #queued(wait: LockWait, answer: LockAnswer & { readonly status: 'waiting' }, at: BackendTime): void {
    const { book } = wait.ask;
    wait.holders = answer.holders.map(({ owner, agent }) => agent ?? owner);
    if (book.since === 0 && !book.single) book.since = at;
    if (wait.settled) return;
    wait.queued = true;
    if (answer.pushed !== true) this.#poll(wait);
    this.#reportWaiting(wait, answer.ahead);
    if (!wait.settled) this.#graph.entered(book.id);
  }

  #poll(wait: LockWait): void {
    this.keeper.add(
      {
        id: wait.id,
        token: undefined,
        answered: (answer, sentAt) => {
          if (wait.settled) return undefined;
          if (answer.status === 'waiting') return POLL_MS;
          this.changed(wait, answer, sentAt);
          return undefined;
        },
      },
      POLL_MS,
    );
  }

  /** What became of a wait. */
  changed(wait: LockWait, answer: LockAnswer, sentAt = this.runtime.clock.mono()): void {
    if (wait.settled) {
      if (answer.status === 'granted' && wait.held === undefined && wait.answered) this.#withdraw(wait);
      return;
    }
    try {
      switch (answer.status) {
        case 'waiting':
          return;
        case 'granted':
          this.#settle(wait);
          wait.resolve(this.#arrive(wait, answer, sentAt));
          this.#left(wait.ask.book);
          return;
        case 'aborted':
          throw verdictOf(wait, answer.cycle);
        case 'refused': {
          const outcome = this.#refused(wait, answer);
          this.#settle(wait);
          wait.resolve(outcome as HeldLock);
          this.#left(wait.ask.book);
          return;
        }
        default:
          throw lostWait(wait);
      }
    } catch (error) {
      this.#ended(wait, error);
    }
  }

  #refused(wait: LockWait, answer: LockAnswer & { readonly status: 'refused' }): HeldLock | undefined {
    const { ask } = wait;
    if (answer.why === 'busy' && !ask.wait) return undefined;
    if (answer.why === 'reentrant' && ask.legacy) {
      const lock = ask.book.find(ask.plan.names[0] as string);
      if (lock !== undefined && isExclusive(lock)) return lock;
    }
    throw refusalError(answer, ask.plan.names, ask.book.label);
  }

  /** A grant has come. @throws LEASE_LOST when it took longer than its lease to come */
  #arrive(wait: LockWait, grant: Grant | undefined, sentAt: number): HeldLock {
    const { ask } = wait;
    if (ask.upgradeOf !== undefined) return this.#upgraded(wait, ask.upgradeOf, grant);
    const { plan, book } = ask;
    const quick = wait.grant;
    const lock = new HeldLock(this, book, plan.names[0] as string, (quick ?? grant) as GrantRef, quick, plan);
    wait.held = lock;
    if (quick === undefined) lock.grantedAt = this.runtime.clock.mono();
    this.#enter(book);
    book.add(lock);
    if (
      ask.leaseMs !== undefined &&
      !this.#timers.start(lock, ask.leaseMs, ask.renew, sentAt, grant?.expiresInMs)
    ) {
      const late = lostError(lock);
      lock.abort(late);
      handled(this.release(lock));
      throw late;
    }
    if (this.#events.wants('resource:acquired')) {
      this.#reportAcquired(lock, this.runtime.clock.mono() - wait.startedAt);
    }
    if (book.firstWait !== undefined) this.#shareWith(lock);
    return lock;
  }

  /** Other documented calls of the same agent for the same resource get the same lease. */
  #shareWith(lock: HeldLock): void {
    for (const other of waitsOf(lock.book)) {
      const { ask } = other;
      if (!ask.legacy || other.settled || ask.plan.names[0] !== lock.resource || !isExclusive(lock)) continue;
      this.#settle(other);
      other.held = lock;
      if (other.answered) this.#withdraw(other);
      other.resolve(lock);
      this.#left(lock.book);
    }
  }

  #upgraded(wait: LockWait, lock: HeldLock, grant: Grant | undefined): HeldLock {
    wait.held = lock;
    if (lock.status !== 'held') throw lock.reason ?? lostWait(wait);
    lock.changeModes(wait.ask.plan.items, grant);
    if (this.#events.wants('resource:acquired')) {
      this.#reportAcquired(lock, this.runtime.clock.mono() - wait.startedAt);
    }
    return lock;
  }

  /** A store in this process has granted it; what was granted is in {@link LockWait.grant}. */
  granted(wait: LockWait): void {
    if (wait.settled) return;
    this.#settle(wait);
    try {
      wait.resolve(this.#arrive(wait, undefined, wait.startedAt));
      this.#left(wait.ask.book);
    } catch (error) {
      this.#ended(wait, error);
    }
  }

  // ── ends of waits

  /** Ends a wait from this side: time, abort, an agent that left. Nothing of it stays behind (L6). */
  fail(wait: LockWait, error: unknown): void {
    if (wait.settled) return;
    // What isn't answered yet is withdrawn when it is: a withdrawal must not overtake its request.
    if (wait.answered) this.#withdraw(wait);
    this.#ended(wait, error);
  }

  #ended(wait: LockWait, error: unknown): void {
    if (!wait.settled) this.#settle(wait);
    const { book, plan } = wait.ask;
    if (error instanceof DeadlockError) book.defeated = true;
    if (wait.queued && this.#events.wants('resource:abandoned')) {
      this.#events.emit('resource:abandoned', {
        resourceId: plan.names[0] as string,
        agentId: book.label,
        waitedMs: this.runtime.clock.mono() - wait.startedAt,
        code: codeOf(error),
      });
    }
    wait.reject(error);
    this.#left(book);
    if (book.idle) this.#idle(book);
  }

  #settle(wait: LockWait): void {
    const { book, signal } = wait.ask;
    wait.settled = true;
    this.#timeouts.remove(wait);
    if (wait.onAbort !== undefined) signal?.removeEventListener('abort', wait.onAbort);
    book.removeWait(wait);
    this.#leave(book);
  }

  #left(book: OwnerBook): void {
    // Its id needn't be made when nobody asks.
    if (this.#graph.hasOpen) this.#graph.left(book.id);
  }

  #withdraw(wait: LockWait): void {
    const { grant } = wait;
    if (grant !== undefined) this.store.quick?.give(grant);
    else void this.#send(() => this.operations.run((op) => this.store.release(op, [{ id: wait.id }])));
  }

  #timedOut(wait: LockWait): void {
    const { plan, timeoutMs } = wait.ask;
    const holders = wait.grant === undefined ? wait.holders : this.#blockersOf(wait, wait.grant);
    this.fail(wait, new LockTimeoutError(plan.names[0] as string, holders, timeoutMs));
  }

  /** At most 5 agents or owners that stand in the way of a wait now. */
  #blockersOf(wait: LockWait, grant: QuickGrant): readonly string[] {
    this.store.quick?.expose(grant);
    const needs = this.store.live?.requirements(wait.ask.book.id) ?? [];
    const nodes = needs.flatMap(({ blockers }) => blockers.slice(0, 5).map(({ node }) => node));
    return [...new Set(nodes)].slice(0, 5).map((node) => this.findBook(node)?.label ?? node);
  }

  /** Lets people ask about the waits of an owner that was made for one request. */
  expose(owner: string): void {
    for (const { grant } of waitsOf(this.findBook(owner))) {
      if (grant !== undefined) this.store.quick?.expose(grant);
    }
  }

  // ── releasing

  /** Gives a lock back; who waits for it has it before this returns, if the store is in this process. */
  release(lock: HeldLock): Promise<void> {
    if (lock.status !== 'held') return DONE;
    lock.status = 'released';
    this.#delist(lock);
    // Said before the next holder is: whoever reads events sees them in the order in which they were.
    if (this.#events.wants('resource:released')) this.#reportReleased(lock);
    if (this.#versions !== undefined) this.#bump(lock, this.#versions);
    const { quick } = lock;
    if (quick !== undefined) {
      (this.store.quick as NonNullable<LockStore['quick']>).give(quick);
      if (lock.book.idle) this.#idle(lock.book);
      return DONE;
    }
    const { id, token } = lock.grant;
    const done = this.#send(() => this.operations.run((op) => this.store.release(op, [{ id, token }])));
    if (lock.book.idle) this.#idle(lock.book);
    return isPromise(done) ? done : DONE;
  }

  /** Under an exclusive lock the resource may have changed. */
  #bump(lock: HeldLock, versions: OptimisticLockManager): void {
    for (const { resource, mode } of lock.namedItems()) if (mode === 'exclusive') versions.bump(resource);
  }

  /** Sends what nobody can be told of but a log: the lock is gone for its user whatever comes. */
  #send(send: () => Awaitable<unknown>): Awaitable<void> {
    const failed = (error: unknown): void => {
      this.runtime.logger.warn('A lock could not be given back', { error: String(error) });
    };
    try {
      const answer = send();
      return isPromise(answer) ? answer.then(() => undefined, failed) : undefined;
    } catch (error) {
      return failed(error);
    }
  }

  /** The store, or the clock, says that it isn't ours any more. */
  lost(lock: HeldLock, reason: CoordinationError): void {
    if (lock.status !== 'held') return;
    lock.status = 'lost';
    this.#delist(lock);
    if (this.#events.wants('resource:expired')) {
      for (const { resource, token } of lock.namedItems()) {
        this.#events.emit('resource:expired', { resourceId: resource, agentId: lock.book.label, token });
      }
    }
    lock.abort(reason);
    if (lock.book.idle) this.#idle(lock.book);
  }

  /** Its own deadline came without a renewal: it stops here before the store gives it to somebody else. */
  #gaveUp(lock: HeldLock): void {
    this.lost(lock, lock.reason ?? lostError(lock));
    const { id, token } = lock.grant;
    void this.#send(() => this.operations.run((op) => this.store.release(op, [{ id, token }])));
  }

  /** Somebody takes it back: its user is told to stop, and may still release in good order. */
  revoked(lock: HeldLock, answer: Grant): void {
    const why = answer.revoked as string;
    lock.revoked = true;
    lock.abort(
      new CoordinationError('LOCK_REVOKED', `The lock on ${lock.names.join(', ')} was taken back: ${why}`, {
        hint: 'Stop and release it; it ends by itself after the grace.',
      }),
    );
    if (answer.expiresInMs <= 0) this.lost(lock, lock.reason as CoordinationError);
    else this.#timers.limit(lock, answer.expiresInMs);
  }

  expiresInMs(lock: HeldLock): number {
    if (lock.status !== 'held') return 0;
    const { terms } = lock;
    return terms === undefined
      ? Number.POSITIVE_INFINITY
      : Math.max(0, terms.deadline - this.runtime.clock.mono());
  }

  // ── changes of held locks

  async upgrade(
    lock: HeldLock,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<void> {
    const items = upgraded(lock.plan.items);
    if (items.every((item, i) => item.mode === lock.plan.items[i]?.mode)) return;
    await this.acquire({
      timeoutMs: options.timeoutMs ?? this.#timeoutMs,
      signal: options.signal,
      plan: { names: lock.plan.names, items },
      book: lock.book,
      priority: lock.book.priority,
      leaseMs: undefined,
      renew: true,
      reentrant: false,
      wait: true,
      legacy: false,
      upgradeOf: lock,
    });
  }

  async downgrade(lock: HeldLock): Promise<void> {
    const items = downgraded(lock.plan.items);
    if (items.every((item, i) => item.mode === lock.plan.items[i]?.mode)) return;
    const { id, token } = lock.grant;
    lock.changeModes(items, undefined);
    if (this.#events.wants('resource:acquired')) this.#reportAcquired(lock, 0);
    const { ended } = await this.operations.run((op) =>
      this.store.release(op, [{ id, token, downgradeTo: 'shared' }]),
    );
    if (ended[0] !== true) this.lost(lock, lostError(lock));
  }

  /** See `Lease.fenced`. */
  async fenced<R>(lock: HeldLock, write: (token: number) => R | Promise<R>): Promise<R> {
    this.#checkFence(lock);
    for (const { resource, token } of lock.namedItems()) this.#seeFence(resource, token);
    const result = await write(lock.token);
    this.#checkFence(lock);
    return result;
  }

  #checkFence(lock: HeldLock): void {
    for (const { resource, token } of lock.namedItems()) {
      const newest = this.#fences.get(resource) ?? 0;
      if (token < newest) refuseFence(this.#events, resource, token, newest);
      if (lock.status !== 'held') refuseFence(this.#events, resource, token, Math.max(newest, token + 1));
    }
  }

  #seeFence(resource: string, token: number): void {
    this.#fences.delete(resource);
    this.#fences.set(resource, token);
    if (this.#fences.size <= MAX_FENCES) return;
    const [oldest] = this.#fences.keys();
    this.#fences.delete(oldest as string);
  }

  // ── records

  /** Before an owner of one request comes to hold or want something: it is in no map. */
  #enter(book: OwnerBook): void {
    if (!book.single || !book.idle) return;
    book.next = this.#singles;
    if (this.#singles !== undefined) this.#singles.previous = book;
    this.#singles = book;
  }

  /** After it gave something up. */
  #leave(book: OwnerBook): void {
    if (!book.single || !book.idle) return;
    if (book.previous === undefined) {
      if (this.#singles === book) this.#singles = book.next;
    } else book.previous.next = book.next;
    if (book.next !== undefined) book.next.previous = book.previous;
    book.previous = undefined;
    book.next = undefined;
  }

  #delist(lock: HeldLock): void {
    lock.book.remove(lock);
    if (lock.terms !== undefined) this.#timers.stop(lock);
    this.#leave(lock.book);
  }

  /** An owner holds and wants nothing any more. */
  #idle(book: OwnerBook): void {
    if (book.since !== 0) {
      this.#graph.finished(book.id);
      // After a defeat it keeps its age.
      if (!book.defeated) book.since = 0 as BackendTime;
      book.defeated = false;
    }
    const { finishers } = book;
    if (finishers === undefined) return;
    book.finishers = undefined;
    for (const finished of finishers) finished();
  }

  // ── events

  #reportWaiting(wait: LockWait, ahead: number): void {
    if (!this.#events.wants('resource:waited')) return;
    const resourceId = wait.ask.plan.names[0] as string;
    this.#events.emit('resource:waited', { resourceId, agentId: wait.ask.book.label, ahead });
  }

  #reportAcquired(lock: HeldLock, waitedMs: number): void {
    const agentId = lock.book.label;
    for (const { resource, mode, token } of lock.namedItems()) {
      const payload = { resourceId: resource, agentId, mode: modeName(mode), token, waitedMs };
      this.#events.emit('resource:acquired', payload);
    }
  }

  #reportReleased(lock: HeldLock): void {
    const heldMs = this.#ageMs(lock);
    for (const resourceId of lock.names) {
      this.#events.emit('resource:released', { resourceId, agentId: lock.book.label, heldMs });
    }
  }

  /** Resolves when an owner holds and wants nothing any more, or after this time. */
  untilFinished(owner: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const book = this.findBook(owner);
    if (book?.idle === true) return DONE;
    return new Promise((resolve, reject) => {
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
      let timer: Timer | undefined;
      let poll: Timer | undefined;
      if (signal?.aborted === true) return reject(signal.reason as Error);
      signal?.addEventListener('abort', onAbort, { once: true });
      if (timeoutMs !== Number.POSITIVE_INFINITY) timer = this.runtime.clock.after(timeoutMs, end, true);
      if (book !== undefined) {
        book.finishers ??= [];
        book.finishers.push(end);
        return;
      }
      // Somebody else's: another process, or another manager on the same store.
      const look = (): void => {
        const { live } = this.store;
        if (live === undefined || (!live.isWaiting(owner) && (live.owner(owner)?.locks ?? 0) === 0)) end();
        else poll = this.runtime.clock.after(ELSEWHERE_MS, look, true);
      };
      if (this.store.live === undefined) poll = this.runtime.clock.after(ELSEWHERE_MS, look, true);
      else look();
    });
  }

  /** Since when agents hold or want a resource, wall time. */
  requestTimes(resource: string, agents: ReadonlySet<string>): ReadonlyMap<string, Date> {
    const { clock } = this.runtime;
    const found = new Map<string, Date>();
    const note = (agent: string, agoMs: number): void => {
      if (!agents.has(agent)) return;
      const at = clock.wall() - agoMs;
      const known = found.get(agent)?.getTime() ?? Number.POSITIVE_INFINITY;
      if (at < known) found.set(agent, new Date(at));
    };
    for (const lock of this.locks()) if (lock.isOn(resource)) note(lock.book.label, this.#ageMs(lock));
    for (const { ask, startedAt } of this.waits()) {
      if (ask.plan.names.includes(resource)) note(ask.book.label, clock.mono() - startedAt);
    }
    return found;
  }

  #ageMs(lock: HeldLock): number {
    const { quick } = lock;
    if (quick === undefined) return this.runtime.clock.mono() - lock.grantedAt;
    return this.store.quick?.ageMs(quick) ?? 0;
  }
}

/** A copy, so that ending one disturbs nobody. */
export function waitsOf(book: OwnerBook | undefined): readonly LockWait[] {
  const found: LockWait[] = [];
  for (let wait = book?.firstWait as LockWait | undefined; wait !== undefined; wait = wait.next)
    found.push(wait);
  return found;
}

function isExclusive(lock: HeldLock): boolean {
  return [...lock.namedItems()].every(({ mode }) => mode === 'exclusive');
}

/** Tokens are times of the backend: the oldest held one says since when this unit is at work. */
function oldestToken(book: OwnerBook): BackendTime {
  let oldest = 0;
  for (const { grant } of book.locks()) {
    if (oldest === 0 || grant.token < oldest) oldest = grant.token;
  }
  return oldest as BackendTime;
}

function lostWait({ ask }: LockWait): CoordinationError {
  const what = ask.plan.names.join(', ');
  const why = ask.upgradeOf === undefined ? 'its session is over' : 'the lock is not held any more';
  const verb = ask.upgradeOf === undefined ? 'wait for' : 'upgrade of';
  return new CoordinationError('LEASE_LOST', `The ${verb} ${what} ended: ${why}`, {
    hint: 'Acquire it again.',
  });
}

/** The verdict of another process's detection. */
function verdictOf(wait: LockWait, cycle: DeadlockError['cycle']): DeadlockError {
  const agents = [...new Set(cycle.map((edge) => edge.agent ?? edge.waiter))];
  const resources = [
    ...new Set(cycle.flatMap(({ by, what }) => (by === 'lock' || by === 'semaphore' ? [what] : []))),
  ];
  const survivor = cycle.find((edge) => edge.holder === wait.owner.id)?.waiter ?? wait.owner.id;
  return new DeadlockError({ cycle, agents, resources, survivor });
}

function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : 'ABORTED';
}
