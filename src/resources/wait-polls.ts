import { Batches } from '../core/batches.ts';
import type { LockAnswer, LockStore } from '../core/ports/locks.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { SessionNumber } from '../core/ports/words.ts';

/** A wait that the store tells nobody of. */
export interface PolledWait {
  readonly id: string;
  /** What it is for: by these a hint may name it. */
  readonly resources: readonly string[];
  /**
   * What became of it; it is to be taken out then.
   * @param sentAt mono ms when the store was asked
   */
  ended(answer: LockAnswer, sentAt: number): void;
}

export interface WaitPollsDeps {
  readonly store: LockStore;
  readonly session: () => SessionNumber;
  readonly clock: Clock;
  /** Most waits of one call. */
  readonly most: number;
}

interface Entry {
  readonly wait: PolledWait;
  /** When it is asked about without any news, mono ms. */
  dueAt: number;
  isAsked: boolean;
  /** There was news while it was being asked about. */
  again: boolean;
}

/** How often a wait is asked about without news, ms. */
const POLL_MS = 1_000;
/** Polls that come due within this go together, so many at most: 2,000 a second, above which they go round. */
const TICK_MS = 50;
const MOST_POLLED = 100;
/** Calls under way. */
const FLIGHTS = 4;

/**
 * Asks the store about waits: about those it has news of at once, about each from time to time, for news may be lost. So a grant costs one
 * question however many wait. Adding, removing and news of one wait O(1).
 */
export class WaitPolls {
  readonly #deps: WaitPollsDeps;
  readonly #calls: Batches<Entry>;
  readonly #byId = new Map<string, Entry>();
  /** Requests that aren't answered yet, and whether there was news of them. */
  readonly #expected = new Map<string, boolean>();
  /** Those that aren't being asked about, in the order in which they will be. */
  readonly #round = new Set<Entry>();
  #timer: Timer | undefined;
  #polledAt = Number.NEGATIVE_INFINITY;

  constructor(deps: WaitPollsDeps) {
    this.#deps = deps;
    const { clock, most: maxBatch } = deps;
    this.#calls = new Batches({ clock, maxBatch, maxFlights: FLIGHTS, send: (asked) => this.#send(asked) });
  }

  /** A request is on its way: if it is to wait, it may be granted before its answer is here. */
  expect(id: string): void {
    this.#expected.set(id, false);
  }

  add(wait: PolledWait): void {
    const hadNews = this.#expected.get(wait.id) === true;
    this.#expected.delete(wait.id);
    const entry = { wait, dueAt: 0, isAsked: false, again: false };
    this.#byId.set(wait.id, entry);
    this.#later(entry);
    if (hadNews) this.#ask(entry);
  }

  remove(id: string): void {
    this.#expected.delete(id);
    const entry = this.#byId.get(id);
    if (entry === undefined) return;
    this.#byId.delete(id);
    this.#round.delete(entry);
    if (this.#byId.size === 0) this.stop();
  }

  /** There is news of one; of one that isn't here that is another process's. */
  wake(id: string): void {
    const entry = this.#byId.get(id);
    if (entry !== undefined) this.#ask(entry);
    else if (this.#expected.has(id)) this.#expected.set(id, true);
  }

  /** There is news of some of those that are for a resource. */
  wakeAt(resource: string): void {
    for (const entry of this.#byId.values()) if (entry.wait.resources.includes(resource)) this.#ask(entry);
    this.#wakeExpected();
  }

  /** Anything may have been missed. */
  wakeAll(): void {
    for (const entry of this.#byId.values()) this.#ask(entry);
    this.#wakeExpected();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #wakeExpected(): void {
    for (const id of this.#expected.keys()) this.#expected.set(id, true);
  }

  #ask(entry: Entry): void {
    if (entry.isAsked) {
      entry.again = true;
      return;
    }
    entry.isAsked = true;
    this.#round.delete(entry);
    this.#calls.add(entry);
  }

  #later(entry: Entry): void {
    entry.isAsked = false;
    entry.dueAt = this.#deps.clock.mono() + POLL_MS;
    this.#round.add(entry);
    this.#arm();
  }

  #arm(): void {
    const [first] = this.#round;
    if (this.#timer !== undefined || first === undefined) return;
    const { clock } = this.#deps;
    const inMs = Math.max(first.dueAt, this.#polledAt + TICK_MS) - clock.mono();
    this.#timer = clock.after(inMs, () => {
      this.#timer = undefined;
      this.#poll(clock.mono());
      this.#arm();
    });
  }

  #poll(now: number): void {
    this.#polledAt = now;
    let rest = MOST_POLLED;
    for (const entry of this.#round) {
      if (entry.dueAt > now || rest === 0) return;
      rest -= 1;
      this.#ask(entry);
    }
  }

  async #send(asked: readonly Entry[]): Promise<void> {
    const { clock, session, store } = this.#deps;
    const wanted = asked.filter((entry) => this.#isHere(entry));
    if (wanted.length === 0) return;
    const sentAt = clock.mono();
    let answers: readonly LockAnswer[] = [];
    try {
      const refs = wanted.map(({ wait }) => ({ id: wait.id }));
      answers = (await store.keep(session(), refs)).answers;
    } catch {
      // They are asked about again, like those without news.
    }
    wanted.forEach((entry, i) => this.#answered(entry, answers[i], sentAt));
  }

  #answered(entry: Entry, answer: LockAnswer | undefined, sentAt: number): void {
    if (!this.#isHere(entry)) return;
    const { again } = entry;
    entry.again = false;
    if (answer !== undefined && answer.status !== 'waiting') {
      entry.wait.ended(answer, sentAt);
    } else {
      this.#later(entry);
      if (again) this.#ask(entry);
    }
  }

  #isHere(entry: Entry): boolean {
    return this.#byId.get(entry.wait.id) === entry;
  }
}
