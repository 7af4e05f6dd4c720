import type { Clock } from '../../core/ports/runtime.ts';
import type { BackendTime, Token } from '../../core/ports/words.ts';

/** The backend's time and tokens: wall time at the start plus monotonic time since, µs, so it never goes back. */
export class MemoryClock {
  readonly #clock: Clock;
  readonly #origin: number;
  #lastToken = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#origin = clock.wall() - clock.mono();
  }

  now(): BackendTime {
    return Math.floor((this.#origin + this.#clock.mono()) * 1_000) as BackendTime;
  }

  /** A token above every earlier one of this backend, and not below the time in µs (L1). */
  token(at: BackendTime = this.now()): Token {
    this.#lastToken = Math.max(this.#lastToken + 1, at);
    return this.#lastToken as Token;
  }
}
