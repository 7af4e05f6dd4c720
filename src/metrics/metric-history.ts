import { isMetricName, METRIC_NAMES, type MetricName } from './metric-names.ts';
import { type MetricSample, SampleRing, type Tags } from './sample-ring.ts';
import { OTHER } from './series.ts';

/** How often something happened. Listeners only add to `total`; the rest is done once an interval. */
export interface EventCount {
  total: number;
  /** Of these, what is in a sample already. */
  sampled: number;
}

const MAX_CUSTOM = 200;
/** Samples that metrics of the user's own may hold together, beside one each. */
const CUSTOM_SAMPLES = 100_000;

/**
 * The last samples of each metric. A counted metric gets one sample for each interval in which it occurred, its value being how often;
 * so the sum over samples is true at any rate. What `recordMetric` brings is kept as it comes.
 */
export class MetricHistory {
  readonly #capacity: number;
  readonly #budget = { left: CUSTOM_SAMPLES };
  readonly #counts = new Map<string, EventCount>();
  readonly #rings = new Map<string, SampleRing>();
  /** How often each metric of the user's own occurred. */
  readonly #custom = new Map<string, number>();

  /** @param capacity samples kept for each metric */
  constructor(capacity: number) {
    this.#capacity = capacity;
    for (const name of Object.keys(METRIC_NAMES)) this.#counts.set(name, { total: 0, sampled: 0 });
  }

  count(name: MetricName): EventCount {
    return this.#counts.get(name) as EventCount;
  }

  /** Keeps one sample. False when it went to `__other__` because there are too many names. @param at ms since 1970 */
  record(name: string, value: number, at: number, tags?: Tags): boolean {
    if (isMetricName(name)) {
      const count = this.count(name);
      count.total += value;
      count.sampled += value;
      this.#ring(name).push(at, value, tags);
      return true;
    }
    const known = this.#custom.has(name) || this.#custom.size < MAX_CUSTOM;
    const metric = known ? name : OTHER;
    this.#custom.set(metric, (this.#custom.get(metric) ?? 0) + 1);
    this.#ring(metric, this.#budget).push(at, value, tags);
    return known;
  }

  /** Keeps a sample of a figure. */
  figure(name: string, value: number, at: number): void {
    this.#ring(name).push(at, value);
  }

  /** Turns what was counted since the last time into samples. */
  sample(at: number): void {
    for (const [name, count] of this.#counts) {
      const news = count.total - count.sampled;
      if (news === 0) continue;
      this.#ring(name).push(at, news);
      count.sampled = count.total;
    }
  }

  /** Samples at or after `since`, oldest first; what was counted since the last interval comes as a sample of now. */
  get(name: string, since: number, now: number): MetricSample[] {
    const samples = this.#rings.get(name)?.since(name, since) ?? [];
    const count = this.#counts.get(name);
    const news = count === undefined ? 0 : count.total - count.sampled;
    if (news !== 0 && now >= since) samples.push({ timestamp: new Date(now), metric: name, value: news });
    return samples;
  }

  /** Names by how often they occurred, most first. */
  top(limit: number): readonly { readonly metric: string; readonly count: number }[] {
    const counted = [...this.#counts].map(([metric, { total }]) => ({ metric, count: total }));
    const custom = [...this.#custom].map(([metric, count]) => ({ metric, count }));
    return [...counted, ...custom]
      .filter(({ count }) => count > 0)
      .sort((a, b) => b.count - a.count || (a.metric < b.metric ? -1 : 1))
      .slice(0, limit);
  }

  clear(): void {
    for (const count of this.#counts.values()) count.total = count.sampled = 0;
    this.#rings.clear();
    this.#custom.clear();
    this.#budget.left = CUSTOM_SAMPLES;
  }

  #ring(name: string, budget = { left: this.#capacity }): SampleRing {
    let ring = this.#rings.get(name);
    if (ring === undefined) this.#rings.set(name, (ring = new SampleRing(this.#capacity, budget)));
    return ring;
  }
}
