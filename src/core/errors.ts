/** Every code; `docs/reference/errors.md` has one line for each, compared by a test. */
export const ERROR_CODES = [
  // the caller's mistake
  /** An option is unknown, out of its bounds, or contradicts another. */
  'INVALID_OPTION',
  /** An argument is of the wrong type or out of its bounds, or data is not JSON-safe or too large. */
  'INVALID_ARGUMENT',
  /** No agent of this id is registered, or it was removed. */
  'UNKNOWN_AGENT',
  /** No task of this id exists; an ended one is forgotten after its retention. */
  'UNKNOWN_TASK',
  /** Nothing of this name is held or known. */
  'UNKNOWN_RESOURCE',
  /** No conflict of this id exists. */
  'UNKNOWN_CONFLICT',
  /** No strategy of this name is registered. */
  'UNKNOWN_STRATEGY',
  /** The conflict was resolved before, by another strategy. */
  'CONFLICT_RESOLVED',
  /** No circuit breaker of this name was made yet. */
  'UNKNOWN_BREAKER',
  /** The edge would close a cycle of dependencies; the error has its `path`. */
  'DEPENDENCY_CYCLE',
  /** The idempotency key was used before with another payload. */
  'IDEMPOTENCY_CONFLICT',
  /** The part was used before it was started. */
  'NOT_STARTED',
  /** The part was stopped; nothing is accepted any more. */
  'STOPPED',
  // refused for now
  /** The lock was not granted in time. */
  'LOCK_TIMEOUT',
  /** This wait closed a cycle and was chosen to be ended; the error has the `cycle`. */
  'DEADLOCK',
  /** Another holder is already waiting to upgrade the same lock. */
  'UPGRADE_CONFLICT',
  /** The circuit breaker refuses calls; try again after `retryAfterMs`. */
  'CIRCUIT_OPEN',
  /** The queue holds as many tasks as it may. */
  'QUEUE_FULL',
  /** The mailbox of the receiver holds as many messages as it may. */
  'MAILBOX_FULL',
  /** The process is short of memory and takes nothing new. */
  'MEMORY_PRESSURE',
  /** A limit of a provider is used up; try again after `retryAfterMs`. */
  'RATE_LIMITED',
  /** What was waited for did not come in time. */
  'TIMEOUT',
  /** No strategy can decide the conflict from what is known; it stays open for somebody who can. */
  'CONFLICT_ESCALATED',
  /** The strategy broke, or its resolution could not be applied; the conflict stays open, try again. */
  'CONFLICT_UNRESOLVED',
  // ownership lost
  /** The lease ran out or was not renewed; somebody else may hold the resource. */
  'LEASE_LOST',
  /** The lock was taken away by force or by the resolution of a conflict. */
  'LOCK_REVOKED',
  /** The claim on the task is not current any more: its answer was refused. */
  'STALE_CLAIM',
  /** A newer fencing token was seen: the write was refused. */
  'STALE_FENCE',
  /** The session of this process ended, or the operation is older than what the store remembers. */
  'SESSION_EXPIRED',
  /** The version has changed since it was read. */
  'VERSION_CONFLICT',
  // task and message outcomes
  /** The attempt took longer than its time limit; its signal was aborted. */
  'TASK_TIMEOUT',
  /** The task was cancelled, by a call or because of a parent. */
  'TASK_CANCELLED',
  /** A more urgent task took the slot; the attempt is not counted. */
  'TASK_PREEMPTED',
  /** The task was skipped because a parent failed. */
  'TASK_SKIPPED',
  /** The task's last attempt failed; `cause` is the handler's error. */
  'TASK_FAILED',
  /** The request was not answered in time. */
  'REPLY_TIMEOUT',
  /** Nobody is there to answer the request. */
  'NO_RESPONDER',
  // infrastructure
  /** The backend cannot be reached; nothing was sent. */
  'BACKEND_UNAVAILABLE',
  /** Something was sent and its answer is lost; repeating it with the same operation is safe. */
  'OUTCOME_UNKNOWN',
  /** The schema of the backend is older or newer than this build can write. */
  'SCHEMA_MISMATCH',
  /** The backend or the configuration cannot do this. */
  'NOT_SUPPORTED',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export interface ErrorOptions {
  readonly cause?: unknown;
  /** When it may be worth trying again, ms; absent when it isn't. */
  readonly retryAfterMs?: number;
  /** One sentence: what to do next. @default one for the code, where there is one */
  readonly hint?: string;
  /** `false`: no repetition heals it; a task that fails by it is not retried. */
  readonly retryable?: false;
}

/** What to do next, where the place that throws has nothing better to say. */
const HINTS: Readonly<Partial<Record<ErrorCode, string>>> = {
  UNKNOWN_AGENT: 'Register the agent first, and check its id.',
  UNKNOWN_TASK: 'Check the id; a task that has ended is forgotten after its `keepMs`.',
  UNKNOWN_CONFLICT: 'Check the id; resolved conflicts are forgotten after a while.',
  NOT_STARTED: 'Start it first: `await mesh.initialize()`.',
  STOPPED: 'What was shut down stays so: create a new one.',
  LEASE_LOST: 'Stop writing and take the lock again; hand its token to what you write to.',
  STALE_CLAIM: 'Drop this answer: the task has ended, or its newest `task:assigned` names another claim.',
  STALE_FENCE: 'Take the lock again, and read before you write.',
  VERSION_CONFLICT: 'Read again, then write.',
  TASK_TIMEOUT: 'Raise `timeoutMs`, or heed `signal` and end sooner.',
  OUTCOME_UNKNOWN:
    'Repeat it; submit a task with the same `id` or `idempotencyKey`: what was carried out is not carried out again then.',
  REPLY_TIMEOUT: 'See whether the receiver subscribes and replies, or give it longer with `timeoutMs`.',
};

/** The base of all errors of this library. Match on `code`, which also works across two copies of the package. */
export class CoordinationError extends Error {
  readonly code: ErrorCode;
  declare readonly retryAfterMs?: number;
  declare readonly hint?: string;
  declare readonly retryable?: false;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'CoordinationError';
    this.code = code;
    if (options.retryAfterMs !== undefined) this.retryAfterMs = options.retryAfterMs;
    const hint = options.hint ?? HINTS[code];
    if (hint !== undefined) this.hint = hint;
    if (options.retryable !== undefined) this.retryable = options.retryable;
  }
}

