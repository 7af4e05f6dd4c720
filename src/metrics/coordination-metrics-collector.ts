import { checkId, checkInteger, checkNumber, checkRecord, invalid, reading } from '../core/check.ts';
import { describe } from '../core/errors.ts';
import type { EventBus, Listener } from '../core/event-bus.ts';
import type { EventName } from '../core/events.ts';
import { resolveOptions } from '../core/options.ts';
import type { Clock, Logger, Runtime, Timer } from '../core/ports/runtime.ts';
import { guardedLogger } from '../core/runtime/guarded-logger.ts';
import { silentLogger } from '../core/runtime/logger.ts';
import { systemClock } from '../core/runtime/runtime.ts';
import { CustomSeries } from './custom-series.ts';
import { AgentFigures } from './figures/agent-figures.ts';
import { CoordinationFigures } from './figures/coordination-figures.ts';
import type { CurrentMetrics } from './figures/current-metrics.ts';
import type { Listen, Tally } from './figures/figures.ts';
import { LockFigures } from './figures/lock-figures.ts';
import { MessageFigures } from './figures/message-figures.ts';
import { TaskFigures } from './figures/task-figures.ts';
import { GaugeReader } from './gauge-reader.ts';
import type { MetricGauges } from './metric-gauges.ts';
import { MetricHistory } from './metric-history.ts';
import { isMetricName, SAMPLED_FIGURES } from './metric-names.ts';
import { MetricRegistry } from './metric-registry.ts';
import { renderPrometheus } from './prometheus.ts';
import type { MetricSample, Tags } from './sample-ring.ts';
import { OTHER } from './series.ts';

export interface MetricsOptions {
  /** ms between samples. @default 1_000 */
  readonly intervalMs?: number;
  /** Samples kept for each metric. @default 3_600 */
  readonly historyLength?: number;
}

/** What a manager injects. */
export interface MetricsParts {
  readonly runtime?: Pick<Runtime, 'clock'> | undefined;
  readonly gauges?: MetricGauges | undefined;
}

/** What it needs of a bus. */
export type MetricsBus = Pick<EventBus, 'on' | 'count'> & Partial<Pick<EventBus, 'keep'>>;

const MARK_MS = 1_000;
const MAX_TAGS = 10;

/**
 * Counts what the bus reports, from `start()` to `stop()`. Nothing is estimated: rates are counted over the last minute, and what events
 * can't tell comes from gauges or is derived from the events, as said at each figure. Memory is bounded.
 */
export class CoordinationMetricsCollector {
  readonly #events: MetricsBus | undefined;
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #history: MetricHistory;
  readonly #registry = new MetricRegistry();
  readonly #custom = new CustomSeries(this.#registry.limits);
  readonly #tasks: TaskFigures;
  readonly #agents: AgentFigures;
  readonly #locks: LockFigures;
  readonly #messages: MessageFigures;
  readonly #coordination: CoordinationFigures;
  #subscriptions: Disposable[] = [];
  #tallies: (() => void)[] = [];
  #timers: (Timer | undefined)[] = [];
  #running = false;

  /** @throws INVALID_OPTION, INVALID_ARGUMENT */
  constructor(logger?: Logger, events?: MetricsBus, options?: MetricsOptions, parts: MetricsParts = {}) {
    if (events !== undefined && events !== null && !isBus(events)) {
      throw invalid(
        `Expected an event bus, got ${describe(events)}`,
        'The arguments are (logger, events, options).',
      );
    }
    const { intervalMs, historyLength } = resolveOptions('metrics', options);
    this.#events = events ?? undefined;
    this.#clock = parts.runtime?.clock ?? systemClock();
    this.#intervalMs = intervalMs;
    this.#history = new MetricHistory(historyLength);
    const figureParts = {
      registry: this.#registry,
      history: this.#history,
      gauges: new GaugeReader(parts.gauges ?? {}, guardedLogger(logger ?? silentLogger)),
    };
    this.#tasks = new TaskFigures(figureParts);
    this.#agents = new AgentFigures(figureParts);
    this.#locks = new LockFigures(figureParts);
    this.#messages = new MessageFigures(figureParts);
    this.#coordination = new CoordinationFigures(figureParts);
    const help = 'Last value of a metric of recordMetric.';
    this.#registry.gauge('agentmesh_custom_metric', help, () => this.#custom.all);
  }

  /** Begins to listen and to sample. Idempotent. */
  start(): void {
    if (this.#running) return;
    this.#running = true;
    const events = this.#events;
    if (events !== undefined) {
      const on: Listen = (name, listener) =>
        void this.#subscriptions.push(listenTo(events, name, listener as Listener<typeof name>));
      const tally: Tally = (name, add) => {
        let before = events.count(name);
        this.#tallies.push(() => {
          const now = events.count(name);
          if (now !== before) add(now - before);
          before = now;
        });
      };
      for (const figures of this.#figures) figures.listen(on, tally);
    }
    this.#mark();
    this.#every(0, MARK_MS, () => this.#mark());
    this.#every(1, this.#intervalMs, () => this.#sample());
  }

