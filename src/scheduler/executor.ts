import { andThen, isPromise } from '../core/awaitable.ts';
import { DeadlockError } from '../core/deadlock-error.ts';
import type { CoordinationError } from '../core/errors.ts';
import { type EventSink, wanting } from '../core/events.ts';
import { checkJson, RESULT_LIMITS } from '../core/json.ts';
import { isOfStore, type Operations } from '../core/operations.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Settlement, TaskStore } from '../core/ports/tasks.ts';
import { WithdrawnCall } from '../core/withdrawn-call.ts';
import type { Agent, Run, StopCause } from './agent.ts';
import type { SchedulerParts } from './parts.ts';
import { IdleNews } from './idle-news.ts';
import { RunTimeouts } from './run-timeouts.ts';
import type { Settler } from './settler.ts';
import {
  breakerDelay,
  countsAfterStop,
  giveBack,
  isOfLostSession,
  isWithdrawn,
  type RetryDecision,
  settleFailure,
  settleStopped,
  stopError,
  notCommitted,
  unusableResult,
} from './settlement.ts';
import type { SlotLoans } from './slot-loans.ts';
import type { Slots } from './slots.ts';
import type { SurvivorWaits } from './survivor-waits.ts';
import { type ContextHost, RunContext } from './task-context.ts';
import type { TaskHandler } from './types.ts';

export interface ExecutorDeps {
  readonly runtime: Runtime;
  readonly events: EventSink;
  readonly store: TaskStore;
  readonly operations: () => Operations;
  readonly settler: Settler;
  readonly slots: Slots;
  readonly loans: SlotLoans;
  readonly survivors: SurvivorWaits;
  readonly parts: SchedulerParts;
  readonly context: ContextHost;
  readonly graceMs: number;
  readonly taskTimeoutMs: number | undefined;
  /** The retry policy's word on a failed attempt. */
  readonly decide: (run: Run, error: unknown) => RetryDecision;
}

/** Runs attempts: calls handlers, keeps their time, stops them, and hands their ends to the settler. */
export class Executor {
  readonly #deps: ExecutorDeps;
  readonly #wantsStarted: () => boolean;
  /** Abandoned handlers that still run (T10). */
  zombies = 0;
  /** Whose handler is on the stack: what it waits for without its context would wait for itself. */
  inside: Run | undefined = undefined;
  /** Runs that end by the answer of an external agent. */
  readonly externals = new Map<string, Run>();
  readonly #timeouts: RunTimeouts;
  readonly #news: IdleNews;

  constructor(deps: ExecutorDeps) {
    this.#deps = deps;
    this.#wantsStarted = wanting(deps.events, 'task:started');
    this.#timeouts = new RunTimeouts(deps.runtime.clock, (run, ms) => this.stop(run, 'timeout', `${ms} ms`));
    this.#news = new IdleNews(deps.events, deps.runtime.clock);
  }

