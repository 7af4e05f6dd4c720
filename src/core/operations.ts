import { isPromise } from './awaitable.ts';
import { CoordinationError, isCoordinationError } from './errors.ts';
import type { Runtime, Timer } from './ports/runtime.ts';
import type { Awaitable, Operation, SessionNumber } from './ports/words.ts';
import { Ring } from './ring.ts';

/** Carries out mutating calls of one session: numbers them, bounds how many are under way, repeats those whose outcome is unknown. */
export interface Operations {
  readonly session: SessionNumber;
  /** For how long what the session carries may be used without another word of the store, ms. Absent: for ever. */
  leftMs?(): number;
  /**
   * Calls `send` with a new operation. While its outcome is unknown or the backend is away, calls again with the SAME operation, with
   * jittered backoff, until answered or its patience has passed.
   * @throws OUTCOME_UNKNOWN when it gave up, or the session ran out, after something was sent; BACKEND_UNAVAILABLE or SESSION_EXPIRED when
   * nothing was carried out.
   */
  run<T>(send: (op: Operation) => Awaitable<T>, patience?: Patience): Awaitable<T>;
}

/** How long a call is repeated, ms. */
export interface Patience {
  /** While nothing was sent: giving up does no harm then. @default as `giveUpMs` */
  readonly unsentMs?: number;
  /** @default {@link OperationOptions.giveUpMs} */
  readonly giveUpMs?: number;
}

/** For calls that somebody waits for: while the backend is away it is said quickly. */
export const QUICK: Patience = { unsentMs: 5_000 };
/** For what must not be lost as long as the mesh lives. */
export const ENDLESS: Patience = { unsentMs: Number.POSITIVE_INFINITY, giveUpMs: Number.POSITIVE_INFINITY };
/**
 * For calls whose answer hands something over, or that give something back: as long as the session lives nobody else gets what nobody here
 * knows of. So one that may have been carried out is asked for until it is answered.
 */
export const HANDING_OVER: Patience = { unsentMs: 30_000, giveUpMs: Number.POSITIVE_INFINITY };
/** For calls in a transaction of the application: it is broken when one fails, so nothing is repeated. */
export const ONCE: Patience = { unsentMs: -1, giveUpMs: -1 };
const USUAL: Patience = {};

/** Operations in the hands of who ends them. */
export interface OwnedOperations extends Operations {
  /** How many calls are not answered, those that wait for their turn included. */
  underWay(): number;
  /**
   * Refuses everything with `error` from now on, what is under way too, whatever the store does with it: nothing is repeated, and no timer
   * is left. Idempotent.
   */
  close(error: Error): void;
}

export interface OperationOptions {
  readonly maxInFlight: number;
  /** @default 30,000 */
  readonly giveUpMs?: number;
}

/** A call that was sent and is not answered. */
interface Flight {
  readonly reject: (error: Error) => void;
  /** Runs until it is sent again. */
  pause: Timer | undefined;
}

/** A call that waits for its turn. */
interface Queued {
  readonly issue: () => void;
  readonly reject: (error: Error) => void;
}

