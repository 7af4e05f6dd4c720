import { checkFunction, checkId, checkSignal, invalid } from '../core/check.ts';
import { CircuitState } from '../core/coordination-types.ts';
import { CoordinationError, describe } from '../core/errors.ts';
import { type EventSink, silentSink } from '../core/events.ts';
import { checkOptions } from '../core/options.ts';
import type { Clock, Logger, Runtime, Timer } from '../core/ports/runtime.ts';
import { silentLogger } from '../core/runtime/logger.ts';
import { systemClock } from '../core/runtime/runtime.ts';
import { attempt, type Call } from './attempt.ts';
import { type BreakerRules, breakerRules, type CircuitBreakerOptions } from './breaker-rules.ts';
import {
  admitProbe,
  type Circuit,
  elapse,
  force,
  initialCircuit,
  isCurrent,
  type Probe,
  settle,
  type Verdict,
} from './circuit.ts';
import { checkLogger, checkSink } from './constructor-arguments.ts';
import { type CircuitBreakerMetrics, NO_COUNTS } from './circuit-breaker-metrics.ts';
import { CircuitOpenError } from './circuit-open-error.ts';
import { type CircuitSnapshot, fromSnapshot, toSnapshot } from './circuit-snapshot.ts';
import type { CallOutcome } from './classify.ts';
import { judge } from './judge.ts';
import { linkAbort, untilAborted } from './linked-abort.ts';
import type { SharedCircuits } from './shared-circuits.ts';
import type { Tally } from './tally.ts';
import { tripReason } from './trip.ts';

/** `F`: what the fallback answers with. */
export interface ExecuteOptions<F = never> {
  /** The call rejects with its reason as soon as it aborts, which counts as a rejection. */
  readonly signal?: AbortSignal | undefined;
  /** Answers instead when the call was refused or failed, but not when its own signal aborted. */
  readonly fallback?: ((error: unknown) => F | PromiseLike<F>) | undefined;
}

/** What a manager injects. */
export interface CircuitBreakerParts {
  readonly runtime?: Pick<Runtime, 'clock'> | undefined;
  /** Where breakers with `shared` have their state. */
  readonly shared?: (Pick<SharedCircuits, 'add' | 'changed'> & { stop?(): void }) | undefined;
}

/** One admitted call. */
interface Ticket {
  readonly generation: number;
  readonly probe?: Probe;
  readonly startedAt: number;
}

/** How plain calls of a generation end: made once a generation, so that a call allocates nothing but its promise. */
interface PlainEnd {
  readonly succeed: <R>(value: R) => R;
  readonly fail: (error: unknown) => never;
}

/**
 * Refuses calls of a dependency that keeps failing, and finds out by few probes when it has recovered. By default every rejection
 * counts as a failure. Emits `circuitbreaker:state-change` when the state changes, time included.
 */
export class CircuitBreaker {
  readonly name: string;
  readonly #rules: BreakerRules;
  readonly #tally: Tally | undefined;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #events: EventSink;
  #circuit: Circuit = initialCircuit;
  #counts = { ...NO_COUNTS };
  /** Calls admitted before this generation are no longer counted. */
  #countedFrom = 0;
  #plain: PlainEnd;
  /** Open: when probes are let through. */
  #timer: Timer | undefined;
  #stopped = false;
  readonly #shared: CircuitBreakerParts['shared'];

