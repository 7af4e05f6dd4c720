import type { Clock } from '../core/ports/runtime.ts';

/**
 * One at a time: those who have lost to a deadlock several times in a row run again one after another. Two of them at work together
 * would have to lose to each other, and the row would go on.
 */
export class DefeatLane {
  readonly #clock: Clock;
  #last: Promise<void> = Promise.resolve();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when it is this one's turn, or after `timeoutMs` in any case, with the function that ends the turn. */
  async enter(timeoutMs: number): Promise<() => void> {
    const before = this.#last;
    const turn = Promise.withResolvers<void>();
    this.#last = turn.promise;
    const late = Promise.withResolvers<void>();
    const timer =
      timeoutMs === Number.POSITIVE_INFINITY
        ? undefined
        : this.#clock.after(timeoutMs, () => late.resolve(), true);
    await Promise.race([before, late.promise]);
    timer?.cancel();
    return () => turn.resolve();
  }
}
