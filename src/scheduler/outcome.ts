import { CoordinationError, type StoredError, toStoredError } from '../core/errors.ts';

const MAX_MESSAGE = 4_096;

/** How a task ended, as its submitter learns it. */
export type Outcome =
  | { readonly state: 'completed'; readonly value: unknown }
  | { readonly state: 'dead' | 'cancelled' | 'skipped'; readonly error: CoordinationError };

/** A task failed for good. `cause` is what its handler threw last. */
export class TaskFailedError extends CoordinationError {
  declare readonly code: 'TASK_FAILED';
  readonly taskId: string;
  readonly attempts: number;
  /** Why it was the last attempt: `ATTEMPTS`, `DEADLINE`, `POISON`, or `REFUSED` for what no repetition heals (`retryable: false`). */
  readonly reason: string;

  constructor(facts: {
    readonly taskId: string;
    readonly attempts: number;
    readonly reason: string;
    readonly cause: unknown;
  }) {
    const { taskId, attempts, reason, cause } = facts;
    super(
      'TASK_FAILED',
      `Task ${taskId} failed after ${attempts} attempt${attempts === 1 ? '' : 's'}: ${messageOf(cause) ?? reason}`,
      {
        cause,
        hint:
          reason === 'REFUSED'
            ? 'It was not tried again, for no repetition heals its cause. Mend that; then queues.redrive({ ids: [id] }) runs it.'
            : 'It is in the dead letters: queues.redrive({ ids: [id] }) runs it again.',
      },
    );
    this.name = 'TaskFailedError';
    this.taskId = taskId;
    this.attempts = attempts;
    this.reason = reason;
  }
}

/** The message of anything that may have been thrown, also of what can't be looked at. */
function messageOf(cause: unknown): string | undefined {
  if (cause === undefined) return undefined;
  try {
    const { message } = cause as { readonly message?: unknown };
    if (typeof message === 'string') return message.slice(0, MAX_MESSAGE);
  } catch {
    // Said below.
  }
  return toStoredError(cause).message;
}

const NOTHING: Outcome = Object.freeze({ state: 'completed', value: undefined });

export function completed(value: unknown): Outcome {
  return value === undefined ? NOTHING : { state: 'completed', value };
}

export function cancelled(taskId: string, reason: string): Outcome {
  return {
    state: 'cancelled',
    error: new CoordinationError('TASK_CANCELLED', `Task ${taskId} was cancelled: ${reason}`),
  };
}

export function skipped(taskId: string, reason: string): Outcome {
  return {
    state: 'skipped',
    error: new CoordinationError('TASK_SKIPPED', `Task ${taskId} was skipped: ${reason}`),
  };
}

export function dead(taskId: string, attempts: number, reason: string, cause: unknown): Outcome {
  return { state: 'dead', error: new TaskFailedError({ taskId, attempts, reason, cause }) };
}

/** An error as it came back from the store, for `cause`. */
export function reviveError(stored: unknown): Error | undefined {
  if (typeof stored !== 'object' || stored === null) return undefined;
  const { message, name, stack, code, cause } = stored as StoredError;
  const error = new Error(message, cause === undefined ? undefined : { cause: reviveError(cause) });
  error.name = name;
  if (stack !== undefined) error.stack = stack;
  return Object.assign(error, { code });
}