  /** @throws INVALID_ARGUMENT, INVALID_OPTION, NOT_SUPPORTED for a shared one that has nothing to share it over */
  constructor(
    name: string,
    options?: CircuitBreakerOptions,
    logger?: Logger,
    events?: EventSink,
    parts: CircuitBreakerParts = {},
  ) {
    this.name = checkId(name, 'the name of a circuit breaker');
    this.#rules = breakerRules(options);
    this.#logger = checkLogger(logger) ?? silentLogger;
    this.#events = checkSink(events) ?? silentSink;
    this.#clock = parts.runtime?.clock ?? systemClock();
    this.#tally = this.#rules.createTally?.();
    this.#plain = this.#plainEnd(0);
    this.#shared = this.#rules.shared ? parts.shared : undefined;
    if (!this.#rules.shared) return;
    if (parts.shared === undefined) throw nothingToShareOver(name);
    const { probeTimeoutMs } = this.#rules;
    parts.shared.add({
      name,
      probeTimeoutMs,
      snapshot: () => this.snapshot(),
      isProbing: () => this.#circuit.state === 'half-open' && this.#circuit.probes.length > 0,
      adopt: (snapshot) => this.#adopt(snapshot),
    });
  }

  /**
   * Calls `call`, unless the circuit refuses. The promise settles as the call does, or as `options.fallback`.
   * @throws CIRCUIT_OPEN with `retryAfterMs` when refused; what the call throws; the signal's reason; INVALID_ARGUMENT
   */
  execute<R, F = never>(call: Call<R>, options?: ExecuteOptions<F>): Promise<R | NoInfer<F>> {
    if (typeof call !== 'function') {
      return Promise.reject(invalid(`Expected a function to execute, got ${describe(call)}`));
    }
    // The common case pays for neither options nor time.
    if (options === undefined && this.#circuit.state === 'closed' && this.#rules.slow === undefined) {
      this.#counts.calls += 1;
      const { succeed, fail } = this.#plain; // of the generation that admits, whatever the call does to it
      return attempt(call).then(succeed, fail);
    }
    return this.#executeWith(call, options ?? {});
  }

  /** The state now: an open circuit whose time has come is half-open. */
  getState(): CircuitState {
    return this.#look(this.#clock.mono()).state;
  }

  getMetrics(): CircuitBreakerMetrics {
    const now = this.#clock.mono();
    const circuit = this.#look(now);
    const counts = this.#counts;
    const { calls, successes, failures, ignored, stale } = counts;
    return {
      state: circuit.state,
      reason: circuit.reason,
      generation: circuit.generation,
      ...counts,
      running: calls - successes - failures - ignored - stale,
      consecutiveFailures: circuit.state === 'closed' ? circuit.failures : 0,
      retryAfterMs: circuit.state === 'open' ? Math.max(0, circuit.until - now) : 0,
    };
  }

  /** Puts the circuit into a state; from there it moves as always. Calls under way change nothing any more. @throws INVALID_ARGUMENT */
  forceState(state: CircuitState): void {
    if (!Object.values(CircuitState).includes(state)) {
      throw invalid(`Expected a state closed, open or half-open, got ${describe(state)}`);
    }
    const now = this.#clock.mono();
    this.#become(force(this.#look(now), state, 'forced', this.#rules, now));
  }

  /** Closes the circuit and starts all counts anew. */
  reset(): void {
    const now = this.#clock.mono();
    this.#become(force(this.#look(now), 'closed', 'reset', this.#rules, now));
    this.#counts = { ...NO_COUNTS };
    this.#countedFrom = this.#circuit.generation;
  }

  /** The state as plain data. */
  snapshot(): CircuitSnapshot {
    const now = this.#clock.mono();
    return toSnapshot(this.#look(now), now);
  }

  /** Takes over a snapshot if it is newer than the present state, by generation. Returns whether it did. @throws INVALID_ARGUMENT */
  restore(snapshot: CircuitSnapshot): boolean {
    const now = this.#clock.mono();
    const circuit = fromSnapshot(snapshot, this.#rules, now);
    if (circuit.generation <= this.#look(now).generation) return false;
    this.#become(circuit);
    return true;
  }

  /** What all processes have agreed on, also where this one came to another end at the same time. */
  #adopt(snapshot: CircuitSnapshot): void {
    const now = this.#clock.mono();
    const circuit = fromSnapshot(snapshot, this.#rules, now);
    const own = this.#look(now);
    if (circuit.generation < own.generation) return;
    if (circuit.generation === own.generation && circuit.state === own.state) return;
    this.#become(circuit);
  }

  /** Gives its timer up: from here on, half-open is announced when somebody asks rather than when it comes. */
  shutdown(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #executeWith<R, F>(call: Call<R>, given: ExecuteOptions<F>): Promise<R | F> {
    let options: ExecuteOptions<F>;
    try {
      options = checkOptions('execute', given, ['signal', 'fallback']);
      checkSignal(options.signal, 'options.signal');
      if (options.fallback !== undefined) checkFunction(options.fallback, 'options.fallback');
    } catch (error) {
      return Promise.reject(error);
    }
    const { signal, fallback } = options;
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error);
    const ticket = this.#admit();
    const answer =
      ticket instanceof CircuitOpenError ? Promise.reject(ticket) : this.#make(call, ticket, signal);
    if (fallback === undefined) return answer;
    return answer.catch((error: unknown) => {
      if (signal?.aborted === true) throw error;
      return fallback(error);
    });
  }

  /** Admits a call, or says why not. Counting happens here, before the call is made (B1). */
  #admit(): Ticket | CircuitOpenError {
    const now = this.#clock.mono();
    const circuit = this.#look(now);
    const { generation } = circuit;
    if (circuit.state === 'closed') {
      this.#counts.calls += 1;
      return { generation, startedAt: now };
    }
    const next = circuit.state === 'half-open' ? admitProbe(circuit, this.#rules, now) : undefined;
    const probe = next?.probes.at(-1);
    if (next === undefined || probe === undefined) {
      this.#counts.refused += 1;
      const retryAfterMs = circuit.state === 'open' ? circuit.until - now : 0;
      return new CircuitOpenError(this.name, { retryAfterMs, reason: circuit.reason });
    }
    this.#become(next);
    this.#shared?.changed(this.name);
    this.#counts.calls += 1;
    this.#counts.probes += 1;
    return { generation, probe, startedAt: now };
  }

  #make<R>(call: Call<R>, ticket: Ticket, signal: AbortSignal | undefined): Promise<R> {
    const { probe } = ticket;
    if (probe === undefined)
      return this.#observe(untilAborted(attempt(call, signal), signal), ticket, signal);
    const link = linkAbort(signal);
    const timer = this.#clock.after(this.#rules.probeTimeoutMs, () => {
      if (this.#takeBack(ticket.generation, probe))
        link.abort(probeTimedOut(this.name, this.#rules.probeTimeoutMs));
    });
    const work = untilAborted(attempt(call, link.signal), signal);
    const ended = work.finally(() => {
      timer.cancel();
      link.unlink();
    });
    return this.#observe(ended, ticket, signal);
  }

  /** Takes the place of an overdue probe back. False when the breaker has moved on and places no longer matter. */
  #takeBack(generation: number, probe: Probe): boolean {
    const circuit = this.#look(this.#clock.mono());
    return circuit.generation === generation && !isCurrent(circuit, generation, probe.id);
  }

  #observe<R>(work: Promise<R>, ticket: Ticket, signal: AbortSignal | undefined): Promise<R> {
    return work.then(
      (value) => {
        this.#end(ticket, { ok: true, value, aborted: false });
        return value;
      },
      (error: unknown) => {
        this.#end(ticket, { ok: false, error, aborted: signal?.aborted === true });
        throw error;
      },
    );
  }

  #plainEnd(generation: number): PlainEnd {
    const ticket: Ticket = { generation, startedAt: 0 };
    // A success of a closed circuit that counts nothing has nothing to do.
    const simple = this.#tally === undefined && this.#rules.classify === undefined;
    return {
      succeed: (value) => {
        const circuit = this.#circuit;
        if (
          simple &&
          circuit.generation === generation &&
          circuit.state === 'closed' &&
          circuit.failures === 0
        )
          this.#counts.successes += 1;
        else this.#end(ticket, { ok: true, value, aborted: false });
        return value;
      },
      fail: (error) => {
        this.#end(ticket, { ok: false, error, aborted: false });
        throw error;
      },
    };
  }