  /** Stops listening and sampling; what was counted stays readable. Idempotent. */
  stop(): void {
    if (!this.#running) return;
    this.#countUp();
    this.#tallies = [];
    this.#running = false;
    for (const subscription of this.#subscriptions) subscription[Symbol.dispose]();
    this.#subscriptions = [];
    for (const timer of this.#timers) timer?.cancel();
    this.#timers = [];
    this.#history.sample(this.#clock.wall());
  }

  getCurrentMetrics(): CurrentMetrics {
    this.#countUp();
    const now = this.#clock.mono();
    return {
      timestamp: new Date(this.#clock.wall()),
      taskMetrics: this.#tasks.read(now),
      agentMetrics: this.#agents.read(),
      resourceMetrics: this.#locks.read(),
      messageMetrics: this.#messages.read(now),
      coordinationMetrics: this.#coordination.read(),
    };
  }

  /**
   * The samples of a metric since then, oldest first; `[]` for a name that never occurred. A counted metric (`task.completed`) has one
   * sample for each interval in which it occurred, whose value is how often.
   * @throws INVALID_ARGUMENT
   */
  getMetricHistory(name: string, since?: Date): readonly MetricSample[] {
    checkId(name, 'the name of a metric');
    this.#countUp();
    const from = since === undefined ? Number.NEGATIVE_INFINITY : timeOf(since);
    return this.#history.get(name, from, this.#clock.wall());
  }

  /**
   * Keeps a value under a name of your own, or adds to a counted metric. Tags are labels in Prometheus for names of your own, and in the
   * history for all. Beyond 200 own names, or 300 sets of tags, values go to `__other__`.
   * @throws INVALID_ARGUMENT
   */
  recordMetric(name: string, value: number, tags?: Tags): void {
    checkId(name, 'the name of a metric');
    const least = isMetricName(name) ? 0 : -Number.MAX_VALUE;
    checkNumber(value, `the value of ${name}`, least, Number.MAX_VALUE);
    const kept = tags === undefined ? undefined : checkTags(tags);
    const isKnown = this.#history.record(name, value, this.#clock.wall(), kept);
    const hasSeries =
      isMetricName(name) ||
      (isKnown ? this.#custom.record(name, value, kept) : this.#custom.record(OTHER, value));
    if (!isKnown || !hasSeries) this.#registry.limits.drop();
  }

  /** The metrics that occurred most often. @throws INVALID_ARGUMENT */
  getTopMetrics(limit = 10): readonly { readonly metric: string; readonly count: number }[] {
    this.#countUp();
    return this.#history.top(checkInteger(limit, 'the limit', 1));
  }

  /** Forgets counts, samples and distributions; what is the case now (running tasks, agents, held locks) stays. */
  clearMetrics(): void {
    this.#countUp();
    this.#history.clear();
    this.#custom.clear();
    this.#registry.clear();
    for (const figures of this.#figures) figures.clear();
    this.#mark();
  }

  /** Everything in the text format of Prometheus. */
  toPrometheus(): string {
    this.#countUp();
    return renderPrometheus(this.#registry);
  }

  get #figures() {
    return [this.#tasks, this.#agents, this.#locks, this.#messages, this.#coordination] as const;
  }

  /** Takes over what the bus has counted since the last time. */
  #countUp(): void {
    for (const tally of this.#tallies) tally();
  }

  #mark(): void {
    const now = this.#clock.mono();
    this.#tasks.mark(now);
    this.#messages.mark(now);
  }

  #sample(): void {
    this.#countUp();
    const at = this.#clock.wall();
    this.#history.sample(at);
    const { activeTasks, queuedTasks, taskThroughput } = this.#tasks.read(this.#clock.mono());
    const values = [
      activeTasks,
      queuedTasks,
      taskThroughput,
      this.#agents.read().agentUtilization,
      this.#locks.read().resourceUtilization,
    ];
    SAMPLED_FIGURES.forEach((name, i) => this.#history.figure(name, values[i] ?? 0, at));
  }

  /** Repeats until stopped; holds no process. */
  #every(slot: number, ms: number, fn: () => void): void {
    const again = (): void => {
      this.#timers[slot] = this.#clock.after(ms, () => {
        fn();
        if (this.#running) again();
      });
    };
    again();
  }
}

/** On a bus that knows the difference, users who remove their listeners don't remove these. */
function listenTo<N extends EventName>(events: MetricsBus, name: N, listener: Listener<N>): Disposable {
  return events.keep === undefined ? events.on(name, listener) : events.keep(name, listener);
}

function isBus(events: MetricsBus): boolean {
  return reading('an event bus', () => typeof events.on === 'function' && typeof events.count === 'function');
}

function timeOf(since: unknown): number {
  const time = reading('since', () => (since instanceof Date ? since.getTime() : Number.NaN));
  if (Number.isNaN(time)) throw invalid(`Expected since to be a valid Date, got ${describe(since)}`);
  return time;
}

/** A copy of the tags. @throws INVALID_ARGUMENT */
function checkTags(given: unknown): Tags {
  const entries = Object.entries(checkRecord(given as object, 'the tags of a metric'));
  if (entries.length > MAX_TAGS) throw invalid(`Expected at most ${MAX_TAGS} tags, got ${entries.length}`);
  // fromEntries defines properties, so a tag called __proto__ is one like any other.
  return Object.fromEntries(
    entries.map(([name, value]) => [checkId(name, 'the name of a tag'), checkId(value, `tag ${name}`)]),
  );
}
