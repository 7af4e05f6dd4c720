import { isPromise } from './awaitable.ts';
import { CoordinationError, isCoordinationError } from './errors.ts';
import type { Runtime } from './ports/runtime.ts';
import type { Awaitable, Operation, SessionNumber } from './ports/words.ts';
import { Ring } from './ring.ts';

/** Carries out mutating calls of one session: numbers them, bounds how many are under way, repeats those whose outcome is unknown. */
export interface Operations {
  readonly session: SessionNumber;
  /**
   * Calls `send` with a new operation. While its outcome is unknown or the backend is away, calls again with the SAME operation, with
   * jittered backoff, until answered or {@link OperationOptions.giveUpMs} have passed.
   * @throws OUTCOME_UNKNOWN when it gave up after something was sent, BACKEND_UNAVAILABLE when nothing was.
   */
  run<T>(send: (op: Operation) => Awaitable<T>): Awaitable<T>;
}

export interface OperationOptions {
  readonly maxInFlight: number;
  /** @default 30,000 */
  readonly giveUpMs?: number;
}

export function createOperations(
  session: SessionNumber,
  runtime: Runtime,
  options: OperationOptions,
): Operations {
  const { maxInFlight, giveUpMs = 30_000 } = options;
  let sequence = 0;
  /** Sequences sent and not answered; n is sent only once n − maxInFlight is answered. */
  const open = new Set<number>();
  const waiting = new Ring<() => void>();

  const close = (n: number): void => {
    open.delete(n);
    while (waiting.length > 0 && room()) waiting.shift()?.();
  };
  const room = (): boolean => {
    const [oldest] = open;
    return oldest === undefined || sequence + 1 - oldest < maxInFlight;
  };
  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      runtime.clock.after(ms, resolve, true);
    });

  /** Answers `first`, or asks again with the same operation until something final comes. */
  async function settle<T>(
    op: Operation,
    first: Promise<T>,
    send: (op: Operation) => Awaitable<T>,
  ): Promise<T> {
    const started = runtime.clock.mono();
    let attempt: Awaitable<T> = first;
    let sent = false;
    try {
      for (let tries = 0; ; tries++) {
        try {
          return await attempt;
        } catch (error) {
          if (!isRepeatable(error)) throw error;
          sent ||= isCoordinationError(error, 'OUTCOME_UNKNOWN');
          if (runtime.clock.mono() - started > giveUpMs) throw sent ? unknownOutcome(error) : error;
          await pause(Math.min(1_000, 10 * 2 ** Math.min(tries, 7)) * (0.5 + runtime.random.next() / 2));
          attempt = attemptAgain(op, send);
        }
      }
    } finally {
      close(op.sequence);
    }
  }

  /** Issues in the very call that made room: a later turn would find the room taken by all who waited. */
  function queued<T>(send: (op: Operation) => Awaitable<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      waiting.push(() => {
        try {
          resolve(issue(send));
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  function issue<T>(send: (op: Operation) => Awaitable<T>): Awaitable<T> {
    const op: Operation = { session, sequence: ++sequence };
    let answer: Awaitable<T>;
    try {
      answer = send(op);
    } catch (error) {
      if (!isRepeatable(error)) throw error;
      answer = Promise.reject(error);
    }
    if (!isPromise(answer)) return answer;
    open.add(op.sequence);
    return settle(op, answer, send);
  }

  return {
    session,
    run: (send) => (open.size === 0 || (waiting.length === 0 && room()) ? issue(send) : queued(send)),
  };
}

function isRepeatable(error: unknown): boolean {
  return isCoordinationError(error, 'OUTCOME_UNKNOWN') || isCoordinationError(error, 'BACKEND_UNAVAILABLE');
}

/** An attempt that was sent makes the outcome unknown, whatever became of the later ones. */
function unknownOutcome(error: unknown): unknown {
  if (isCoordinationError(error, 'OUTCOME_UNKNOWN')) return error;
  return new CoordinationError(
    'OUTCOME_UNKNOWN',
    'The answer was lost, and the backend went away meanwhile',
    {
      cause: error,
    },
  );
}

function attemptAgain<T>(op: Operation, send: (op: Operation) => Awaitable<T>): Awaitable<T> {
  try {
    return send(op);
  } catch (error) {
    return Promise.reject(
      error instanceof Error ? error : new CoordinationError('OUTCOME_UNKNOWN', String(error)),
    );
  }
}
