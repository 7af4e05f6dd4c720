import type { Clock, Timer } from '../core/ports/runtime.ts';

/** A task whose deadline has come is the store's to end; until it has, the process stays for this long, ms, and again. */
const AGAIN_MS = 1_000;

/** Keeps the process alive while somebody awaits a task that its deadline will end, whether or not anything else does. */
export class DeadlineHolds {
  readonly #clock: Clock;
  /** When the tasks of these handles end at the latest, mono ms. Absent until a task has a deadline. */
  #deadlines: WeakMap<object, number> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The task of this handle ends within this time. */
  add(handle: object, inMs: number): void {
    this.#deadlines ??= new WeakMap();
    this.#deadlines.set(handle, this.#clock.mono() + inMs);
  }

  /** Somebody waits for the result of this handle until it has settled. */
  awaited(handle: object, result: Promise<unknown>): void {
    const at = this.#deadlines?.get(handle);
    if (at === undefined) return;
    let timer: Timer;
    const hold = (ms: number): void => {
      timer = this.#clock.after(ms, () => hold(AGAIN_MS), true);
    };
    const end = (): void => timer.cancel();
    hold(at - this.#clock.mono());
    result.then(end, end);
  }
}
