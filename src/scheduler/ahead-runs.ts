import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { Run } from './agent.ts';

/** Nothing waits here longer than this as long as handlers go on as they did, ms: so short that it comes back from the store started. */
const LONGEST_MS = 5;
/** Whatever still waits after this goes back: handlers have become slow, and others may have room. */
const BACK_MS = 25;
/** Round trips to be bridged. */
const TRIPS = 1.5;
/** Growth from one claim to the next while it isn't known how fast tasks are begun. */
const GROWTH = 2;
/** How much the newest measurement counts. */
const NEWEST = 0.3;

export interface AheadRunsDeps {
  readonly clock: Clock;
  /** Most tasks of one claim. */
  readonly maxBatch: number;
  /** So many are wanted in any case, unstarted: whoever has room may take them over meanwhile. */
  readonly prefetch: number;
  /** Gives back what has waited too long. */
  readonly giveBack: (runs: readonly Run[]) => void;
}

/**
 * Tasks claimed from a store across a network beyond the slots that were free: as many as will be begun while the next claim is on its
 * way, so that slots don't stand empty for a round trip; and none where tasks take longer than that, so that nobody sits on work.
 */
export class AheadRuns {
  readonly #deps: AheadRunsDeps;
  #runs: Run[] = [];
  /** Of the list, those before have been taken. */
  #at = 0;
  #timer: Timer | undefined;
  /** From sending a claim to its answer, ms. */
  #tripMs = 0;
  /** From the begin of a task to its end, ms; `Infinity` before the first has ended. */
  #durationMs = Number.POSITIVE_INFINITY;
  /** Tasks begun in a ms while there were some here; 0: not known. */
  #speed = 0;
  /** Since when there are some here, mono ms, and how many have been taken since. */
  #since = 0;
  #taken = 0;
  /** Tasks begun since the last claim was answered. */
  #begun = 0;
  #claimed = 0;

  constructor(deps: AheadRunsDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#runs.length - this.#at;
  }

  /** How many to claim now beyond the free slots; negative: so many of these are spoken for already. */
  get room(): number {
    const { quick, size } = this;
    const { maxBatch, prefetch } = this.#deps;
    // A whole batch is on its way while another is begun: those that are here are gone when it comes.
    if (quick > 0 && quick >= prefetch) return size > quick ? -size : quick;
    const wanted = Math.min(maxBatch, prefetch);
    // Not a few at a time: a claim costs a round trip.
    return size > wanted / 2 ? -size : wanted - size;
  }

  /** How many of the next claim will begin so soon that they may come from the store started. */
  get soon(): number {
    return Math.max(0, 2 * this.quick - this.size);
  }

  /** How many begin while a claim is on its way; 0: they take too long. */
  get quick(): number {
    if (this.#durationMs > LONGEST_MS) return 0;
    const bridged =
      this.#speed === 0 ? GROWTH * this.#claimed : this.#speed * Math.min(TRIPS * this.#tripMs, LONGEST_MS);
    return Math.min(this.#deps.maxBatch, Math.floor(bridged));
  }

  [Symbol.iterator](): Iterator<Run> {
    return this.#runs.slice(this.#at)[Symbol.iterator]();
  }

  add(run: Run): void {
    if (this.size === 0) {
      this.#since = this.#deps.clock.mono();
      this.#taken = 0;
    }
    this.#runs.push(run);
    this.#timer ??= this.#deps.clock.after(BACK_MS, this.#late);
  }

  /** The one that came first. */
  shift(): Run | undefined {
    const run = this.#runs[this.#at];
    if (run === undefined) return undefined;
    this.#at += 1;
    this.#taken += 1;
    if (this.#at === this.#runs.length) this.#emptied();
    return run;
  }

  remove(run: Run): void {
    const at = this.#runs.indexOf(run, this.#at);
    if (at < 0) return;
    this.#runs.splice(at, 1);
    if (this.#at === this.#runs.length) this.#clear();
  }

  /** One more task has begun. */
  begun(): void {
    this.#begun += 1;
  }

  /** A task has ended after this time. */
  ended(durationMs: number): void {
    this.#durationMs =
      this.#durationMs === Number.POSITIVE_INFINITY ? durationMs : mixed(this.#durationMs, durationMs);
  }

  /** A claim was answered. @param sentAt mono ms */
  answered(sentAt: number): void {
    const tripMs = this.#deps.clock.mono() - sentAt;
    this.#tripMs = this.#tripMs === 0 ? tripMs : mixed(this.#tripMs, tripMs);
    this.#claimed = this.#begun;
    this.#begun = 0;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #emptied(): void {
    const passed = this.#deps.clock.mono() - this.#since;
    // Those that found a free slot at once say nothing of how fast slots become free.
    if (passed > 0.02) {
      const speed = this.#taken / passed;
      this.#speed = this.#speed === 0 ? speed : mixed(this.#speed, speed);
    }
    this.#clear();
  }

  #clear(): void {
    this.#runs = [];
    this.#at = 0;
    this.stop();
  }

  readonly #late = (): void => {
    this.#timer = undefined;
    // The others are anybody's who has room.
    const late = [...this].filter((run) => run.started);
    if (late.length === 0) return;
    // What was measured doesn't hold any more.
    this.#speed = 0;
    this.#durationMs = Number.POSITIVE_INFINITY;
    for (const run of late) this.remove(run);
    this.#deps.giveBack(late);
  };
}

function mixed(before: number, now: number): number {
  return before + NEWEST * (now - before);
}
