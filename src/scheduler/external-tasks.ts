import { invalid } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import { checkJson, RESULT_LIMITS } from '../core/json.ts';
import type { Clock } from '../core/ports/runtime.ts';
import type { TaskRecord } from '../core/ports/tasks.ts';
import type { Run } from './agent.ts';
import { claimText } from './claim-text.ts';
import type { Executor } from './executor.ts';

export interface ExternalDeps {
  readonly clock: Clock;
  readonly executor: Executor;
  /** The run of a task, if it is of this process. */
  readonly run: (record: TaskRecord) => Run | undefined;
  /** Takes a run out of its agent's run queue. */
  readonly takeFromQueue: (run: Run) => void;
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
    const thrown = isError(error) ? error : toError(error);
    await this.#end(run, () => this.#deps.executor.fail(run, thrown));
  }

  async #find(taskId: string, claim: string | undefined): Promise<Run> {
    const begun = this.#deps.executor.externals.get(taskId);
    if (begun !== undefined && isClaim(begun, claim)) return this.#heard(begun);
    const record = await this.#deps.record(taskId);
    if (record === undefined)
      throw new CoordinationError('UNKNOWN_TASK', `No task ${JSON.stringify(taskId)} is known`);
    const meanwhile = this.#deps.executor.externals.get(taskId);
    if (meanwhile !== undefined && isClaim(meanwhile, claim)) return this.#heard(meanwhile);
    const run = this.#deps.run(record);
    if (begun !== undefined || record.state !== 'claimed' || (run !== undefined && !isClaim(run, claim))) {
      const what = record.state === 'claimed' ? 'assigned anew' : record.state;
      throw new CoordinationError('STALE_CLAIM', `Task ${taskId} is ${what}: this answer came too late`);
    }
    if (run?.agent?.external === true && (run.phase === 'queued' || run.phase === 'running')) {
      this.#deps.takeFromQueue(run);
      this.#deps.executor.beginAnswered(run, run.agent);
      return this.#heard(run);
    }
    if (run === undefined) {
      throw invalid(
        `Task ${taskId} was assigned by another manager`,
        'Answer to the one whose `task:assigned` told of it.',
      );
    }
    throw invalid(
      `Task ${taskId} is run by its agent's handler, whose return value ends it`,
      'Return the result or throw; only an agent without handler answers with completeTask and failTask.',
    );
  }

  #heard(run: Run): Run {
    if (run.agent !== undefined) run.agent.heardAt = this.#deps.clock.mono();
    return run;
  }

  async #end(run: Run, act: () => void): Promise<void> {
    if (run.phase === 'ending' || run.phase === 'ended') throw tooLate(run);
    const stored = run.untilSettled();
    act();
    const result = await stored;
    if (result?.status !== 'settled') throw tooLate(run);
  }
}

function isClaim(run: Run, claim: string | undefined): boolean {
  return claim === undefined || claim === claimText(run.claim);
}

function tooLate(run: Run): CoordinationError {
  return new CoordinationError(
    'STALE_CLAIM',
    `Task ${run.id} has ended or was taken over: this answer came too late`,
  );
}

/** Anything may be reported, also what can't be looked at. */
function isError(value: unknown): value is Error {
  try {
    return value instanceof Error;
  } catch {
    return false;
  }
}

/** What comes from outside is a text, or an error as plain JSON: `{ message, code }`. */
function toError(reported: unknown): Error {
  const { message, code } = wordsOf(reported);
  const text = typeof message === 'string' ? message : 'the agent reported a failure';
  const error = new Error(text, { cause: reported });
  return typeof code === 'string' ? Object.assign(error, { code }) : error;
}

function wordsOf(reported: unknown): { readonly message?: unknown; readonly code?: unknown } {
  if (typeof reported !== 'object' || reported === null) return { message: reported };
  try {
    const { message, code } = reported as { readonly message?: unknown; readonly code?: unknown };
    return { message, code };
  } catch {
    return {};
  }
}
