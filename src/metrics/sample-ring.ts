/** Plain tags of a sample. */
export type Tags = Readonly<Record<string, string>>;

/** One entry of a metric's history. */
export interface MetricSample {
  readonly timestamp: Date;
  readonly metric: string;
  readonly value: number;
  readonly tags?: Tags;
}

/** Samples that several rings may still take. */
export interface SampleBudget {
  left: number;
}

/** The last samples of one metric. Grows by doubling up to `capacity`; when that or the budget is used up, the oldest make room. */
export class SampleRing {
  readonly #capacity: number;
  readonly #budget: SampleBudget;
  #times = new Float64Array(0);
  #values = new Float64Array(0);
  #tags: (Tags | undefined)[] | undefined;
  #head = 0;
  #length = 0;

  constructor(capacity: number, budget: SampleBudget) {
    this.#capacity = capacity;
    this.#budget = budget;
  }

  get length(): number {
    return this.#length;
  }

  /** @param at ms since 1970 */
  push(at: number, value: number, tags?: Tags): void {
    if (this.#length === this.#times.length) this.#grow();
    const size = this.#times.length;
    const index = (this.#head + this.#length) % size;
    if (this.#length === size) this.#head = (this.#head + 1) % size;
    else this.#length += 1;
    this.#times[index] = at;
    this.#values[index] = value;
    if (tags !== undefined) this.#tags ??= new Array<Tags | undefined>(size);
    if (this.#tags !== undefined) this.#tags[index] = tags;
  }

  /** Oldest first, those at or after `since` (ms since 1970). */
  since(metric: string, since: number): MetricSample[] {
    const found: MetricSample[] = [];
    for (let i = 0; i < this.#length; i++) {
      const index = (this.#head + i) % this.#times.length;
      const at = this.#times[index] as number;
      if (!(at >= since)) continue;
      const tags = this.#tags?.[index];
      const sample = { timestamp: new Date(at), metric, value: this.#values[index] as number };
      found.push(tags === undefined ? sample : { ...sample, tags });
    }
    return found;
  }

  /** Gives everything back to the budget. */
  clear(): void {
    this.#budget.left += this.#times.length;
    this.#times = new Float64Array(0);
    this.#values = new Float64Array(0);
    this.#tags = undefined;
    this.#head = this.#length = 0;
  }

  /** Makes room if it may; at least one sample always fits. */
  #grow(): void {
    const size = this.#times.length;
    const wanted = Math.min(this.#capacity, Math.max(8, size * 2)) - size;
    const more =
      size === 0 ? Math.max(1, Math.min(wanted, this.#budget.left)) : Math.min(wanted, this.#budget.left);
    if (more <= 0) return;
    this.#budget.left -= more;
    this.#times = this.#unrolled(this.#times, more);
    this.#values = this.#unrolled(this.#values, more);
    if (this.#tags !== undefined) {
      const tags = this.#tags;
      this.#tags = Array.from({ length: size + more }, (_, i) =>
        i < size ? tags[(this.#head + i) % size] : undefined,
      );
    }
    this.#head = 0;
  }

  #unrolled(from: Float64Array, more: number): Float64Array<ArrayBuffer> {
    const to = new Float64Array(from.length + more);
    to.set(from.subarray(this.#head));
    to.set(from.subarray(0, this.#head), from.length - this.#head);
    return to;
  }
}
