import type { Clock } from '../core/ports/runtime.ts';
import { Limit, type Pending } from './pending.ts';

/** Time limits of waits: one timer for all waits with the same limit, held while there are any. Adding and removing O(1). */
export class WaitTimeouts<Record> {
  readonly #clock: Clock;
  readonly #ended: (wait: Pending<Record>, afterMs: number) => void;
  readonly #limits = new Map<number, Limit<Record>>();
  /** The one used last: most waits have the same. */
  #latest: Limit<Record> | undefined;

  constructor(clock: Clock, ended: (wait: Pending<Record>, afterMs: number) => void) {
    this.#clock = clock;
    this.#ended = ended;
  }

  /** @param ms `Infinity`: for ever */
  add(wait: Pending<Record>, ms: number): void {
    if (ms === Number.POSITIVE_INFINITY) return;
    const limit = this.#latest?.ms === ms ? this.#latest : this.#limitOf(ms);
    wait.limit = limit;
    const { last } = limit;
    wait.earlier = last;
    if (last === undefined) limit.first = wait;
    else last.later = wait;
    limit.last = wait;
    if (limit.timer === undefined) this.#arm(limit);
  }

  remove(wait: Pending<Record>): void {
    const { earlier, later, limit } = wait;
    if (limit === undefined) return;
    wait.limit = undefined;
    if (earlier === undefined) limit.first = later;
    else earlier.later = later;
    if (later === undefined) limit.last = earlier;
    else later.earlier = earlier;
    wait.earlier = undefined;
    wait.later = undefined;
    if (limit.first !== undefined) return;
    limit.timer?.cancel();
    limit.timer = undefined;
    this.#limits.delete(limit.ms);
    if (this.#latest === limit) this.#latest = undefined;
  }

  #limitOf(ms: number): Limit<Record> {
    let limit = this.#limits.get(ms);
    if (limit === undefined) {
      limit = new Limit<Record>(ms);
      this.#limits.set(ms, limit);
    }
    this.#latest = limit;
    return limit;
  }

  #arm(limit: Limit<Record>): void {
    const first = limit.first as Pending<Record>;
    const inMs = first.startedAt + limit.ms - this.#clock.mono();
    limit.timer = this.#clock.after(inMs, () => this.#fire(limit), true);
  }

  #fire(limit: Limit<Record>): void {
    limit.timer = undefined;
    const now = this.#clock.mono();
    for (let wait = limit.first; wait !== undefined; wait = limit.first) {
      if (wait.startedAt + limit.ms > now) {
        if (limit.timer === undefined) this.#arm(limit);
        return;
      }
      // Ending it takes it out of the list.
      this.#ended(wait, limit.ms);
    }
  }
}
