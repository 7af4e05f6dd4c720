import type { Clock, Timer } from '../../core/ports/runtime.ts';
import type { BackendTime, Token } from '../../core/ports/words.ts';

/** The backend's time and tokens: wall time at the start plus monotonic time since, µs, so it never goes back. */
export class MemoryClock {
  #clock: Clock;
  #origin: number;
  #followed = false;
  #lastToken = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#origin = clock.wall() - clock.mono();
  }

  /** Goes on by this clock from now on. The first call sets the time, a later one never sets it back. */
  follow(clock: Clock): void {
    if (clock === this.#clock) {
      this.#followed = true;
      return;
    }
    const floor = this.#followed ? this.#origin + this.#clock.mono() : Number.NEGATIVE_INFINITY;
    this.#followed = true;
    this.#clock = clock;
    this.#origin = Math.max(clock.wall(), floor) - clock.mono();
  }

  now(): BackendTime {
    return Math.floor((this.#origin + this.#clock.mono()) * 1_000) as BackendTime;
  }

  /** A token above every earlier one of this backend, and not below the time in µs (L1). */
  token(at: BackendTime = this.now()): Token {
    this.#lastToken = Math.max(this.#lastToken + 1, at);
    return this.#lastToken as Token;
  }

  /** A timer of the clock that this one follows; it doesn't hold the process open. */
  after(delayMs: number, fn: () => void): Timer {
    return this.#clock.after(delayMs, fn);
  }

  /** Runs `fn` in a later turn of the loop. */
  soon(fn: () => void): void {
    this.#clock.soon(fn);
  }
}
