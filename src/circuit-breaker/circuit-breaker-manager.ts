import { checkId } from '../core/check.ts';
import type { CircuitState } from '../core/coordination-types.ts';
import { CoordinationError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import type { Logger } from '../core/ports/runtime.ts';
import { nearestName } from '../core/nearest-name.ts';
import { readOptions } from '../core/options.ts';
import type { Call } from './attempt.ts';
import type { CircuitBreakerMetrics } from './circuit-breaker-metrics.ts';
import { breakerRules, type CircuitBreakerOptions } from './breaker-rules.ts';
import { CircuitBreaker, type CircuitBreakerParts, type ExecuteOptions } from './circuit-breaker.ts';

/** The breakers of a process, by name. */
export class CircuitBreakerManager {
  readonly #options: CircuitBreakerOptions;
  readonly #logger: Logger | undefined;
  readonly #events: EventSink | undefined;
  readonly #parts: CircuitBreakerParts;
  readonly #breakers = new Map<string, CircuitBreaker>();
  #stopped = false;

  /** @param options defaults of all breakers. @throws INVALID_OPTION */
  constructor(
    options?: CircuitBreakerOptions,
    logger?: Logger,
    events?: EventSink,
    parts: CircuitBreakerParts = {},
  ) {
    breakerRules(options);
    this.#options = options ?? {};
    this.#logger = logger;
    this.#events = events;
    this.#parts = parts;
  }

  /**
   * The breaker of this name, made at the first call with `options` over the manager's. Later calls get that same breaker, whatever
   * options they bring: the first configuration holds.
   * @throws INVALID_ARGUMENT, INVALID_OPTION
   */
  getBreaker(name: string, options?: CircuitBreakerOptions): CircuitBreaker {
    const known = this.#breakers.get(name);
    if (known !== undefined) return known;
    const breaker = new CircuitBreaker(name, this.#merged(options), this.#logger, this.#events, this.#parts);
    if (this.#stopped) breaker.shutdown();
    this.#breakers.set(name, breaker);
    return breaker;
  }

  /** `getBreaker(name, options).execute(call)`. */
  execute<R, F = never>(
    name: string,
    call: Call<R>,
    options?: CircuitBreakerOptions,
    how?: ExecuteOptions<F>,
  ): Promise<R | NoInfer<F>> {
    try {
      return this.getBreaker(name, options).execute(call, how);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  getAllBreakers(): ReadonlyMap<string, CircuitBreaker> {
    return new Map(this.#breakers);
  }

  /** By name; the record has no prototype, so any name is safe. */
  getAllMetrics(): Readonly<Record<string, CircuitBreakerMetrics>> {
    const all = Object.create(null) as Record<string, CircuitBreakerMetrics>;
    for (const [name, breaker] of this.#breakers) all[name] = breaker.getMetrics();
    return all;
  }

  /** @throws UNKNOWN_BREAKER */
  resetBreaker(name: string): void {
    this.#known(name).reset();
  }

  resetAll(): void {
    for (const breaker of this.#breakers.values()) breaker.reset();
  }

  /** @throws UNKNOWN_BREAKER, INVALID_ARGUMENT */
  forceState(name: string, state: CircuitState): void {
    this.#known(name).forceState(state);
  }

  /** Gives all timers up; the breakers go on working. */
  shutdown(): void {
    this.#stopped = true;
    this.#parts.shared?.stop?.();
    for (const breaker of this.#breakers.values()) breaker.shutdown();
  }

  /** A breaker's own `window` also replaces a `failureThreshold` of the manager's. */
  #merged(options: CircuitBreakerOptions | undefined): CircuitBreakerOptions {
    if (options === undefined || options === null) return this.#options;
    const given = readOptions('breakers', options);
    const { failureThreshold: _replaced, ...others } = this.#options;
    const inherited = given.window === undefined ? this.#options : others;
    return { ...inherited, ...given };
  }

  #known(name: string): CircuitBreaker {
    const breaker = this.#breakers.get(checkId(name, 'the name of a circuit breaker'));
    if (breaker !== undefined) return breaker;
    const nearest = nearestName(name, [...this.#breakers.keys()]);
    throw new CoordinationError('UNKNOWN_BREAKER', `There is no circuit breaker ${JSON.stringify(name)}`, {
      hint: nearest === undefined ? 'A breaker exists from its first use on.' : `Did you mean ${nearest}?`,
    });
  }
}
