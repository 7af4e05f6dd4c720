import { CoordinationError, type ErrorCode } from '../../core/errors.ts';

/** What a failure means for the call that met it. */
export type Verdict =
  /** The connection is gone or was refused: try another one. */
  | 'connection'
  /** The server undid the statement because of others; it may be sent again. */
  | 'again'
  /** The server doesn't know the prepared statement, or knows another one of its name. */
  | 'unprepared'
  /** The plan that this connection keeps is out of date: another connection has none. */
  | 'stale-plan'
  /** The server said no, for good. */
  | 'refused';

const VERDICTS: Readonly<Record<string, Verdict>> = {
  '40001': 'again',
  '40P01': 'again',
  '26000': 'unprepared',
  '42P05': 'unprepared',
  '57P01': 'connection',
  '57P02': 'connection',
  '57P03': 'connection',
  '57P05': 'connection',
  '25P03': 'connection',
  '25P04': 'connection',
  '53300': 'connection',
  '25006': 'connection',
};

interface Meaning {
  readonly code: ErrorCode;
  readonly hint?: string;
  readonly retryable?: false;
}

const OTHERS: Meaning = {
  code: 'NOT_SUPPORTED',
  hint: 'Something of another owner has that name in this schema: give the mesh another `schema`.',
  retryable: false,
};

/** SQLSTATE, or the first two characters of it, → what it means to the callers of a port. */
const MEANINGS: Readonly<Record<string, Meaning>> = {
  AM001: { code: 'SESSION_EXPIRED', hint: 'Open a new session and ask again with a new operation.' },
  AM002: { code: 'SCHEMA_MISMATCH', hint: 'Run the newer build, or migrate the schema with `migrate()`.' },
  AM003: { code: 'NOT_SUPPORTED' },
  AM004: { code: 'STALE_FENCE' },
  '42883': { code: 'SCHEMA_MISMATCH', hint: 'Something of the schema is missing: run `migrate()`.' },
  '42P01': { code: 'SCHEMA_MISMATCH', hint: 'Something of the schema is missing: run `migrate()`.' },
  '42703': { code: 'SCHEMA_MISMATCH', hint: 'Something of the schema is missing: run `migrate()`.' },
  '3F000': { code: 'SCHEMA_MISMATCH', hint: 'The schema is missing: run `migrate()`.' },
  '42501': {
    code: 'NOT_SUPPORTED',
    hint: 'Grant the role of this connection what the documentation lists under operations.',
    retryable: false,
  },
  '42P07': OTHERS,
  '42710': OTHERS,
  '42723': OTHERS,
  '25006': { code: 'BACKEND_UNAVAILABLE', hint: 'This server is read-only: connect to the primary.' },
  '25P03': { code: 'BACKEND_UNAVAILABLE' },
  '25P04': {
    code: 'BACKEND_UNAVAILABLE',
    hint: 'The `transaction_timeout` of this role or server is too short.',
  },
  '28': { code: 'BACKEND_UNAVAILABLE', hint: 'Check user and password.', retryable: false },
  '3D': { code: 'BACKEND_UNAVAILABLE', hint: 'Create the database first.', retryable: false },
  '53': { code: 'BACKEND_UNAVAILABLE', hint: 'The server is out of connections, memory or disk.' },
  '55': { code: 'BACKEND_UNAVAILABLE' },
  '57': { code: 'BACKEND_UNAVAILABLE' },
  '08': { code: 'BACKEND_UNAVAILABLE' },
  '58': { code: 'BACKEND_UNAVAILABLE' },
  '40': {
    code: 'BACKEND_UNAVAILABLE',
    hint: 'The server undid it again and again because of others; repeat it later.',
  },
};

/** The SQLSTATE of an error that the server sent; `undefined` for what the driver or the network said. */
export function sqlStateOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const { code, severity } = error as { readonly code?: unknown; readonly severity?: unknown };
  const isState = typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && typeof severity === 'string';
  return isState ? code : undefined;
}

export function verdictOf(error: unknown): Verdict {
  const state = sqlStateOf(error);
  if (state === undefined) return error instanceof TypeError ? 'refused' : 'connection';
  if (state.startsWith('08')) return 'connection';
  if (state === '0A000' && /cached plan/.test((error as Error).message)) return 'stale-plan';
  return VERDICTS[state] ?? 'refused';
}

/** Makes errors of the library out of what the driver throws, without connection strings and passwords. */
export class SqlErrors {
  readonly #secrets: readonly string[];

  /** @param secrets texts that must appear nowhere */
  constructor(secrets: readonly string[]) {
    this.#secrets = secrets.filter((secret) => secret.length > 0).toSorted((a, b) => b.length - a.length);
  }

  /** What the server refused. */
  refusal(error: unknown): CoordinationError {
    const state = sqlStateOf(error);
    if (state === undefined) return this.unavailable(error);
    const { code, hint, retryable } = MEANINGS[state] ??
      MEANINGS[state.slice(0, 2)] ?? { code: 'NOT_SUPPORTED' as const, retryable: false as const };
    const message = this.textOf(error);
    return new CoordinationError(
      code,
      state.startsWith('AM') ? message : `PostgreSQL: ${message} (${state})`,
      {
        cause: this.#causeOf(error),
        ...(hint === undefined ? {} : { hint }),
        ...(retryable === undefined ? {} : { retryable }),
      },
    );
  }

  /** Nothing was carried out. */
  unavailable(error: unknown): CoordinationError {
    if (sqlStateOf(error) !== undefined) return this.refusal(error);
    return new CoordinationError(
      'BACKEND_UNAVAILABLE',
      `PostgreSQL cannot be reached: ${this.textOf(error)}`,
      {
        cause: this.#causeOf(error),
        hint: 'Check that the server runs and that host, port and user are right.',
      },
    );
  }

  /** It was sent, and nobody knows what became of it. */
  unknown(error: unknown): CoordinationError {
    return new CoordinationError(
      'OUTCOME_UNKNOWN',
      `The connection to PostgreSQL was lost before the answer came: ${this.textOf(error)}`,
      { cause: this.#causeOf(error) },
    );
  }

  /** The message of an error, on one line. */
  textOf(error: unknown): string {
    const { message, code } = error as { readonly message?: unknown; readonly code?: unknown };
    // Node gives the several failures of one name (IPv6, IPv4) together, with an empty message.
    const text = typeof message === 'string' && message !== '' ? message : String(code ?? error);
    return this.strip(text);
  }

  strip(text: string): string {
    return this.#secrets.reduce((left, secret) => left.replaceAll(secret, '***'), text);
  }

  /** The driver's error may carry its client, and with it the password: only its words are kept. */
  #causeOf(error: unknown): Error {
    const cause = new Error(this.textOf(error));
    cause.name = error instanceof Error ? error.name : 'Error';
    if (error instanceof Error && error.stack !== undefined) cause.stack = this.strip(error.stack);
    const { code, detail, where } = error as Record<string, unknown>;
    for (const [key, value] of Object.entries({ code, detail, where }))
      if (typeof value === 'string') Object.assign(cause, { [key]: this.strip(value) });
    return cause;
  }
}
