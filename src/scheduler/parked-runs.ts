import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { Run } from './agent.ts';
import type { BarredKinds } from './barred-kinds.ts';
import type { Settler } from './settler.ts';
import type { Slots } from './slots.ts';

/** Beyond so many, they go back to the queue. */
const MAX_PARKED = 64;
/** What goes back comes again after this at the earliest, and no more often than one each 2 ms: however many nobody takes, that costs little. */
const BACK_MS = 50;
const SPACING_MS = 2;
const BACK_MAX_MS = 60_000;
const BATCH_MS = 100;
/** A strategy that would rather wait is asked again after this, then twice that, and so on, unless something happens before. */
const ASK_AGAIN_MS = 25;
const ASK_AGAIN_MAX_MS = 1_000;

export interface ParkedRunsDeps {
  readonly clock: Clock;
  readonly settler: Settler;
  readonly slots: Slots;
  readonly barred: BarredKinds;
  /** They are to be asked for again. */
  readonly wake: () => void;
}

/** Claimed tasks that no agent would take now: who might is asked again, and those that are too many go back. */
export class ParkedRuns {
  readonly #deps: ParkedRunsDeps;
  #runs: Run[] = [];
  /** When the last that went back comes again, mono ms. */
  #backAt = 0;
  /** Something happened that may change who takes them. */
  #asks = false;
  #timer: Timer | undefined;
  #askMs = ASK_AGAIN_MS;

  constructor(deps: ParkedRunsDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#runs.length;
  }

  [Symbol.iterator](): Iterator<Run> {
    return this.#runs[Symbol.iterator]();
  }

  add(run: Run): void {
    this.#runs.push(run);
  }

  remove(run: Run): void {
    const at = this.#runs.indexOf(run);
    if (at >= 0) this.#runs.splice(at, 1);
  }

  /** Somebody may take them now. */
  ask(): void {
    this.#asks = true;
  }

  /** A slot was freed: asking begins afresh. */
  askAfresh(): void {
    this.#asks = true;
    this.#askMs = ASK_AGAIN_MS;
  }

  /** Takes out those that are to be placed now. */
  toPlace(): readonly Run[] {
    if (!this.#asks) return NONE;
    this.#asks = false;
    const runs = this.#runs;
    const isBarred = (run: Run): boolean => this.#deps.barred.has(run.claim.body);
    this.#runs = runs.filter(isBarred);
    return runs.filter((run) => !isBarred(run));
  }

  /** Sends back what is too many, and sees to it that a strategy that would rather wait is asked again though nothing else happens. */
  rest(): void {
    const { barred, clock, slots, wake } = this.#deps;
    while (this.#runs.length > MAX_PARKED) {
      const run = this.#runs.shift() as Run;
      // Its kind isn't claimed until somebody may take it: it can go to its place at once.
      this.#sendBack(run, barred.has(run.claim.body) ? 0 : this.#backInMs());
    }
    if (this.#runs.length === 0) return this.stop();
    if (this.#timer !== undefined || slots.free === 0) return;
    if (this.#runs.every((run) => barred.has(run.claim.body))) return;
    const again = (): void => {
      this.#timer = undefined;
      this.#askMs = Math.min(2 * this.#askMs, ASK_AGAIN_MAX_MS);
      this.#asks = true;
      wake();
    };
    this.#timer = clock.after(this.#askMs, again, true);
  }

  /** Nobody is asked again by time. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #backInMs(): number {
    const now = this.#deps.clock.mono();
    const at = Math.max(this.#backAt + SPACING_MS, now + BACK_MS);
    this.#backAt = Math.min(at, now + BACK_MAX_MS);
    // Many at a time: each moment at which something is due costs as much as some tasks.
    return Math.ceil(this.#backAt / BATCH_MS) * BATCH_MS - now;
  }

  #sendBack(run: Run, delayMs: number): void {
    run.phase = 'ending';
    run.facts.deadlineTimer?.cancel();
    run.giveLocksBack();
    this.#deps.settler.add(run, {
      claim: run.claim,
      as: 'release',
      delayMs,
      reason: 'no agent would take it',
      refundAttempt: true,
    });
  }
}

const NONE: readonly never[] = Object.freeze([]);