export function createOperations(
  session: SessionNumber,
  runtime: Runtime,
  options: OperationOptions,
): OwnedOperations {
  const { maxInFlight, giveUpMs = 30_000 } = options;
  let sequence = 0;
  /** By their sequences, the oldest first; n is sent only once n − maxInFlight is answered. */
  const open = new Map<number, Flight>();
  const waiting = new Ring<Queued>();
  let closed: Error | undefined;
  /** There is something to look at before a call is sent. */
  let busy = false;

  const landed = (n: number): void => {
    open.delete(n);
    busy = open.size > 0 || closed !== undefined;
    while (waiting.length > 0 && room()) waiting.shift()?.issue();
  };
  const room = (): boolean => {
    const [oldest] = open.keys();
    return oldest === undefined || sequence + 1 - oldest < maxInFlight;
  };

  /** Settles with the first final answer, for which it asks with the same operation again and again, or when everything is closed. */
  function settle<T>(
    op: Operation,
    first: Promise<T>,
    send: (op: Operation) => Awaitable<T>,
    patience: Patience,
  ): Promise<T> {
    const { clock, random } = runtime;
    const { giveUpMs: sentMs = giveUpMs, unsentMs = sentMs } = patience;
    const started = clock.mono();
    let tries = 0;
    let sent = false;
    return new Promise((resolve, reject) => {
      const flight: Flight = { reject, pause: undefined };
      const answered = (answer: T): void => {
        landed(op.sequence);
        resolve(answer);
      };
      const failed = (error: unknown): void => {
        const mayRepeat = closed === undefined && isOfStore(error);
        if (mayRepeat) sent ||= isCoordinationError(error, 'OUTCOME_UNKNOWN');
        if (mayRepeat && clock.mono() - started <= (sent ? sentMs : unsentMs)) {
          const ms = Math.min(1_000, 10 * 2 ** Math.min(tries++, 7)) * (0.5 + random.next() / 2);
          flight.pause = clock.after(ms, again, true);
          return;
        }
        landed(op.sequence);
        // A session that ran out takes its records with it: the refusal says nothing of an attempt whose answer was lost before.
        reject(
          sent && (mayRepeat || isCoordinationError(error, 'SESSION_EXPIRED'))
            ? unknownOutcome(error)
            : error,
        );
      };
      const again = (): void => {
        void attempt(op, send).then(answered, failed);
      };
      open.set(op.sequence, flight);
      busy = true;
      // The very call may have ended its session.
      if (closed !== undefined) reject(closed);
      first.then(answered, failed);
    });
  }

  /** Issues in the very call that made room: a later turn would find the room taken by all who waited. */
  function queued<T>(send: (op: Operation) => Awaitable<T>, patience: Patience): Promise<T> {
    return new Promise((resolve, reject) => {
      const issueNow = (): void => {
        try {
          resolve(issue(send, patience));
        } catch (error) {
          reject(error);
        }
      };
      waiting.push({ issue: issueNow, reject });
    });
  }

  function issue<T>(send: (op: Operation) => Awaitable<T>, patience: Patience): Awaitable<T> {
    const op: Operation = { session, sequence: ++sequence };
    let answer: Awaitable<T>;
    try {
      answer = send(op);
    } catch (error) {
      if (!isOfStore(error)) throw error;
      answer = Promise.reject(error);
    }
    if (!isPromise(answer)) return answer;
    return settle(op, answer, send, patience);
  }

  function issueInTurn<T>(send: (op: Operation) => Awaitable<T>, patience: Patience): Awaitable<T> {
    if (closed !== undefined) throw closed;
    return waiting.length === 0 && room() ? issue(send, patience) : queued(send, patience);
  }

  return {
    session,
    // No getter: calls through an object that has one take twice as long.
    underWay: () => open.size + waiting.length,
    run: (send, patience = USUAL) => (busy ? issueInTurn(send, patience) : issue(send, patience)),
    close(error) {
      closed ??= error;
      busy = true;
      while (waiting.length > 0) waiting.shift()?.reject(closed);
      for (const flight of open.values()) {
        flight.pause?.cancel();
        flight.reject(closed);
      }
      open.clear();
    },
  };
}

/** Whether the store could not be asked, or its answer was lost: that says nothing of what it was asked for. */
export function isOfStore(error: unknown): boolean {
  return isCoordinationError(error, 'OUTCOME_UNKNOWN') || isCoordinationError(error, 'BACKEND_UNAVAILABLE');
}

/** An attempt that was sent makes the outcome unknown, whatever became of the later ones. */
function unknownOutcome(error: unknown): unknown {
  if (isCoordinationError(error, 'OUTCOME_UNKNOWN')) return error;
  const since = isCoordinationError(error, 'SESSION_EXPIRED')
    ? 'the session ran out before it could be asked for again'
    : 'the backend went away meanwhile';
  return new CoordinationError('OUTCOME_UNKNOWN', `The answer was lost, and ${since}`, { cause: error });
}

async function attempt<T>(op: Operation, send: (op: Operation) => Awaitable<T>): Promise<T> {
  try {
    return await send(op);
  } catch (error) {
    throw error instanceof Error ? error : new CoordinationError('OUTCOME_UNKNOWN', String(error));
  }
}
