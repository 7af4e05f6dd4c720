import { andThen, handled, isPromise } from './core/awaitable.ts';
import { CoordinationError, isCoordinationError, toStoredError } from './core/errors.ts';
import type { EventSink } from './core/events.ts';
import { createOperations, type OwnedOperations } from './core/operations.ts';
import type { Resolved } from './core/options.ts';
import type { Backend, Pulse } from './core/ports/backend.ts';
import type { Runtime, Timer } from './core/ports/runtime.ts';
import type { Order, SessionReport, Sessions } from './core/ports/sessions.ts';
import type { Awaitable, SessionNumber } from './core/ports/words.ts';
import type { PartHealth } from './health.ts';

/** The schema level of this build, for backends with a schema. */
const WRITER = 1;
/** A beat that failed, or a session that could not be opened, is tried again after this, ms. */
const AGAIN_MS = 1_000;
const OPEN_TRIES = 5;
/** How often the thread hears of this loop in the time after which it gives it up. */
const TICKS = 4;

const CLIENT_HINT =
  'Give the backend a url or a config without functions instead of a client, or set `session.thread: "main"`.';
const THREAD_HINT =
  'In a bundle keep agentmesh outside of it (external), else set `session.thread: "main"`, or allow worker threads.';

export interface SessionKeeperParts {
  readonly backend: Backend;
  readonly sessions: Sessions;
  readonly runtime: Runtime;
  readonly events: EventSink;
  readonly options: Resolved<'session'>;
  /** What the process says of itself at each beat. */
  readonly report: () => SessionReport;
  /** Everything that mutates goes by these operations from now on. */
  readonly use: (operations: OwnedOperations) => void;
  /** What the store wants stopped; it says so again with each beat until it has. */
  readonly obey: (orders: readonly Order[]) => void;
  /** What the session carries. */
  readonly held: () => { readonly heldClaims: number; readonly heldLocks: number };
  /** The session is gone, and what it carried with it: locks and waits. */
  readonly lost: () => void;
  /** There is a new session: memberships have to be stored anew. */
  readonly renewed: () => void;
}

/** A session, and when the call was sent that gave it its whole lease last, mono ms. */
interface Opened {
  readonly session: SessionNumber;
  readonly renewedAt: number;
}

/** A session that was opened. */
interface Life {
  readonly session: SessionNumber;
  /** When it counts as lost unless a beat is answered before, mono ms. */
  validUntil: number;
  /** When the last beat that was answered was sent, mono ms. */
  heardAt: number;
}

/**
 * Keeps the one lease of this process (G2): beats at a third of it, obeys the orders that come back, and opens a new session when it has
 * run out or no beat was answered for two thirds of it. On a backend that nobody else sees the lease never ends and nothing beats.
 */
export class SessionKeeper {
  readonly #parts: SessionKeeperParts;
  readonly #leaseMs: number;
  /** The session there is; none before the first, after the last, and while a new one is being opened. */
  #life: Life | undefined;
  /** While a new session is being opened: resolves with it, rejects when there is none any more. */
  #next: PromiseWithResolvers<void> | undefined;
  /** Counts openings and closings, so that an answer from before is known as such. */
  #epoch = 0;
  #beatTimer: Timer | undefined;
  #deadline: Timer | undefined;
  #again: Timer | undefined;
  #hints: Disposable | undefined;
  /** Renews the lease while the loop is blocked. */
  #pulse: Pulse | undefined;
  #tickTimer: Timer | undefined;
  /** Why the last beat, or the last try to open a session, failed. */
  #problem: string | undefined;

  constructor(parts: SessionKeeperParts) {
    this.#parts = parts;
    this.#leaseMs = parts.backend.capabilities.shared ? parts.options.leaseMs : Number.POSITIVE_INFINITY;
  }

