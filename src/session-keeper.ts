import { andThen, handled, isPromise } from './core/awaitable.ts';
import { CoordinationError, isCoordinationError, toStoredError } from './core/errors.ts';
import type { EventSink } from './core/events.ts';
import { createOperations, type Operations } from './core/operations.ts';
import type { Backend } from './core/ports/backend.ts';
import type { Runtime, Timer } from './core/ports/runtime.ts';
import type { Order, SessionReport, Sessions } from './core/ports/sessions.ts';
import type { Awaitable, SessionNumber } from './core/ports/words.ts';
import type { PartHealth } from './health.ts';

/** The schema level of this build, for backends with a schema. */
const WRITER = 1;
/** Lease of a session that others can see, ms; it is renewed at a third and given up at two thirds. */
const LEASE_MS = 30_000;
/** A beat that failed, or a session that could not be opened, is tried again after this, ms. */
const AGAIN_MS = 1_000;
const OPEN_TRIES = 5;

export interface SessionKeeperParts {
  readonly backend: Backend;
  readonly sessions: Sessions;
  readonly runtime: Runtime;
  readonly events: EventSink;
  /** What the process says of itself at each beat. */
  readonly report: () => SessionReport;
  /** Everything that mutates goes by these operations from now on. */
  readonly use: (operations: Operations) => void;
  /** What the store wants stopped; it says so again with each beat until it has. */
  readonly obey: (orders: readonly Order[]) => void;
  /** The session is gone, and what it carried with it: locks and waits. */
  readonly lost: () => void;
  /** There is a new session: memberships have to be stored anew. */
  readonly renewed: () => void;
}

/** A session that was opened. */
interface Life {
  readonly boot: string;
  readonly session: SessionNumber;
  /** When it counts as lost unless a beat is answered before, mono ms. */
  validUntil: number;
}

/**
 * Keeps the one lease of this process (G2): beats at a third of it, obeys the orders that come back, and opens a new session when it has
 * run out or no beat was answered for two thirds of it. On a backend that nobody else sees the lease never ends and nothing beats.
 */
export class SessionKeeper {
  readonly #parts: SessionKeeperParts;
  readonly #leaseMs: number;
  #life: Life | undefined;
  #closed = false;
  /** A new session is being opened, because the one before is gone. */
  #reopening: Promise<void> | undefined;
  #beatTimer: Timer | undefined;
  #deadline: Timer | undefined;
  #hints: Disposable | undefined;
  /** Why the last beat, or the last try to open a session, failed. */
  #problem: string | undefined;

  constructor(parts: SessionKeeperParts) {
    this.#parts = parts;
    this.#leaseMs = parts.backend.capabilities.shared ? LEASE_MS : Number.POSITIVE_INFINITY;
  }

