import { Histogram } from './histogram.ts';
import { CounterFamily, SeriesLimits } from './series.ts';

export interface HistogramSeries {
  readonly name: string;
  readonly help: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Of durations in ms. */
  readonly histogram: Histogram;
}

export interface GaugeSeries {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}
export interface GaugeFamily {
  readonly name: string;
  readonly help: string;
  readonly read: () => Iterable<GaugeSeries>;
}

/** Everything that is exported, in the order of its registration. */
export class MetricRegistry {
  readonly limits: SeriesLimits;
  readonly #counters = new Map<string, CounterFamily>();
  readonly histograms: HistogramSeries[] = [];
  readonly gauges: GaugeFamily[] = [];

  /** @param maxCounterSeries the other 1,900 of 3,000 are more than distributions and gauges with bounded labels can take */
  constructor(maxCounterSeries = 1_100) {
    this.limits = new SeriesLimits(maxCounterSeries);
  }

  get counters(): Iterable<CounterFamily> {
    return this.#counters.values();
  }

  /** The counter of this name, made at the first call. */
  counter(name: string, help: string, ...labels: readonly string[]): CounterFamily {
    let family = this.#counters.get(name);
    if (family === undefined) {
      family = new CounterFamily(name, help, labels, this.limits);
      this.#counters.set(name, family);
    }
    return family;
  }

  /** Several may share a name, with other labels. */
  histogram(name: string, help: string, labels: Readonly<Record<string, string>> = {}): Histogram {
    const histogram = new Histogram();
    this.histograms.push({ name, help, labels, histogram });
    return histogram;
  }

  gauge(name: string, help: string, read: () => Iterable<GaugeSeries>): void {
    this.gauges.push({ name, help, read });
  }

  clear(): void {
    this.limits.clear();
    for (const counter of this.#counters.values()) counter.clear();
    for (const { histogram } of this.histograms) histogram.clear();
  }
}