  /** Starts a run on an agent that has a free slot. @param now mono ms, read once for all that start in one go */
  begin(run: Run, agent: Agent, now: number): void {
    run.startedAt = now;
    agent.attach(run);
    this.#deps.slots.take(run, agent);
    if (agent.toldIdle) this.#news.active(agent);
    if (this.#isStopped(run)) return;
    if (run.started) this.#invoke(run, agent);
    else this.#confirm(run, agent);
  }

  /**
   * An external agent answers before its turn in its run queue came, or before the store has said that it may start: it has begun already.
   */
  beginAnswered(run: Run, agent: Agent): void {
    const { runtime, events } = this.#deps;
    if (run.phase === 'queued') {
      run.startedAt = runtime.clock.mono();
      run.phase = 'awaiting';
      agent.attach(run);
    }
    this.externals.set(run.id, run);
    if (!this.#wantsStarted()) return;
    events.emit('task:started', { taskId: run.id, agentId: agent.id, attempt: run.claim.attempt });
  }

  /** Whether a listener stopped the run before its handler was called; then it is settled here. */
  #isStopped(run: Run): boolean {
    if (run.facts.stopCause === undefined && run.phase === 'running') return false;
    this.#fail(run, run.facts.stopError);
    return true;
  }

  /** A prefetched claim may have been taken over: the store says whether it may still start (W1). */
  #confirm(run: Run, agent: Agent): void {
    const { operations, store, runtime } = this.#deps;
    const answer = andThen(
      operations().run((op) => store.start(op, [run.claim])),
      ({ started }) => {
        if (started[0] === true) {
          run.started = true;
          run.startedAt = runtime.clock.mono();
          if (!this.#isStopped(run)) this.#invoke(run, agent);
        } else if (run.phase === 'running') {
          this.#mark(run, 'taken', 'somebody else took it before it started');
          this.#conclude(run, undefined);
        }
      },
    );
    if (isPromise(answer)) answer.catch((error: unknown) => this.#notConfirmed(run, error));
  }

  /** Its handler was never called. */
  #notConfirmed(run: Run, error: unknown): void {
    if (!isOfStore(error) || run.facts.stopCause !== undefined || this.#isOver(run))
      return this.#fail(run, error);
    this.#conclude(run, giveBack(run.claim, 'the store did not say whether it may start'));
  }

  #invoke(run: Run, agent: Agent): void {
    const { parts, context } = this.#deps;
    const { breaker } = run.settings;
    if (agent.external) this.externals.set(run.id, run);
    else if (breaker !== undefined && parts.breaker !== undefined)
      return this.#invokeThrough(breaker, run, agent);
    if (!this.#tellStarted(run, agent) || agent.external) return;
    const outer = this.inside;
    this.inside = run;
    try {
      const result: unknown = handlerOf(run, agent)(new RunContext(run, context));
      this.inside = outer;
      if (isPromise(result)) this.#await(run, result);
      else this.#finish(run, result);
    } catch (error) {
      this.inside = outer;
      this.#fail(run, error);
    }
  }

  /** It is told of as started when the breaker has admitted the call: one that is refused was never made. */
  #invokeThrough(name: string, run: Run, agent: Agent): void {
    const { parts, context } = this.#deps;
    try {
      const handler = handlerOf(run, agent);
      const breaker = parts.breaker?.(name) as Breaker;
      const result = breaker.execute((): unknown => {
        // Admitted and not made, because a listener stopped it: the breaker hears of it as of a handler that is stopped later.
        if (!this.#tellStarted(run, agent)) throw thrownTo(run, run.facts.stopError);
        const outer = this.inside;
        this.inside = run;
        try {
          const answer: unknown = handler(new RunContext(run, context));
          this.inside = outer;
          if (!isPromise(answer)) return answer;
          return answer.then(undefined, (error: unknown) => {
            throw thrownTo(run, error);
          });
        } catch (error) {
          this.inside = outer;
          throw thrownTo(run, error);
        }
      });
      this.#await(run, result);
    } catch (error) {
      this.#fail(run, error);
    }
  }

  /** False: a listener stopped it, its handler must not be called. */
  #tellStarted(run: Run, agent: Agent): boolean {
    const { events } = this.#deps;
    if (this.#wantsStarted()) {
      events.emit('task:started', { taskId: run.id, agentId: agent.id, attempt: run.claim.attempt });
      if (this.#isStopped(run)) return false;
    }
    this.#armTimers(run);
    return true;
  }

  /** Apart from its caller, which would make room for what these closures use also where the handler answers at once. */
  #await(run: Run, result: Promise<unknown>): void {
    result.then(
      (value) => this.#finish(run, value),
      (error: unknown) => this.#fail(run, error),
    );
  }

  /** The answer of an external agent. */
  complete(run: Run, value: unknown): void {
    this.#finish(run, value);
  }

  fail(run: Run, error: unknown): void {
    this.#fail(run, error);
  }

  /**
   * Tells a run to stop. Its signal aborts; it is settled when its handler is done, at the latest after the grace. Runs of external agents
   * are settled at once. The first cause counts.
   * @param because the reason of the signal, where it is known better than by the cause
   */
  stop(run: Run, cause: StopCause, reason: string, because?: CoordinationError): void {
    if (run.facts.yieldsTo !== undefined) return this.#stopYielding(run, cause, reason, because);
    if (run.facts.stopCause !== undefined || run.phase === 'ending' || run.phase === 'ended') return;
    this.#mark(run, cause, reason, because);
    const error = run.facts.stopError as Error;
    run.facts.controller?.abort(error);
    const { graceMs, loans, runtime } = this.#deps;
    loans.end(run, error);
    // Nobody's handler has to give up: it is run elsewhere, or was not called yet.
    if (this.externals.get(run.id) === run || !run.started) {
      this.#fail(run, error);
      return;
    }
    run.extras.graceTimer = runtime.clock.after(graceMs, () => this.#abandon(run), true);
  }

  #armTimers(run: Run): void {
    const { taskTimeoutMs } = this.#deps;
    const timeoutMs = run.settings.timeoutMs ?? taskTimeoutMs;
    if (timeoutMs === undefined || timeoutMs === Number.POSITIVE_INFINITY) return;
    const { deadlineAt, deadlineTimer } = run.facts;
    if (deadlineAt !== undefined) {
      // Its timer runs since the claim; of the two the first is enough.
      if (deadlineAt < run.startedAt + timeoutMs) return;
      deadlineTimer?.cancel();
    }
    this.#timeouts.add(run, timeoutMs);
  }

  #finish(run: Run, value: unknown): void {
    if (this.#isOver(run)) return;
    const { stopCause, stopError: stopped } = run.facts;
    if (stopCause !== undefined && !countsAfterStop(stopCause)) return this.#fail(run, stopped);
    // If its transaction was committed the store says so now; if not, it has not been done.
    if (run.facts.completedWith !== undefined) return this.#fail(run, notCommitted(run.id));
    if (value !== undefined) {
      try {
        checkJson(value, 'the result', RESULT_LIMITS);
      } catch (error) {
        return this.#fail(run, unusableResult(error));
      }
    }
    this.#conclude(run, { claim: run.claim, as: 'complete', result: value });
  }

  #fail(run: Run, error: unknown): void {
    if (this.#isOver(run)) return;
    const settlement = this.#failureOf(run, error);
    const deadlock = settlement?.as === 'retry' ? DeadlockError.nodesOf(error) : undefined;
    if (deadlock === undefined) this.#conclude(run, settlement);
    else this.#afterSurvivor(run, deadlock, settlement as Settlement);
  }

  /** How a handler that threw is settled; `undefined`: by somebody else. */
  #failureOf(run: Run, error: unknown): Settlement | undefined {
    const { stopCause, stopError: told, stopReason } = run.facts;
    if (stopCause === 'taken') return undefined;
    if (stopCause !== undefined) {
      const reason = stopCause === 'cancel' ? stopReason : (told?.message ?? stopCause);
      const stopped = settleStopped(run.claim, stopCause, reason, run.nextAgent);
      if (stopped !== undefined) return stopped;
    }
    const delayMs = run.settings.breaker === undefined ? undefined : breakerDelay(error);
    if (delayMs !== undefined) {
      return { claim: run.claim, as: 'release', delayMs, reason: 'breaker open', refundAttempt: true };
    }
    const cause = stopCause === undefined ? error : told;
    if (run.facts.orphaned && isOfLostSession(cause)) return giveBack(run.claim, 'its session ended');
    run.extras.thrown = cause;
    const bury = stopCause === 'deadline' ? 'DEADLINE' : undefined;
    return settleFailure(run.claim, cause, this.#deps.decide(run, cause), bury);
  }

  /** A deadlock's victim gives back what it has, and tries again once the survivor has finished, or else by the retry policy. */
  #afterSurvivor(run: Run, nodes: DeadlockError['nodes'], settlement: Settlement): void {
    const { settler, survivors, runtime } = this.#deps;
    this.#release(run);
    run.phase = 'ending';
    const goOn = (): void => {
      run.facts.deadlineTimer?.cancel();
      settler.add(run, { ...settlement, delayMs: 0 } as Settlement);
    };
    if (!survivors.after(run, nodes, goOn)) return settler.add(run, settlement);
    const { deadlineAt } = run.facts;
    if (deadlineAt === undefined) return;
    const inMs = Math.max(0, deadlineAt - runtime.clock.mono());
    run.extras.deadlineTimer = runtime.clock.after(inMs, () => this.stop(run, 'deadline', 'deadline'), true);
  }

