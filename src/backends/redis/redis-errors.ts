import { CoordinationError, type ErrorCode } from '../../core/errors.ts';

/** Refusals that the scripts raise themselves: the first word of the reply. */
const RAISED: ReadonlyMap<string, ErrorCode> = new Map([
  ['AM001', 'SESSION_EXPIRED'],
  ['AM002', 'SCHEMA_MISMATCH'],
  ['AM003', 'NOT_SUPPORTED'],
  ['AM004', 'STALE_FENCE'],
]);

interface NotNow {
  readonly what: string;
  readonly hint: string;
  /** Somebody has to change something first. */
  readonly retryable?: false;
}

const WAIT = 'It passes by itself: repeat it in a moment.';
const CLUSTER = 'Look at the nodes with `redis-cli cluster nodes`.';
const PASSWORD = 'Check user and password.';

/** Replies of a server that did nothing, and may do it later. */
const NOT_NOW: ReadonlyMap<string, NotNow> = new Map([
  ['LOADING', { what: 'is loading its data set', hint: WAIT }],
  [
    'BUSY',
    {
      what: 'is busy with a script of somebody else',
      hint: 'End that with `redis-cli script kill`, or wait.',
    },
  ],
  ['READONLY', { what: 'is a read-only replica', hint: 'Connect to the master, or through the sentinels.' }],
  [
    'OOM',
    {
      what: 'is out of memory: `maxmemory` is reached',
      hint: 'Raise `maxmemory`, or let tasks be kept for a shorter time.',
    },
  ],
  [
    'MISCONF',
    {
      what: "refuses writes because it can't write to its disk",
      hint: 'Look at its log: the disk is full, or not writable.',
    },
  ],
  ['MASTERDOWN', { what: 'is a replica that has lost its master', hint: 'Connect to the master.' }],
  [
    'NOREPLICAS',
    {
      what: 'refuses writes for want of replicas',
      hint: 'Bring replicas back, or lower `min-replicas-to-write`.',
    },
  ],
  ['CLUSTERDOWN', { what: 'is part of a cluster that is down', hint: CLUSTER }],
  ['TRYAGAIN', { what: 'is moving this mesh to another node', hint: WAIT }],
  [
    'MOVED',
    {
      what: 'no longer has this mesh: the cluster moved it',
      hint: 'Connect with `cluster`, not with `url`.',
    },
  ],
  ['ASK', { what: 'is moving this mesh to another node', hint: WAIT }],
  ['UNKILLABLE', { what: 'is busy with a script of somebody else', hint: WAIT }],
  ['NOAUTH', { what: 'asks for a password', hint: PASSWORD, retryable: false }],
  ['WRONGPASS', { what: 'refuses the password', hint: PASSWORD, retryable: false }],
]);

/** Why a command was not answered. */
export type Loss = 'not-sent' | 'connection' | 'timeout';

/** A command that got no reply. */
export class NoReply extends Error {
  readonly loss: Loss;

  constructor(loss: Loss, message: string) {
    super(message);
    this.loss = loss;
  }
}

/** Whether the server itself refused the command. */
export function isReply(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}

export function isNoScript(error: unknown): boolean {
  return isReply(error) && error.message.startsWith('NOSCRIPT');
}

/**
 * The error of a port for what a command ended with. Never has the client's error as its cause: that carries the command, and the
 * command of a handshake carries the password.
 */
export function toPortError(error: unknown, kind: 'read' | 'write'): CoordinationError {
  if (error instanceof CoordinationError) return error;
  if (isReply(error)) return fromReply(error.message);
  const lost = error instanceof NoReply ? error : new NoReply('connection', textOf(error));
  if (lost.loss === 'not-sent' || kind === 'read') return unavailable(lost.message);
  return new CoordinationError('OUTCOME_UNKNOWN', `Redis was asked, but did not answer: ${lost.message}`);
}

export function unavailable(message: string): CoordinationError {
  const isRefused = REFUSED.test(message);
  return new CoordinationError('BACKEND_UNAVAILABLE', `Redis can't be reached: ${message}`, {
    hint: isRefused ? PASSWORD : 'Check that the server runs and that host, port and user are right.',
    ...(isRefused ? { retryable: false } : {}),
  });
}

/** What a server says to a user that it doesn't let in. */
const REFUSED: RegExp = /^(NOAUTH|WRONGPASS|NOPERM|ERR AUTH|ERR invalid password|ERR Client sent AUTH)/;

/** Why a client can't begin, where no later try heals it. */
export function refusalOf(error: unknown): CoordinationError | undefined {
  const text = textOf(error);
  if (isRefusedDatabase(error) && NO_SUCH_DATABASE.test(text))
    return wrongDatabase(error.command.args[0], text);
  return REFUSED.test(text) ? unavailable(text) : undefined;
}

