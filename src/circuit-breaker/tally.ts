/** What a window counted. */
export interface TallyCounts {
  readonly calls: number;
  readonly failures: number;
  readonly slow: number;
}

/** Counts calls in a sliding window; `now` is monotonic ms. Holds its counts itself, so that reading them costs nothing. */
export interface Tally extends TallyCounts {
  /** Whether `add` needs the time. */
  readonly timed: boolean;
  add(failed: boolean, slow: boolean, now: number): void;
  /** Drops what the window has left behind. */
  expire(now: number): void;
  clear(): void;
}

const FAILED = 1;
const SLOW = 2;

/** The last `size` calls, exactly: one byte a call. */
export class CallTally implements Tally {
  readonly timed = false;
  calls = 0;
  failures = 0;
  slow = 0;
  readonly #ring: Uint8Array;
  #at = 0;

  constructor(size: number) {
    this.#ring = new Uint8Array(size);
  }

  add(failed: boolean, slow: boolean): void {
    const ring = this.#ring;
    if (this.calls === ring.length) {
      const left = ring[this.#at] as number;
      if ((left & FAILED) !== 0) this.failures -= 1;
      if ((left & SLOW) !== 0) this.slow -= 1;
    } else this.calls += 1;
    ring[this.#at] = (failed ? FAILED : 0) | (slow ? SLOW : 0);
    this.#at = this.#at + 1 === ring.length ? 0 : this.#at + 1;
    if (failed) this.failures += 1;
    if (slow) this.slow += 1;
  }

  expire(): void {
    // the last calls stay the last calls
  }

  clear(): void {
    this.calls = this.failures = this.slow = this.#at = 0;
  }
}

const BUCKETS = 20;

/** The calls of the last `windowMs`, at a grain of a twentieth: between 95 % and all of the window is counted, never more. */
export class TimeTally implements Tally {
  readonly timed = true;
  calls = 0;
  failures = 0;
  slow = 0;
  readonly #grain: number;
  /** calls, failures, slow of each bucket. */
  readonly #buckets = new Float64Array(BUCKETS * 3);
  /** The newest bucket's number since the origin of the clock. */
  #newest = Number.NEGATIVE_INFINITY;

  constructor(windowMs: number) {
    this.#grain = windowMs / BUCKETS;
  }

  add(failed: boolean, slow: boolean, now: number): void {
    this.expire(now);
    const at = slot(this.#newest);
    const buckets = this.#buckets;
    buckets[at] = (buckets[at] as number) + 1;
    this.calls += 1;
    if (failed) {
      buckets[at + 1] = (buckets[at + 1] as number) + 1;
      this.failures += 1;
    }
    if (slow) {
      buckets[at + 2] = (buckets[at + 2] as number) + 1;
      this.slow += 1;
    }
  }

  expire(now: number): void {
    const bucket = Math.floor(now / this.#grain);
    if (bucket <= this.#newest) return;
    if (bucket - this.#newest >= BUCKETS) this.clear();
    else for (let old = this.#newest + 1; old <= bucket; old++) this.#empty(slot(old));
    this.#newest = bucket;
  }

  clear(): void {
    this.calls = this.failures = this.slow = 0;
    this.#buckets.fill(0);
  }

  #empty(at: number): void {
    const buckets = this.#buckets;
    this.calls -= buckets[at] as number;
    this.failures -= buckets[at + 1] as number;
    this.slow -= buckets[at + 2] as number;
    buckets.fill(0, at, at + 3);
  }
}

/** Where bucket number `n` lies; also right for clocks that began below zero. */
function slot(n: number): number {
  return (((n % BUCKETS) + BUCKETS) % BUCKETS) * 3;
}