/** True for errors of this library (of this code), whichever copy of the package made them. */
export function isCoordinationError<C extends ErrorCode>(
  error: unknown,
  code?: C,
): error is CoordinationError & { readonly code: C } {
  try {
    if (!(error instanceof Error)) return false;
    const { code: found } = error as { code?: unknown };
    return code === undefined ? (ERROR_CODES as readonly unknown[]).includes(found) : found === code;
  } catch {
    // A proxy or getter that throws: whatever it is, it isn't ours.
    return false;
  }
}

/** What is kept of an error when it crosses the store: plain, bounded, JSON-safe, whatever was thrown. */
export interface StoredError {
  readonly code: string;
  readonly message: string;
  readonly name: string;
  readonly stack?: string;
  readonly cause?: StoredError;
}

const MAX_MESSAGE = 4_096;
const MAX_STACK = 8_192;
const MAX_CAUSES = 5;

/** Turns anything thrown into a {@link StoredError}: messages cut at 4,096 characters, stacks at 8,192, causes at depth 5 (cyclic ones end there). Never throws. */
export function toStoredError(thrown: unknown, depth = 0): StoredError {
  try {
    if (!(thrown instanceof Error)) {
      return { code: 'THROWN', name: typeof thrown, message: describe(thrown).slice(0, MAX_MESSAGE) };
    }
    const { code, cause } = thrown as { code?: unknown; cause?: unknown };
    return {
      code: typeof code === 'string' ? code.slice(0, 100) : 'ERROR',
      name: String(thrown.name).slice(0, 100),
      message: String(thrown.message).slice(0, MAX_MESSAGE),
      ...(typeof thrown.stack === 'string' ? { stack: thrown.stack.slice(0, MAX_STACK) } : {}),
      ...(cause !== undefined && depth + 1 < MAX_CAUSES ? { cause: toStoredError(cause, depth + 1) } : {}),
    };
  } catch {
    return { code: 'THROWN', name: 'unknown', message: 'an error that could not be read was thrown' };
  }
}

/** Groups alike failures: code and the first line of the message with digits and hex runs replaced, at most 160 characters. */
export function errorSignature(error: StoredError): string {
  const line = error.message.split('\n', 1)[0] ?? '';
  return `${error.code}: ${line.replace(/[0-9a-f]{8,}|\d+/gi, '#')}`.slice(0, 160);
}

/** A short text for a value of any kind, for messages. Never throws. */
export function describe(value: unknown): string {
  try {
    if (typeof value === 'string')
      return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
    if (typeof value === 'function') return 'a function';
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'an invalid Date' : 'a Date';
    if (Array.isArray(value)) return `an array of ${value.length}`;
    if (typeof value === 'object' && value !== null) {
      const name = value.constructor?.name;
      if (typeof name !== 'string' || name === '' || name === 'Object') return 'an object';
      return `${/^[AEIO]/i.test(name) ? 'an' : 'a'} ${name}`;
    }
    return typeof value === 'bigint' ? `${value}n` : String(value);
  } catch {
    return 'an unreadable value';
  }
}
