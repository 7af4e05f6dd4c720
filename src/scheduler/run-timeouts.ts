import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { Run } from './agent.ts';

/** Runs with one time limit, in the order in which they began: the first to run out is the first of the list. */
class Limit {
  readonly ms: number;
  first: Run | undefined = undefined;
  last: Run | undefined = undefined;
  timer: Timer | undefined = undefined;

  constructor(ms: number) {
    this.ms = ms;
  }
}

/**
 * Time limits of running handlers: one timer for all runs with the same limit, which holds the process while there are any. Adding and
 * removing O(1), without an object or a closure a run.
 */
export class RunTimeouts {
  readonly #clock: Clock;
  readonly #ended: (run: Run, ms: number) => void;
  readonly #limits = new Map<number, Limit>();
  /** The limit asked for last: most runs have the same. */
  #latest: Limit | undefined = undefined;
  #cleaning = false;

  constructor(clock: Clock, ended: (run: Run, ms: number) => void) {
    this.#clock = clock;
    this.#ended = ended;
  }

  /** @param run has just begun, or begins its time anew */
  add(run: Run, ms: number): void {
    const limit = this.#latest?.ms === ms ? this.#latest : this.#limitOf(ms);
    const { last } = limit;
    run.limitMs = ms;
    run.earlier = last;
    if (last === undefined) limit.first = run;
    else last.later = run;
    limit.last = run;
    limit.timer ??= this.#arm(limit, run);
  }

  remove(run: Run): void {
    if (run.limitMs === 0) return;
    const limit = this.#latest?.ms === run.limitMs ? this.#latest : this.#limitOf(run.limitMs);
    const { earlier, later } = run;
    if (earlier === undefined) limit.first = later;
    else earlier.later = later;
    if (later === undefined) limit.last = earlier;
    else later.earlier = earlier;
    run.limitMs = 0;
    run.earlier = undefined;
    run.later = undefined;
    if (limit.first === undefined) this.#cleanSoon();
  }

  /** Lets go of timers nobody needs, in the next turn: runs often come one after the other, and a timer costs more than a run. */
  #cleanSoon(): void {
    if (this.#cleaning) return;
    this.#cleaning = true;
    this.#clock.soon(this.#clean);
  }

  readonly #clean = (): void => {
    this.#cleaning = false;
    for (const limit of this.#limits.values()) {
      if (limit.first !== undefined) continue;
      limit.timer?.cancel();
      this.#limits.delete(limit.ms);
      if (this.#latest === limit) this.#latest = undefined;
    }
  };

  #limitOf(ms: number): Limit {
    let limit = this.#limits.get(ms);
    if (limit === undefined) {
      limit = new Limit(ms);
      this.#limits.set(ms, limit);
    }
    this.#latest = limit;
    return limit;
  }

  #arm(limit: Limit, { startedAt }: Run): Timer {
    const inMs = startedAt + limit.ms - this.#clock.mono();
    return this.#clock.after(inMs, () => this.#fire(limit), true);
  }

  #fire(limit: Limit): void {
    limit.timer = undefined;
    const now = this.#clock.mono();
    for (let run = limit.first; run !== undefined; run = limit.first) {
      if (run.startedAt + limit.ms > now) {
        limit.timer ??= this.#arm(limit, run);
        return;
      }
      this.remove(run);
      this.#ended(run, limit.ms);
    }
  }
}