  #end(ticket: Ticket, outcome: CallOutcome): void {
    const { generation, probe } = ticket;
    const judged = judge(outcome, this.#rules.classify, this.#classifierFailed);
    const timed = probe !== undefined || this.#rules.slow !== undefined || this.#tally?.timed === true;
    const now = timed || judged === 'failure' ? this.#clock.mono() : 0;
    const circuit = probe === undefined ? this.#circuit : this.#look(now);
    if (!isCurrent(circuit, generation, probe?.id)) {
      if (generation >= this.#countedFrom) this.#counts.stale += 1;
      return;
    }
    this.#count(judged);
    const slow = this.#rules.slow !== undefined && now - ticket.startedAt > this.#rules.slow.overMs;
    const verdict = slow && probe !== undefined && judged === 'success' ? 'failure' : judged;
    const trip = probe === undefined ? this.#tallied(verdict, slow, now) : undefined;
    // A trip on a success needs the time as well.
    const at = trip === undefined ? now : this.#clock.mono();
    this.#become(settle(circuit, { generation, probe: probe?.id, verdict, trip }, this.#rules, at));
  }

  #count(verdict: Verdict): void {
    if (verdict === 'success') this.#counts.successes += 1;
    else if (verdict === 'failure') this.#counts.failures += 1;
    else this.#counts.ignored += 1;
  }

