import { handled, isPromise } from '../core/awaitable.ts';
import { describe } from '../core/errors.ts';
import type { Logger } from '../core/ports/runtime.ts';
import type { MetricGauges, QueueGauge } from './metric-gauges.ts';

/** What each gauge answers, once it has been checked. */
interface Readings {
  readonly queues: readonly QueueGauge[];
  readonly agentSlots: { readonly running: number; readonly slots: number };
  readonly locks: { readonly held: number; readonly known: number; readonly waiting: number };
  readonly mailboxes: { readonly messages: number };
}

const CHECKS: { readonly [N in keyof Readings]: (given: unknown) => Readings[N] } = {
  queues: (given) => Array.from(given as Iterable<QueueGauge>, checkQueue),
  agentSlots: (given) => numbers(given, ['running', 'slots']),
  locks: (given) => numbers(given, ['held', 'known', 'waiting']),
  mailboxes: (given) => numbers(given, ['messages']),
};

/** Reads the gauges it was given. When one fails, that is reported once and its last value stands (G5). */
export class GaugeReader {
  readonly #gauges: MetricGauges;
  readonly #logger: Logger;
  readonly #last: Partial<Record<string, unknown>> = {};
  readonly #failing = new Set<string>();

  constructor(gauges: MetricGauges, logger: Logger) {
    this.#gauges = gauges;
    this.#logger = logger;
  }

  has(name: keyof Readings): boolean {
    return this.#gauges[name] !== undefined;
  }

  /** `undefined` without such a gauge, or when it never worked. */
  read<N extends keyof Readings>(name: N): Readings[N] | undefined {
    if (this.#gauges[name] === undefined) return undefined;
    try {
      const given: unknown = this.#gauges[name]();
      if (isPromise(given)) handled(given);
      this.#last[name] = CHECKS[name](given);
      this.#failing.delete(name);
    } catch (error) {
      this.#report(name, error);
    }
    return this.#last[name] as Readings[N] | undefined;
  }

  #report(name: string, error: unknown): void {
    if (this.#failing.has(name)) return;
    this.#failing.add(name);
    const message = error instanceof Error ? String(error.message) : describe(error);
    this.#logger.warn(`The gauge ${name} of the metrics failed`, { message });
  }
}

function numbers<K extends string>(given: unknown, keys: readonly K[]): Readonly<Record<K, number>> {
  const values = given as Readonly<Record<K, number>>;
  for (const key of keys) {
    if (!Number.isFinite(values[key])) throw new TypeError(`${key} is ${describe(values[key])}`);
  }
  return values;
}

function checkQueue(given: QueueGauge): QueueGauge {
  if (typeof given.queue !== 'string') throw new TypeError(`queue is ${describe(given.queue)}`);
  numbers(given.states, Object.keys(given.states));
  if (given.oldestReadyAgeMs !== undefined) numbers(given, ['oldestReadyAgeMs']);
  return given;
}