  /** Opens the session and begins to keep it. @throws what the backend says */
  async open(): Promise<void> {
    this.#closed = false;
    await this.#openFirst(this.#parts.runtime.ids.next());
    if (this.#leaseMs === Number.POSITIVE_INFINITY) return;
    const { backend } = this.#parts;
    this.#hints = backend.onHint([{ about: 'orders' }, { about: 'reconnected' }], () => this.beat());
  }

  /** Ends the session: what it carries is given back at once instead of when its lease is over. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#rest();
    this.#hints?.[Symbol.dispose]();
    const life = this.#life;
    this.#life = undefined;
    if (life !== undefined) await this.#parts.sessions.close(life.session);
  }

  /** Renews the lease now and takes the store's orders. */
  beat(): void {
    const life = this.#life;
    if (life === undefined || this.#closed || this.#reopening !== undefined) return;
    const { sessions, report, runtime } = this.#parts;
    const sentAt = runtime.clock.mono();
    this.#beatIn(this.#leaseMs / 3);
    try {
      const heard = andThen(sessions.beat(life.session, report()), (answer) => {
        if (life !== this.#life || this.#closed) return;
        if (answer.status === 'expired') return this.#lose('its lease had run out');
        this.#problem = undefined;
        this.#extend(life, sentAt);
        if (answer.orders.length > 0) this.#parts.obey(answer.orders);
      });
      if (isPromise(heard)) heard.catch((error: unknown) => this.#failed(life, error));
    } catch (error) {
      this.#failed(life, error);
    }
  }

  /**
   * An operation of this session was refused because it is over: continues when there is another one.
   * @throws BACKEND_UNAVAILABLE when there is none for as long as a lease
   */
  renew(session: SessionNumber): Awaitable<void> {
    if (this.#closed) return undefined;
    if (this.#life?.session === session) this.#lose('its lease had run out');
    return this.#reopening === undefined ? undefined : this.#bounded(this.#reopening);
  }

  /** Whether there is a session whose lease is being renewed. */
  health(): PartHealth {
    if (this.#closed || (this.#life === undefined && this.#reopening === undefined)) return { healthy: true };
    if (this.#leaseMs === Number.POSITIVE_INFINITY) return { healthy: true };
    const { clock } = this.#parts.runtime;
    const leftMs = Math.max(0, Math.round((this.#life?.validUntil ?? 0) - clock.mono()));
    const metrics = { leftMs };
    if (this.#reopening !== undefined)
      return {
        healthy: false,
        error: `it is lost, and ${this.#problem ?? 'a new one is being opened'}`,
        metrics,
      };
    if (this.#problem !== undefined)
      return { healthy: false, error: `${this.#problem}; ${leftMs} ms of its lease are left`, metrics };
    return { healthy: true, metrics };
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

  #bounded(reopening: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = (): void =>
        reject(new CoordinationError('BACKEND_UNAVAILABLE', 'No new session could be opened'));
      const timer = this.#parts.runtime.clock.after(LEASE_MS, late, true);
      void reopening.then(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  #open(boot: string): Awaitable<void> {
    const { sessions, report, runtime, backend, use } = this.#parts;
    const sentAt = runtime.clock.mono();
    const request = { boot, leaseMs: this.#leaseMs, writer: WRITER, report: report() };
    return andThen(sessions.open(request), ({ session }) => {
      if (this.#closed) {
        this.#end(session);
        return;
      }
      const life = { boot, session, validUntil: Number.POSITIVE_INFINITY };
      this.#life = life;
      this.#problem = undefined;
      use(createOperations(session, runtime, { maxInFlight: backend.capabilities.maxInFlight }));
      if (this.#leaseMs === Number.POSITIVE_INFINITY) return;
      this.#extend(life, sentAt);
      this.#beatIn(this.#leaseMs / 3);
    });
  }

  #extend(life: Life, sentAt: number): void {
    const { clock } = this.#parts.runtime;
    life.validUntil = sentAt + (this.#leaseMs * 2) / 3;
    this.#deadline?.cancel();
    this.#deadline = clock.after(life.validUntil - clock.mono(), () => {
      // The store may have heard every beat: then it must not keep for us what we have told our users is gone.
      if (life !== this.#life || this.#closed) return;
      this.#end(life.session);
      this.#lose('no beat was answered in time');
    });
  }

  #beatIn(ms: number): void {
    this.#beatTimer?.cancel();
    this.#beatTimer = this.#parts.runtime.clock.after(ms, () => this.beat());
  }

  #rest(): void {
    this.#beatTimer?.cancel();
    this.#deadline?.cancel();
  }

  #failed(life: Life, error: unknown): void {
    if (life !== this.#life || this.#closed || this.#reopening !== undefined) return;
    const { code, message } = toStoredError(error);
    this.#problem = `its beat failed with ${code}`;
    this.#parts.runtime.logger.warn('A beat of the session failed', { code, message });
    this.#beatIn(AGAIN_MS);
  }

  /** The session is over: everybody is told, and another one is opened, however long that takes. */
  #lose(why: string): void {
    if (this.#reopening !== undefined) return;
    const { runtime, events, lost, renewed } = this.#parts;
    const message = `The session of this process is over: ${why}`;
    this.#rest();
    const opening = this.#reopen(runtime.ids.next());
    if (isPromise(opening)) {
      this.#reopening = opening.then(() => {
        this.#reopening = undefined;
        if (!this.#closed) renewed();
      });
    }
    runtime.logger.error(message, { code: 'SESSION_EXPIRED' });
    events.emit('system:error', { part: 'session', code: 'SESSION_EXPIRED', message });
    // After the new one is under way: what is given back now finds it.
    lost();
    if (!isPromise(opening) && !this.#closed) renewed();
  }

  /** The boot stays the same over all tries: one whose answer was lost is found again. */
  #reopen(boot: string): Awaitable<void> {
    try {
      const opened = this.#open(boot);
      return isPromise(opened) ? opened.catch((error: unknown) => this.#reopenLater(boot, error)) : opened;
    } catch (error) {
      return this.#reopenLater(boot, error);
    }
  }

  async #reopenLater(boot: string, error: unknown): Promise<void> {
    const { runtime } = this.#parts;
    this.#problem = `a new one could not be opened: ${toStoredError(error).code}`;
    await new Promise<void>((resolve) => void runtime.clock.after(AGAIN_MS, resolve));
    if (!this.#closed) await this.#reopen(boot);
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
