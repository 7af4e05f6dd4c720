import { invalid } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import { checkJson, RESULT_LIMITS } from '../core/json.ts';
import type { Clock } from '../core/ports/runtime.ts';
import type { SettleResult, TaskRecord } from '../core/ports/tasks.ts';
import { claimText } from './dispatcher.ts';
import type { Executor } from './executor.ts';
import type { Run } from './agent.ts';

export interface ExternalDeps {
  readonly clock: Clock;
  readonly executor: Executor;
  readonly record: (taskId: string) => Promise<TaskRecord | undefined>;
}

/** The answers of agents outside this process: they end the run that was assigned to them, once. */
export class ExternalTasks {
  readonly #deps: ExternalDeps;

  constructor(deps: ExternalDeps) {
    this.#deps = deps;
  }

  /** Resolves when the result is stored. @throws UNKNOWN_TASK, STALE_CLAIM, INVALID_ARGUMENT */
  async complete(taskId: string, result: unknown, claim: string | undefined): Promise<void> {
    if (result !== undefined) checkJson(result, 'the result', RESULT_LIMITS);
    const run = await this.#find(taskId, claim);
    await this.#end(run, () => this.#deps.executor.complete(run, result));
  }

  /** Resolves when the failure is stored; whether it is retried is the retry policy's word. */
  async fail(taskId: string, error: unknown, claim: string | undefined): Promise<void> {
    const run = await this.#find(taskId, claim);
    const thrown =
      error instanceof Error
        ? error
        : new Error(typeof error === 'string' ? error : 'the agent reported a failure', { cause: error });
    await this.#end(run, () => this.#deps.executor.fail(run, thrown));
  }

  async #find(taskId: string, claim: string | undefined): Promise<Run> {
    const run = this.#deps.executor.externals.get(taskId);
    if (run !== undefined && (claim === undefined || claim === claimText(run.claim))) {
      if (run.agent !== undefined) run.agent.heardAt = this.#deps.clock.mono();
      return run;
    }
    const record = await this.#deps.record(taskId);
    if (record === undefined)
      throw new CoordinationError('UNKNOWN_TASK', `No task ${JSON.stringify(taskId)} is known`);
    if (run !== undefined || record.state !== 'claimed') {
      throw new CoordinationError(
        'STALE_CLAIM',
        `Task ${taskId} is ${run === undefined ? record.state : 'assigned anew'}: this answer came too late`,
      );
    }
    throw invalid(`Task ${taskId} is run by its agent's handler, whose return value ends it`);
  }

  async #end(run: Run, act: () => void): Promise<void> {
    const stored = new Promise<SettleResult | undefined>((resolve) => {
      run.extras.onSettled = resolve;
    });
    act();
    const result = await stored;
    if (result?.status === 'stale') {
      throw new CoordinationError('STALE_CLAIM', `Task ${run.id} was taken over: this answer came too late`);
    }
  }
}
