import { andThen, handled, isPromise } from '../core/awaitable.ts';
import type { LockAnswer, LockStore } from '../core/ports/locks.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { SessionNumber, Token } from '../core/ports/words.ts';
import { slices } from '../core/slices.ts';
import type { ModeChange } from './mode-change.ts';

/** Something the store is asked about from time to time: a lease to renew, a wait that nobody tells us of. */
export interface Kept {
  readonly id: string;
  /** Read whenever the store is asked: upgrades change it. */
  readonly token: Token | undefined;
  /** The latest change of it that the store was asked for. */
  readonly change?: ModeChange | undefined;
  /**
   * Returns ms until the next time; `undefined`: no more.
   * @param sentAt mono ms when the store was asked; @param change the latest one then
   */
  answered(answer: LockAnswer, sentAt: number, change: ModeChange | undefined): number | undefined;
}

/** Refs of one call. */
const BATCH = 250;
/** After a failed call, ms. */
const AGAIN_MS = 200;

/** Asks the store in batches, on one timer; without anything to keep there is none. */
export class LeaseKeeper {
  readonly #store: LockStore;
  readonly #session: () => SessionNumber;
  readonly #clock: Clock;
  readonly #most: number;
  /** When each is due, mono ms. */
  readonly #due = new Map<Kept, number>();
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  /** Calls that aren't answered, the oldest first. */
  readonly #unanswered = new Set<{ readonly since: number }>();

  /** @param most refs of one call */
  constructor(store: LockStore, session: () => SessionNumber, clock: Clock, most = BATCH) {
    this.#most = Math.min(BATCH, most);
    this.#store = store;
    this.#session = session;
    this.#clock = clock;
  }

  add(kept: Kept, inMs: number): void {
    this.#due.set(kept, this.#clock.mono() + inMs);
    this.#arm(this.#clock.mono() + inMs);
  }

  remove(kept: Kept): void {
    if (!this.#due.delete(kept) || this.#due.size > 0) return;
    this.stop();
  }

  /** Asks about everything now: something may have been missed. */
  wake(): void {
    if (this.#due.size > 0) this.#ask([...this.#due.keys()]);
  }

  /** For how long the store has been silent, or was to be asked, ms; 0 when neither is. */
  overdueMs(): number {
    const [oldest] = this.#unanswered;
    return Math.max(
      0,
      this.#clock.mono() - Math.min(oldest?.since ?? Number.POSITIVE_INFINITY, this.#timerAt),
    );
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #arm(at: number): void {
    if (at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#clock.after(at - this.#clock.mono(), () => this.#fire());
  }

  #fire(): void {
    this.stop();
    const now = this.#clock.mono();
    const due = [...this.#due].flatMap(([kept, at]) => (at <= now + 1 ? [kept] : []));
    if (due.length > 0) this.#ask(due);
    this.#rearm();
  }

  #rearm(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const at of this.#due.values()) next = Math.min(next, at);
    if (next < Number.POSITIVE_INFINITY) this.#arm(next);
  }

  #ask(due: readonly Kept[]): void {
    for (const part of slices(due, this.#most)) {
      // Asked once at a time: out of the list until answered.
      for (const kept of part) this.#due.set(kept, Number.POSITIVE_INFINITY);
      this.#send(part);
    }
  }

  #send(part: readonly Kept[]): void {
    const sentAt = this.#clock.mono();
    const again = (): void => {
      for (const kept of part) if (this.#due.has(kept)) this.add(kept, AGAIN_MS);
    };
    try {
      const refs = part.map(({ id, token }) => ({ id, token }));
      const changes = part.map(({ change }) => change);
      const done = andThen(this.#store.keep(this.#session(), refs), ({ answers }) => {
        part.forEach((kept, i) => this.#answered(kept, answers[i] as LockAnswer, sentAt, changes[i]));
      });
      if (!isPromise(done)) return;
      const call = { since: sentAt };
      this.#unanswered.add(call);
      handled(done.catch(again).finally(() => this.#unanswered.delete(call)));
    } catch {
      again();
    }
  }

  #answered(kept: Kept, answer: LockAnswer, sentAt: number, change: ModeChange | undefined): void {
    if (!this.#due.has(kept)) return;
    this.#due.delete(kept);
    const next = kept.answered(answer, sentAt, change);
    if (next !== undefined) this.add(kept, next);
  }
}
