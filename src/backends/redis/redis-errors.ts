import { CoordinationError, type ErrorCode } from '../../core/errors.ts';

/** Refusals that the scripts raise themselves: the first word of the reply. */
const RAISED: ReadonlyMap<string, ErrorCode> = new Map([
  ['AM001', 'SESSION_EXPIRED'],
  ['AM002', 'SCHEMA_MISMATCH'],
  ['AM003', 'NOT_SUPPORTED'],
  ['AM004', 'STALE_FENCE'],
]);

/** Replies of a server that did nothing, and may do it later. */
const NOT_NOW: ReadonlyMap<string, string> = new Map([
  ['LOADING', 'is loading its data set'],
  ['BUSY', 'is busy with a script of somebody else'],
  ['READONLY', 'is a read-only replica'],
  ['OOM', 'is out of memory: `maxmemory` is reached'],
  ['MISCONF', "refuses writes because it can't write to its disk"],
  ['MASTERDOWN', 'is a replica that has lost its master'],
  ['NOREPLICAS', 'refuses writes for want of replicas'],
  ['CLUSTERDOWN', 'is part of a cluster that is down'],
  ['TRYAGAIN', 'is moving this mesh to another node'],
  ['MOVED', 'no longer has this mesh: the cluster moved it'],
  ['ASK', 'is moving this mesh to another node'],
  ['UNKILLABLE', 'is busy with a script of somebody else'],
  ['NOAUTH', 'asks for a password'],
  ['WRONGPASS', 'refuses the password'],
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
  return new CoordinationError('OUTCOME_UNKNOWN', `Redis was asked, but did not answer: ${lost.message}`, {
    hint: 'Repeat it with the same operation: what was carried out is not carried out again.',
  });
}

export function unavailable(message: string): CoordinationError {
  return new CoordinationError('BACKEND_UNAVAILABLE', `Redis can't be reached: ${message}`);
}

function fromReply(message: string): CoordinationError {
  // A script that raised an error has its place appended.
  const text = message.replace(/\.? script: [0-9a-f]{40}, on @?user_script:\d+\.?$/, '');
  const space = text.indexOf(' ');
  const word = space < 0 ? text : text.slice(0, space);
  const rest = text.slice(word.length + 1);
  const raised = RAISED.get(word);
  if (raised === 'SESSION_EXPIRED')
    return new CoordinationError(raised, rest, {
      hint: 'Open a new session and ask again with a new operation.',
    });
  if (raised !== undefined) return new CoordinationError(raised, rest);
  const notNow = NOT_NOW.get(word);
  if (notNow !== undefined)
    return new CoordinationError('BACKEND_UNAVAILABLE', `Redis ${notNow}: nothing was done`);
  if (word === 'WRONGTYPE')
    return new CoordinationError(
      'SCHEMA_MISMATCH',
      'A key below the prefix of this mesh holds something of another type',
      { hint: 'Something else writes there: choose another `prefix` or `mesh`.' },
    );
  if (word === 'NOPERM')
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