  /** It has failed, and waits for a survivor: what it was stopped for decides now how that is stored. */
  #stopYielding(run: Run, cause: StopCause, reason: string, because: CoordinationError | undefined): void {
    this.#deps.survivors.forget(run);
    this.#mark(run, cause, reason, because);
    this.#conclude(run, this.#failureOf(run, run.facts.stopError));
  }

  #abandon(run: Run): void {
    if (run.phase === 'ending' || run.phase === 'ended') return;
    const { events, graceMs } = this.#deps;
    this.zombies += 1;
    run.extras.zombie = true;
    if (events.wants('task:abandoned')) {
      events.emit('task:abandoned', { taskId: run.id, agentId: run.agent?.id ?? '', graceMs });
    }
    this.#fail(run, run.facts.stopError);
  }

  /** Whether the handler's answer comes too late to matter. */
  #isOver(run: Run): boolean {
    if (run.phase !== 'ending' && run.phase !== 'ended') return false;
    if (run.facts.zombie) {
      run.extras.zombie = false;
      this.zombies -= 1;
    }
    return true;
  }

  #conclude(run: Run, settlement: Settlement | undefined): void {
    this.#release(run);
    if (settlement === undefined) {
      run.phase = 'ended';
      if (run.handle?.run === run) run.handle.run = undefined;
      run.facts.onSettled?.(undefined);
    } else {
      run.phase = 'ending';
      this.#deps.settler.add(run, settlement);
    }
  }

  /** Gives back everything a run has: timers, locks, slot. */
  #release(run: Run): void {
    const { agent, facts } = run;
    this.#timeouts.remove(run);
    facts.deadlineTimer?.cancel();
    facts.graceTimer?.cancel();
    if (facts.lease !== undefined) run.giveLocksBack();
    if (facts.usedParts) this.#deps.parts.locks?.releaseRun(run.node);
    if (agent === undefined) return;
    if (this.externals.size > 0 && this.externals.get(run.id) === run) this.externals.delete(run.id);
    agent.detach(run);
    this.#deps.loans.forget(run);
    if (run.phase === 'running') this.#deps.slots.give(run);
    run.phase = 'ending';
    if (agent.isIdle) this.#news.idle(agent);
  }

  #mark(run: Run, cause: StopCause, reason: string, because?: CoordinationError): void {
    run.extras.stopCause = cause;
    run.extras.stopReason = reason;
    run.extras.stopError = because ?? stopError(cause, run.id, reason);
  }
}

/** What a breaker is told of a failed handler. */
function thrownTo({ facts }: Run, error: unknown): Error {
  const { stopCause } = facts;
  return stopCause !== undefined && isWithdrawn(stopCause) ? new WithdrawnCall(error) : (error as Error);
}

type Breaker = ReturnType<NonNullable<SchedulerParts['breaker']>>;

function handlerOf(run: Run, agent: Agent): TaskHandler {
  const { type } = run.claim.body;
  const handler = agent.handlerFor(type);
  if (handler === undefined) throw new TypeError(`Agent ${agent.id} has no handler for ${type}`);
  return handler;
}
