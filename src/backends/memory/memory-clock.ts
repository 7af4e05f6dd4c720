import type { Clock, Timer } from '../../core/ports/runtime.ts';
import type { BackendTime, Token } from '../../core/ports/words.ts';

/** Calls of {@link MemoryClock.coarse} that share one reading of the clock, unless the loop turns before. */
const COARSE_CALLS = 64;

/** The backend's time and tokens: wall time at the start plus monotonic time since, µs, so it never goes back. */
export class MemoryClock {
  #clock: Clock;
  #origin: number;
  #followed = false;
  #lastToken = 0;
  #latest = 0 as BackendTime;
  /** Calls that may still have the latest reading. */
  #fresh = 0;
  #aging = false;

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
    this.#fresh = 0;
    this.#origin = Math.max(clock.wall(), floor) - clock.mono();
  }

  now(): BackendTime {
    this.#latest = Math.floor((this.#origin + this.#clock.mono()) * 1_000) as BackendTime;
    this.#fresh = COARSE_CALLS;
    return this.#latest;
  }

  /** The time, read once for calls that come thick and fast in one turn of the loop: never before what {@link now} said last. */
  coarse(): BackendTime {
    if (this.#fresh === 0) this.now();
    this.#fresh -= 1;
    if (!this.#aging) {
      this.#aging = true;
      this.#clock.soon(this.#age);
    }
    return this.#latest;
  }

  readonly #age = (): void => {
    this.#aging = false;
    this.#fresh = 0;
  };

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
