import type { CoordinationEvents, EventName } from '../../core/events.ts';
import type { GaugeReader } from '../gauge-reader.ts';
import type { MetricHistory } from '../metric-history.ts';
import type { MetricRegistry } from '../metric-registry.ts';

/** What the figures of a subject are made with. */
export interface FigureParts {
  readonly registry: MetricRegistry;
  readonly history: MetricHistory;
  readonly gauges: GaugeReader;
}

/** Adds a listener that lasts until the collector stops. */
export type Listen = <N extends EventName>(
  name: N,
  listener: (payload: CoordinationEvents[N]) => void,
) => void;

/** Has `add` told how often an event has occurred, whenever somebody looks: it costs nothing when the event occurs. */
export type Tally = (name: EventName, add: (occurrences: number) => void) => void;

/** The figures of one subject: they listen, count, and can be read. */
export interface Figures {
  listen(on: Listen, tally: Tally): void;
  /** Sets the counts to zero. What is the case now (who runs, who holds) stays. */
  clear(): void;
}

/** At most so many ids are followed where no gauge tells. Beyond that, figures are lower bounds. */
export const MAX_FOLLOWED = 100_000;

export function percent(part: number, whole: number): number {
  return whole > 0 ? Math.min(100, (100 * part) / whole) : 0;
}
