import { isPromise } from './awaitable.ts';
import { CoordinationError, isCoordinationError } from './errors.ts';
import type { Runtime } from './ports/runtime.ts';
import type { Awaitable, Operation, SessionNumber } from './ports/words.ts';

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
  const waiting: (() => void)[] = [];

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

  async function settle<T>(
    op: Operation,
    first: Promise<T>,
    send: (op: Operation) => Awaitable<T>,
  ): Promise<T> {
    const started = runtime.clock.mono();
    let attempt: Awaitable<T> = first;
    try {
      for (let tries = 0; ; tries++) {
        try {
          return await attempt;
        } catch (error) {
          if (!isRepeatable(error) || runtime.clock.mono() - started > giveUpMs) throw error;
          await pause(Math.min(1_000, 10 * 2 ** Math.min(tries, 7)) * (0.5 + runtime.random.next() / 2));
          attempt = attemptAgain(op, send);
        }
      }
    } finally {
      close(op.sequence);
    }
  }

  async function queued<T>(send: (op: Operation) => Awaitable<T>): Promise<T> {
    await new Promise<void>((resolve) => waiting.push(resolve));
    return issue(send);
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

function attemptAgain<T>(op: Operation, send: (op: Operation) => Awaitable<T>): Awaitable<T> {
  try {
    return send(op);
  } catch (error) {
    return Promise.reject(
      error instanceof Error ? error : new CoordinationError('OUTCOME_UNKNOWN', String(error)),
    );
  }
}