/** Whether it is the answer to a SELECT: clients go on in database 0 then. */
export function isRefusedDatabase(
  error: unknown,
): error is Error & { readonly command: { readonly args: readonly unknown[] } } {
  return (
    isReply(error) && (error as { readonly command?: { readonly name?: unknown } }).command?.name === 'select'
  );
}

export function wrongDatabase(database: unknown, why: string): CoordinationError {
  return new CoordinationError(
    'BACKEND_UNAVAILABLE',
    `Redis can't be used: database ${String(database)} was not selected: ${why}`,
    {
      hint: 'Name a database below `databases` of its configuration, in a cluster 0, and allow the user of the connection SELECT.',
      retryable: false,
    },
  );
}

/** Other answers to SELECT pass: BUSY, too many clients. */
const NO_SUCH_DATABASE = /^(NOPERM|ERR (DB index|invalid DB|SELECT is not|unknown command))/;

/**
 * What a write under a fence ended with: the commands are the caller's.
 * @param command what the server refused in the script; absent when it refused the script
 * @param hint for its failure, where there is one
 */
export function toFencedError(message: string, command?: string, hint?: string): CoordinationError {
  const text = withoutPlace(message);
  const failed = command === undefined ? '' : `${command} failed: `;
  if (FORBIDDEN.test(text))
    return new CoordinationError(
      'NOT_SUPPORTED',
      `${failed}Redis forbids the user of this connection: ${text}`,
      {
        hint: 'Give its ACL user EVAL, GET and SET, the commands, their keys, and those of the registers.',
        retryable: false,
      },
    );
  if (text.startsWith('CROSSSLOT'))
    return new CoordinationError('INVALID_ARGUMENT', `The keys of the commands: ${text}`, {
      hint: 'Give all keys one hash tag, and name it as `hashTag`.',
      retryable: false,
    });
  if (command === undefined || NOT_NOW.has(firstWord(text))) return fromReply(text);
  return new CoordinationError('INVALID_ARGUMENT', failed + text, {
    ...(hint === undefined ? {} : { hint }),
    retryable: false,
  });
}

/** How servers say that a user may not send a command; in scripts they have no word for it: Redis 7.0, then later ones and Valkey. */
const FORBIDDEN = /^(NOPERM|ERR The user executing the script|ERR ACL failure in script)/;

/** A script that raised an error has its place appended, since Valkey 9 without the digest. */
function withoutPlace(message: string): string {
  return message.replace(/\.? script: (?:[0-9a-f]{40}, )?on @?user_script:\d+\.?$/, '');
}

function firstWord(text: string): string {
  const space = text.indexOf(' ');
  return space < 0 ? text : text.slice(0, space);
}

function fromReply(message: string): CoordinationError {
  const text = withoutPlace(message);
  const word = firstWord(text);
  const rest = text.slice(word.length + 1);
  const raised = RAISED.get(word);
  if (raised === 'SESSION_EXPIRED')
    return new CoordinationError(raised, rest, {
      hint: 'Open a new session and ask again with a new operation.',
    });
  if (raised !== undefined) return new CoordinationError(raised, rest);
  const notNow = NOT_NOW.get(word);
  if (notNow !== undefined) {
    const { what, ...advice } = notNow;
    return new CoordinationError('BACKEND_UNAVAILABLE', `Redis ${what}: nothing was done`, advice);
  }
  if (word === 'WRONGTYPE')
    return new CoordinationError(
      'SCHEMA_MISMATCH',
      'A key below the prefix of this mesh holds something of another type',
      { hint: 'Something else writes there: choose another `prefix` or `mesh`.' },
    );
  if (FORBIDDEN.test(text))
    return new CoordinationError('NOT_SUPPORTED', `Redis forbids the user of this connection: ${rest}`, {
      hint: 'Give its ACL user the commands and the keys that the operations guide lists.',
    });
  if (/killed by user/.test(text)) return unavailable('the script was killed before it had done anything');
  if (/unknown command/.test(text))
    return new CoordinationError('NOT_SUPPORTED', `This Redis lacks a command: ${rest}`);
  return new CoordinationError('SCHEMA_MISMATCH', `A script of the Redis backend failed: ${text}`);
}

/** What a client says of its trouble. Its messages name host and port, never a password. */
export function textOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  // A cluster's client says only that all nodes failed; why is in here.
  const { lastNodeError } = error as { readonly lastNodeError?: unknown };
  if (lastNodeError instanceof Error) return textOf(lastNodeError);
  // How ioredis says that the connection broke while it waited.
  return error.name === 'MaxRetriesPerRequestError' ? 'the connection broke' : error.message;
}
