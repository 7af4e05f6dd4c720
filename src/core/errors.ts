/** Every code; `docs/reference/errors.md` has one line for each, compared by a test. */
export const ERROR_CODES = [
  // the caller's mistake
  'INVALID_OPTION',
  'INVALID_ARGUMENT',
  'UNKNOWN_AGENT',
  'UNKNOWN_TASK',
  'UNKNOWN_RESOURCE',
  'UNKNOWN_CONFLICT',
  'UNKNOWN_STRATEGY',
  'DEPENDENCY_CYCLE',
  'IDEMPOTENCY_CONFLICT',
  'NOT_STARTED',
  'STOPPED',
  // refused for now
  'LOCK_TIMEOUT',
  'DEADLOCK',
  'UPGRADE_CONFLICT',
  'CIRCUIT_OPEN',
  'QUEUE_FULL',
  'MAILBOX_FULL',
  'MEMORY_PRESSURE',
  'RATE_LIMITED',
  'TIMEOUT',
  // ownership lost
  'LEASE_LOST',
  'LOCK_REVOKED',
  'STALE_CLAIM',
  'STALE_FENCE',
  'SESSION_EXPIRED',
  'VERSION_CONFLICT',
  // task and message outcomes
  'TASK_TIMEOUT',
  'TASK_CANCELLED',
  'TASK_PREEMPTED',
  'TASK_SKIPPED',
  'TASK_FAILED',
  'REPLY_TIMEOUT',
  'NO_RESPONDER',
  // infrastructure
  'BACKEND_UNAVAILABLE',
  'OUTCOME_UNKNOWN',
  'SCHEMA_MISMATCH',
  'NOT_SUPPORTED',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export interface ErrorOptions {
  readonly cause?: unknown;
  /** When it may be worth trying again, ms; absent when it isn't. */
  readonly retryAfterMs?: number;
  /** One sentence: what to do next. */
  readonly hint?: string;
}

/** The base of all errors of this library. Match on `code`, which also works across two copies of the package. */
export class CoordinationError extends Error {
  readonly code: ErrorCode;
  readonly retryAfterMs?: number;
  readonly hint?: string;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'CoordinationError';
    this.code = code;
    if (options.retryAfterMs !== undefined) this.retryAfterMs = options.retryAfterMs;
    if (options.hint !== undefined) this.hint = options.hint;
  }
}

/** True for errors of this library (of this code), whichever copy of the package made them. */
export function isCoordinationError<C extends ErrorCode>(
  error: unknown,
  code?: C,
): error is CoordinationError & { readonly code: C } {
  if (!(error instanceof Error) || typeof (error as { code?: unknown }).code !== 'string') return false;
  const found = (error as unknown as { code: string }).code;
  return code === undefined ? (ERROR_CODES as readonly string[]).includes(found) : found === code;
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
    if (value instanceof Date) return 'a Date';
    if (Array.isArray(value)) return `an array of ${value.length}`;
    if (typeof value === 'object' && value !== null) {
      const name = value.constructor?.name;
      return typeof name === 'string' && name !== 'Object' ? `a ${name}` : 'an object';
    }
    return typeof value === 'bigint' ? `${value}n` : String(value);
  } catch {
    return 'an unreadable value';
  }
}
