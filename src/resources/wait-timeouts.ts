import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { Pending } from './lock-record.ts';

/** Waits with one time limit, in the order in which they began: the first to run out is the first of the list. */
class Limit {
  readonly ms: number;
  first: Pending | undefined;
  last: Pending | undefined;
  timer: Timer | undefined;

  constructor(ms: number) {
    this.ms = ms;
  }
}

/** Time limits of waits: one timer for all waits with the same limit, held while there are any. Adding and removing O(1). */
export class WaitTimeouts {
  readonly #clock: Clock;
  readonly #ended: (wait: Pending) => void;
  readonly #limits = new Map<number, Limit>();

  constructor(clock: Clock, ended: (wait: Pending) => void) {
    this.#clock = clock;
    this.#ended = ended;
  }

  add(wait: Pending): void {
    const ms = wait.timeoutMs;
    if (ms === Number.POSITIVE_INFINITY) return;
    let limit = this.#limits.get(ms);
    if (limit === undefined) {
      limit = new Limit(ms);
      this.#limits.set(ms, limit);
    }
    const { last } = limit;
    wait.earlier = last;
    if (last === undefined) limit.first = wait;
    else last.later = wait;
    limit.last = wait;
    if (limit.timer === undefined) this.#arm(limit);
  }

  remove(wait: Pending): void {
    const { earlier, later } = wait;
    const limit = this.#limits.get(wait.timeoutMs);
    if (limit === undefined || (earlier === undefined && limit.first !== wait)) return;
    if (earlier === undefined) limit.first = later;
    else earlier.later = later;
    if (later === undefined) limit.last = earlier;
    else later.earlier = earlier;
    wait.earlier = undefined;
    wait.later = undefined;
    if (limit.first !== undefined) return;
    limit.timer?.cancel();
    this.#limits.delete(limit.ms);
  }

  #arm(limit: Limit): void {
    const first = limit.first as Pending;
    const inMs = first.startedAt + limit.ms - this.#clock.mono();
    limit.timer = this.#clock.after(inMs, () => this.#fire(limit), true);
  }

  #fire(limit: Limit): void {
    limit.timer = undefined;
    const now = this.#clock.mono();
    for (let wait = limit.first; wait !== undefined; wait = limit.first) {
      if (wait.startedAt + limit.ms > now) {
        if (limit.timer === undefined) this.#arm(limit);
        return;
      }
      // Ending it takes it out of the list.
      this.#ended(wait);
    }
  }
}