  #tallied(verdict: Verdict, slow: boolean, now: number): string | undefined {
    const tally = this.#tally;
    if (tally === undefined || verdict === 'ignore') return undefined;
    tally.add(verdict === 'failure', slow, now);
    return tripReason(tally, this.#rules.failing, this.#rules.slow);
  }

  readonly #classifierFailed = (message: string): void => {
    this.#logger.warn(`The classifier of circuit breaker ${this.name} failed`, { message });
    this.#events.emit('strategy:failed', { strategy: `classify of breaker ${this.name}`, message });
  };

  /** The circuit as of now. */
  #look(now: number): Circuit {
    const { state } = this.#circuit;
    if (state !== 'closed') this.#become(elapse(this.#circuit, now));
    return this.#circuit;
  }

  #become(next: Circuit): void {
    const before = this.#circuit;
    if (next === before) return;
    this.#circuit = next;
    if (next.generation === before.generation && next.state === before.state) return;
    this.#plain = this.#plainEnd(next.generation);
    this.#tally?.clear();
    this.#arm();
    this.#shared?.changed(this.name);
    if (next.state === before.state) return;
    if (next.state === 'open') this.#counts.opened += 1;
    const change = { name: this.name, from: before.state, to: next.state, reason: next.reason };
    this.#logger.info(`Circuit breaker ${this.name}: ${change.from} → ${change.to}`, change);
    this.#events.emit('circuitbreaker:state-change', change);
  }

  /** One timer an open breaker, so that half-open is announced when it comes; it doesn't hold the process. */
  #arm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const circuit = this.#circuit;
    if (circuit.state !== 'open' || this.#stopped) return;
    this.#timer = this.#clock.after(circuit.until - this.#clock.mono(), () => {
      if (this.#circuit === circuit && this.#look(this.#clock.mono()) === circuit) this.#arm();
    });
  }
}

function nothingToShareOver(name: string): CoordinationError {
  return new CoordinationError(
    'NOT_SUPPORTED',
    `Circuit breaker ${name} can't be shared: it has no backend`,
    {
      hint: 'Get it from a CoordinationManager whose backend has state, or carry the state with snapshot() and restore().',
    },
  );
}

function probeTimedOut(name: string, ms: number): CoordinationError {
  return new CoordinationError(
    'TIMEOUT',
    `A probe of circuit breaker ${name} did not settle within ${ms} ms`,
  );
}
