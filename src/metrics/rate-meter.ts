const SLOTS = 64;
const MINUTE = 60_000;

/**
 * How much a counter grew in the last minute: counted, not extrapolated (12,000 completions in a minute are 12,000). The counter costs
 * nothing; its owner marks the total about once a second, and between two marks growth is taken as even.
 */
export class RateMeter {
  readonly #times = new Float64Array(SLOTS);
  readonly #totals = new Float64Array(SLOTS);
  #marks = 0;

  /** Notes a total. Times are monotonic ms; marks less than a second after the last one are left out. */
  mark(now: number, total: number): void {
    const last = this.#marks - 1;
    if (last >= 0 && now - (this.#times[last % SLOTS] as number) < 1_000) return;
    this.#times[this.#marks % SLOTS] = now;
    this.#totals[this.#marks % SLOTS] = total;
    this.#marks += 1;
  }

  /** Growth up to `total` since a minute before `now`, or since the first mark if that is later. */
  perMinute(now: number, total: number): number {
    if (this.#marks === 0) return 0;
    return Math.round(total - this.#totalAt(now - MINUTE));
  }

  clear(): void {
    this.#marks = 0;
  }

  #totalAt(time: number): number {
    const oldest = Math.max(0, this.#marks - SLOTS);
    let before = oldest;
    for (let i = this.#marks - 1; i > oldest; i--) {
      if ((this.#times[i % SLOTS] as number) > time) continue;
      before = i;
      break;
    }
    const from = this.#times[before % SLOTS] as number;
    const total = this.#totals[before % SLOTS] as number;
    const after = before + 1;
    if (time <= from || after >= this.#marks) return total;
    const part = (time - from) / ((this.#times[after % SLOTS] as number) - from);
    return total + part * ((this.#totals[after % SLOTS] as number) - total);
  }
}
