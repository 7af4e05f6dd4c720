import type { GaugeSeries } from './metric-registry.ts';
import type { Tags } from './sample-ring.ts';
import { OTHER, type SeriesLimits } from './series.ts';

/** Most series with tags, of all metrics together. */
const MAX_TAGGED = 300;

/** The last value of each metric of the user's own, one series for each set of tags. What is beyond the bound goes to `__other__`. */
export class CustomSeries {
  readonly #limits: SeriesLimits;
  /** A name alone can't be taken for a list of labels: it follows a blank. */
  readonly #series = new Map<string, { readonly labels: Tags; value: number }>();
  #tagged = 0;

  /** @param limits series with tags take from these, beside their own bound */
  constructor(limits: SeriesLimits) {
    this.#limits = limits;
  }

  /** Keeps the value. False when it went to `__other__`. */
  record(metric: string, value: number, tags: Tags = {}): boolean {
    const labels = labelsOf(metric, tags);
    const isTagged = Object.keys(labels).length > 1;
    const key = isTagged ? JSON.stringify(Object.entries(labels)) : ` ${metric}`;
    const known = this.#series.get(key);
    if (known !== undefined) known.value = value;
    else if (!isTagged) this.#series.set(key, { labels, value });
    else if (this.#tagged < MAX_TAGGED && this.#limits.take()) {
      this.#tagged += 1;
      this.#series.set(key, { labels, value });
    } else {
      this.record(OTHER, value);
      return false;
    }
    return true;
  }

  get all(): Iterable<GaugeSeries> {
    return this.#series.values();
  }

  clear(): void {
    this.#series.clear();
    this.#tagged = 0;
  }
}

/** The labels of a series: the same for the same tags, in whatever order they were named. */
function labelsOf(metric: string, tags: Tags): Tags {
  const labels = new Map([['metric', metric]]);
  for (const name of Object.keys(tags).toSorted()) {
    const label = labelName(name);
    let free = label;
    for (let n = 2; labels.has(free); n++) free = `${label}_${n}`;
    labels.set(free, tags[name] as string);
  }
  return Object.fromEntries(labels);
}

/** What Prometheus takes for the name of a label: letters, digits and `_`, no digit in front; those that begin with `__` are its own. */
function labelName(tag: string): string {
  if (tag === 'metric') return 'tag_metric';
  return tag
    .replaceAll(/[^a-zA-Z0-9_]/g, '_')
    .replace(/^(?=\d)/, '_')
    .replace(/^__+/, '_');
}
