import type { Clock } from '../core/ports/runtime.ts';

/** Beginnings that share one reading of the clock at most. */
const SHARED = 64;

/** When several things began, read once when all of them have: a time limit that counts from there never ends too early. */
export class Moment {
  readonly #clock: Clock;
  #ms: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#ms = undefined;
  }

  /** mono ms; while more may begin, now. */
  get ms(): number {
    return this.#ms ?? this.#clock.mono();
  }

  /** Nothing more begins with the others. */
  end(): this {
    this.#ms ??= this.#clock.mono();
    return this;
  }
}

/** Moments of things that come thick and fast: one lasts for a turn of the loop at most. */
export class Moments {
  readonly #clock: Clock;
  #open: Moment | undefined;
  #left = 0;
  #armed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#open = undefined;
  }

  /** For something that begins now. */
  begin(): Moment {
    this.#left -= 1;
    if (this.#open !== undefined && this.#left > 0) return this.#open;
    return this.#next();
  }

  #next(): Moment {
    this.#open?.end();
    const moment = new Moment(this.#clock);
    this.#open = moment;
    this.#left = SHARED;
    if (!this.#armed) {
      this.#armed = true;
      this.#clock.soon(this.#turned);
    }
    return moment;
  }

  readonly #turned = (): void => {
    this.#armed = false;
    this.#open?.end();
    this.#open = undefined;
  };
}
