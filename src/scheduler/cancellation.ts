import { andThen } from '../core/awaitable.ts';
import { CoordinationError } from '../core/errors.ts';
import type { Operations } from '../core/operations.ts';
import type { Consequences, TaskStore } from '../core/ports/tasks.ts';
import type { Awaitable } from '../core/ports/words.ts';
import type { AgentRegistry } from './agent-registry.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Executor } from './executor.ts';
import type { Run, StopCause } from './agent.ts';
import { settleStopped, stopError } from './settlement.ts';
import type { Settler } from './settler.ts';
import { LocalHandle } from './task-handle.ts';
import type { CancelOutcome } from './types.ts';

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

  /** Cancels a task, its sub-tasks, and dependents by their edge's policy. @throws UNKNOWN_TASK */
  cancel(taskId: string, reason: string): Awaitable<CancelOutcome> {
    const { operations, store } = this.#deps;
    const request = { task: taskId, reason, tree: true, revoke: false };
    return andThen(
      operations().run((op) => store.cancel(op, [request])),
      (answer) => {
        this.#deps.consequences(answer);
        for (const one of answer.requested) {
          const run =
            one.local instanceof LocalHandle ? one.local.run : this.#deps.executor.externals.get(one.task);
          if (run !== undefined) this.stop(run, 'cancel', one.reason);
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
  stop(run: Run, cause: StopCause, reason: string): void {
    const { executor, dispatcher, agents, settler } = this.#deps;
    switch (run.phase) {
      case 'queued':
        if (run.agent?.dequeue(run) === true) agents.queued(run.agent, -1);
        break;
      case 'parked': {
        const at = dispatcher.parked.indexOf(run);
        if (at >= 0) dispatcher.parked.splice(at, 1);
        void run.facts.lease?.release();
        break;
      }
      case 'locking':
        break;
      default:
        executor.stop(run, cause, reason);
        return;
    }
    run.extras.stopCause = cause;
    run.extras.stopError = stopError(cause, run.id, reason);
    run.facts.controller?.abort(run.facts.stopError);
    run.phase = 'ending';
    // Whatever the cause, it hasn't begun: unless it was cancelled it goes back uncounted.
    const settlement = settleStopped(
      run.claim,
      cause === 'cancel' || cause === 'agent-left' ? cause : 'preempt',
      reason,
    );
    if (settlement !== undefined) settler.add(run, settlement);
  }
}
