import { andThen } from '../core/awaitable.ts';
import { checkId, invalid } from '../core/check.ts';
import { CoordinationError, describe } from '../core/errors.ts';
import type { Operations } from '../core/operations.ts';
import type { Consequences, Settlement, TaskStore } from '../core/ports/tasks.ts';
import type { Awaitable } from '../core/ports/words.ts';
import type { AgentRegistry } from './agent-registry.ts';
import type { Run, StopCause } from './agent.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Executor } from './executor.ts';
import { settleFailure, stopError } from './settlement.ts';
import type { Settler } from './settler.ts';
import { LocalHandle } from './task-handle.ts';
import type { CancelOutcome } from './types.ts';

/** Characters kept of a reason. */
const MAX_REASON = 500;

export interface CancellationDeps {
  readonly store: TaskStore;
  readonly operations: () => Operations;
  readonly agents: AgentRegistry;
  readonly executor: Executor;
  readonly dispatcher: Dispatcher;
  readonly settler: Settler;
  readonly consequences: (answer: Consequences) => void;
}

/** Ends tasks from outside: in the store where they wait, through their run where they have been claimed here. */
export class Cancellation {
  readonly #deps: CancellationDeps;

  constructor(deps: CancellationDeps) {
    this.#deps = deps;
  }

  /** Cancels a task, its sub-tasks, and dependents by their edge's policy. @throws UNKNOWN_TASK, INVALID_ARGUMENT */
  async cancel(taskId: string, reason = 'cancelled'): Promise<CancelOutcome> {
    checkId(taskId, 'taskId');
    if (typeof reason !== 'string') throw invalid(`Expected reason to be a string, got ${describe(reason)}`);
    return this.#cancel(taskId, reason.slice(0, MAX_REASON));
  }

  #cancel(taskId: string, reason: string): Awaitable<CancelOutcome> {
    const { operations, store } = this.#deps;
    const request = { task: taskId, reason, tree: true, revoke: false };
    return andThen(
      operations().run((op) => store.cancel(op, [request])),
      (answer) => {
        this.#deps.consequences(answer);
        for (const one of answer.requested) {
          const run =
            one.local instanceof LocalHandle ? one.local.run : this.#deps.executor.externals.get(one.task);
          if (run !== undefined) run.claimed.home.stop(run, 'cancel', one.reason);
          else this.#deps.dispatcher.cancelOnArrival(one.task, one.reason);
        }
        const result = answer.results[0];
        if (result === undefined || result.status === 'unknown') {
          throw new CoordinationError('UNKNOWN_TASK', `No task ${JSON.stringify(taskId)} is known`);
        }
        return { status: result.status, affected: result.affected };
      },
    );
  }

  /** Stops a claimed run wherever it stands: one that hasn't begun is settled at once. */
  stop(run: Run, cause: StopCause, reason: string, because?: CoordinationError): void {
    if (!hasNotBegun(run)) return this.#deps.executor.stop(run, cause, reason, because);
    this.#takeOut(run, cause, reason);
    this.#deps.settler.add(run, this.#settlementOf(run, cause, reason));
  }

  /** Forgets a claimed run that hasn't begun: the store ended its task. */
  drop(run: Run, reason: string): void {
    if (!hasNotBegun(run)) return;
    this.#takeOut(run, 'taken', reason);
    run.phase = 'ended';
    if (run.handle?.run === run) run.handle.run = undefined;
    run.facts.onSettled?.(undefined);
  }

  #takeOut(run: Run, cause: StopCause, reason: string): void {
    const { dispatcher, agents } = this.#deps;
    if (run.agent?.dequeue(run) === true) agents.queued(run.agent, -1);
    dispatcher.remove(run);
    run.phase = 'ending';
    run.facts.deadlineTimer?.cancel();
    run.giveLocksBack();
    run.extras.stopCause = cause;
    run.extras.stopError = stopError(cause, run.id, reason);
    run.facts.controller?.abort(run.facts.stopError);
  }

  /** Whatever the cause, it hasn't begun: unless it was cancelled or its time is over it goes back uncounted. */
  #settlementOf(run: Run, cause: StopCause, reason: string): Settlement {
    const { claim } = run;
    switch (cause) {
      case 'deadline':
        return settleFailure(claim, run.facts.stopError, 'bury', 'DEADLINE');
      case 'cancel':
        return { claim, as: 'cancel', reason };
      default:
        return {
          claim,
          as: 'release',
          delayMs: 0,
          reason,
          refundAttempt: true,
          ...(cause === 'agent-left' && run.nextAgent !== undefined ? { toAgent: run.nextAgent } : {}),
        };
    }
  }
}

function hasNotBegun({ phase }: Run): boolean {
  return phase === 'queued' || phase === 'parked' || phase === 'locking';
}