  /** Opens the session and begins to keep it. @throws what the backend says */
  async open(): Promise<void> {
    this.#epoch += 1;
    await this.#openFirst(this.#parts.runtime.ids.next());
    if (this.#life === undefined || this.#leaseMs === Number.POSITIVE_INFINITY) return;
    const { backend } = this.#parts;
    this.#hints = backend.onHint([{ about: 'orders' }, { about: 'reconnected' }], () => this.beat());
  }

  /** Ends the session: what it carries is given back at once instead of when its lease is over. Idempotent. */
  async close(): Promise<void> {
    this.#epoch += 1;
    const ended = this.#rest();
    this.#hints?.[Symbol.dispose]();
    this.#next?.reject(new CoordinationError('STOPPED', 'The mesh has been shut down'));
    this.#next = undefined;
    const life = this.#life;
    this.#life = undefined;
    try {
      if (life !== undefined) await this.#parts.sessions.close(life.session);
    } finally {
      await ended;
    }
  }

  /** Renews the lease now and takes the store's orders. */
  beat(): void {
    const life = this.#life;
    if (life === undefined) return;
    const { sessions, report, runtime, obey } = this.#parts;
    const sentAt = runtime.clock.mono();
    this.#beatIn(this.#leaseMs / 3);
    try {
      const heard = andThen(sessions.beat(life.session, report()), (answer) => {
        if (life !== this.#life) return;
        if (answer.status === 'expired') return this.#lose(life, 'its lease had run out');
        this.#problem = undefined;
        life.heardAt = Math.max(life.heardAt, sentAt);
        this.#pulse?.beaten(runtime.clock.mono() - life.heardAt);
        this.#extend(life, sentAt);
        if (answer.orders.length > 0) obey(answer.orders);
      });
      if (isPromise(heard)) heard.catch((error: unknown) => this.#failed(life, error));
    } catch (error) {
      this.#failed(life, error);
    }
  }

  /**
   * An operation of this session was refused because it is over: continues when there is another one.
   * @throws BACKEND_UNAVAILABLE when there is none for as long as a lease, STOPPED when there will be none
   */
  renew(session: SessionNumber): Awaitable<void> {
    const life = this.#life;
    if (life?.session === session) this.#lose(life, 'its lease had run out');
    return this.#next === undefined ? undefined : this.#bounded(this.#next.promise);
  }

  /**
   * Continues when there is a session. What the store grants between the end of one and the next belongs to the former, of whose end nobody
   * here would hear (L2).
   * @throws as `renew`, after `mostMs` at the latest
   */
  opened(mostMs: number): Awaitable<void> {
    return this.#next === undefined ? undefined : this.#bounded(this.#next.promise, mostMs);
  }

  /** For how long what the session carries may be used without another word of the store, ms. */
  leftMs(): number {
    if (this.#leaseMs === Number.POSITIVE_INFINITY) return this.#leaseMs;
    if (this.#life === undefined) return 0;
    return Math.max(
      0,
      Math.max(this.#life.validUntil, this.#pulsedUntil()) - this.#parts.runtime.clock.mono(),
    );
  }

  /** Whether there is a session whose lease is being renewed. */
  health(): PartHealth {
    if (this.#next !== undefined) {
      const error = `it is lost, and ${this.#problem ?? 'a new one is being opened'}`;
      return { healthy: false, error, metrics: { leftMs: 0 } };
    }
    const life = this.#life;
    if (life === undefined || this.#leaseMs === Number.POSITIVE_INFINITY) return { healthy: true };
    const leftMs = Math.max(0, Math.round(life.validUntil - this.#parts.runtime.clock.mono()));
    if (this.#problem === undefined) return { healthy: true, metrics: { leftMs } };
    const error = `${this.#problem}; ${leftMs} ms of its lease are left`;
    return { healthy: false, error, metrics: { leftMs } };
  }

  /** An answer that was lost is asked for again: the same boot has the same session. */
  async #openFirst(boot: string): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#open(boot);
      } catch (error) {
        if (tries === OPEN_TRIES || !isCoordinationError(error, 'OUTCOME_UNKNOWN')) throw error;
      }
    }
  }

  #bounded(next: Promise<void>, mostMs = this.#leaseMs): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const late = (): void =>
      reject(new CoordinationError('BACKEND_UNAVAILABLE', 'No new session could be opened'));
    const timer = this.#parts.runtime.clock.after(Math.min(mostMs, this.#leaseMs), late, true);
    void next.then(resolve, reject).finally(() => timer.cancel());
    return promise;
  }

  #open(boot: string): Awaitable<void> {
    const { sessions, report, runtime, backend, use } = this.#parts;
    const epoch = this.#epoch;
    const sentAt = runtime.clock.mono();
    const request = { boot, leaseMs: this.#leaseMs, writer: WRITER, report: report() };
    const opened = andThen(sessions.open(request), ({ session }) => this.#freshen(session, sentAt, epoch));
    return andThen(opened, ({ session, renewedAt }) => {
      if (epoch !== this.#epoch) return this.#end(session);
      const life = { session, validUntil: renewedAt, heardAt: renewedAt };
      this.#life = life;
      this.#problem = undefined;
      use(createOperations(session, runtime, { maxInFlight: backend.capabilities.maxInFlight }));
      if (this.#leaseMs === Number.POSITIVE_INFINITY) return;
      this.#extend(life, renewedAt);
      this.#beatIn(Math.max(0, renewedAt + this.#leaseMs / 3 - runtime.clock.mono()));
      this.#startPulse(life);
    });
  }

  /**
   * A session that was long in opening, as when the store has just come back, is renewed before it is used: too little of its lease may be
   * left to wait for its first beat.
   */
  #freshen(session: SessionNumber, sentAt: number, epoch: number): Awaitable<Opened> {
    const { sessions, report, runtime } = this.#parts;
    const { clock } = runtime;
    const now = clock.mono();
    const asOpened = { session, renewedAt: sentAt };
    if (now - sentAt <= this.#leaseMs / 3 || epoch !== this.#epoch) return asOpened;
    const beaten = Promise.resolve(sessions.beat(session, report()));
    return new Promise((resolve, reject) => {
      // Whoever closes cancels this too.
      const late = clock.after((this.#leaseMs * 2) / 3, () => resolve(asOpened));
      this.#again = late;
      void beaten
        .then(({ status }) => resolve(status === 'alive' ? { session, renewedAt: now } : asOpened), reject)
        .finally(() => late.cancel());
    });
  }

  #startPulse(life: Life): void {
    const { backend, options, runtime } = this.#parts;
    if (options.thread === 'main') return;
    const warn = (why: string, hint: string): void =>
      runtime.logger.warn(
        `The lease is renewed by the event loop only${why}: handlers that block it may lose it`,
        {
          hint,
        },
      );
    const failed = (code: string): void => {
      if (life === this.#life) warn(`, for its thread has failed with ${code}`, THREAD_HINT);
    };
    try {
      const request = { everyMs: this.#leaseMs / 3, stuckMs: options.stuckMs, failed };
      this.#pulse = backend.pulse?.(life.session, request);
    } catch (error) {
      return failed(toStoredError(error).code);
    }
    if (this.#pulse !== undefined) this.#tickLater(life);
    else if (backend.capabilities.roundTrip === 'network') warn('', CLIENT_HINT);
  }

  /** Tells the thread that this loop comes round, as long as the store hears of it. */
  #tickLater(life: Life): void {
    const { runtime, options } = this.#parts;
    const { clock } = runtime;
    this.#tickTimer = clock.after(options.stuckMs / TICKS, () => {
      // Who can't reach the store any more obeys no order either: its thread must not keep for it what others could take.
      if (clock.mono() - life.heardAt <= Math.max(options.stuckMs, this.#leaseMs)) this.#pulse?.tick();
      this.#tickLater(life);
    });
  }

  /** Answers may come in another order than the beats they belong to. */
  #extend(life: Life, sentAt: number): void {
    const { clock } = this.#parts.runtime;
    life.validUntil = Math.max(life.validUntil, sentAt + (this.#leaseMs * 2) / 3);
    this.#deadline?.cancel();
    this.#deadline = clock.after(life.validUntil - clock.mono(), () => {
      const until = this.#pulsedUntil();
      if (until > clock.mono()) {
        this.#extend(life, until - (this.#leaseMs * 2) / 3);
        return this.beat();
      }
      // Where this loop was late, the answer to a beat may have come and not been read yet.
      clock.soon(() => {
        if (life !== this.#life || life.validUntil > clock.mono()) return;
        // The store may have heard every beat: then it must not keep for us what we have told our users is gone.
        this.#end(life.session);
        this.#lose(life, 'no beat was answered in time');
      });
    });
  }

  /** The thread may have kept the lease while the loop was blocked. */
  #pulsedUntil(): number {
    const agoMs = this.#pulse?.agoMs() ?? Number.POSITIVE_INFINITY;
    return this.#parts.runtime.clock.mono() - agoMs + (this.#leaseMs * 2) / 3;
  }

  #beatIn(ms: number): void {
    this.#beatTimer?.cancel();
    this.#beatTimer = this.#parts.runtime.clock.after(ms, () => this.beat());
  }

  /** Resolves when the thread has ended. */
  #rest(): Promise<void> {
    const pulse = this.#pulse;
    this.#pulse = undefined;
    this.#tickTimer?.cancel();
    this.#beatTimer?.cancel();
    this.#deadline?.cancel();
    this.#again?.cancel();
    return Promise.resolve(pulse?.[Symbol.asyncDispose]()).catch(() => undefined);
  }

  #failed(life: Life, error: unknown): void {
    if (life !== this.#life) return;
    const { code, message } = toStoredError(error);
    this.#problem = `its beat failed with ${code}`;
    this.#parts.runtime.logger.warn('A beat of the session failed', { code, message });
    // Where the lease is short, one beat that failed must not be the end of it.
    this.#beatIn(Math.min(AGAIN_MS, this.#leaseMs / 6));
  }

  /** The session is over: everybody is told, and another one is opened, however long that takes. */
  #lose(life: Life, why: string): void {
    if (life !== this.#life) return;
    const { runtime, events, held, lost, renewed } = this.#parts;
    const next = Promise.withResolvers<void>();
    handled(next.promise);
    this.#life = undefined;
    this.#next = next;
    this.#problem = undefined;
    void this.#rest();
    const opening = this.#reopen(runtime.ids.next());
    if (!isPromise(opening)) this.#found(next);
    const message = `The session of this process is over: ${why}`;
    runtime.logger.error(message, { code: 'SESSION_EXPIRED' });
    events.emit('session:expired', { session: life.session, ...held() });
    events.emit('system:error', { part: 'session', code: 'SESSION_EXPIRED', message });
    // After the new one is under way: what is given back now finds it.
    lost();
    if (!isPromise(opening)) renewed();
    else
      void opening.then(() => {
        if (this.#next !== next) return;
        this.#found(next);
        renewed();
      });
  }

  #found(next: PromiseWithResolvers<void>): void {
    this.#next = undefined;
    next.resolve();
  }

  /** The boot stays the same over all tries: one whose answer was lost is found again. */
  #reopen(boot: string): Awaitable<void> {
    const epoch = this.#epoch;
    const again = (error: unknown): Promise<void> => this.#reopenLater(boot, epoch, error);
    try {
      const opened = this.#open(boot);
      return isPromise(opened) ? opened.catch(again) : opened;
    } catch (error) {
      return again(error);
    }
  }

  async #reopenLater(boot: string, epoch: number, first: unknown): Promise<void> {
    const { clock } = this.#parts.runtime;
    // One that was under way when everything ended may fail after that: it is the last.
    for (let error = first; epoch === this.#epoch; ) {
      this.#problem = `a new one could not be opened: ${toStoredError(error).code}`;
      // Whoever closes cancels this too.
      await new Promise<void>((resolve) => {
        this.#again = clock.after(AGAIN_MS, resolve);
      });
      try {
        return await this.#open(boot);
      } catch (failure) {
        error = failure;
      }
    }
  }

  /** Whatever comes of it: its lease ends it as well. */
  #end(session: SessionNumber): void {
    try {
      const closed = this.#parts.sessions.close(session);
      if (isPromise(closed)) handled(closed);
    } catch {
      // It is out of reach.
    }
  }
}
