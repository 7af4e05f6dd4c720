import { andThen, isPromise } from './core/awaitable.ts';
import { CoordinationError, isCoordinationError } from './core/errors.ts';
import type { Operations } from './core/operations.ts';
import type { Awaitable, Operation, SessionNumber } from './core/ports/words.ts';

/** The operations of a session that is opened later: parts are built before the backend answers. */
export class LazyOperations implements Operations {
  #operations: Operations | undefined;
  #ended = false;
  #renew: ((session: SessionNumber) => Awaitable<void>) | undefined;

  get session(): SessionNumber {
    return this.#current().session;
  }

  run<T>(send: (op: Operation) => Awaitable<T>): Awaitable<T> {
    const operations = this.#operations ?? this.#current();
    return this.#renew === undefined
      ? operations.run(send)
      : this.#runInSession(operations, send, this.#renew);
  }

  /** A session of these may run out: what is refused for that is carried out in the one that `renew` opens. */
  renewBy(renew: (session: SessionNumber) => Awaitable<void>): void {
    this.#renew = renew;
  }

  use(operations: Operations): void {
    this.#operations = operations;
    this.#ended = false;
  }

  get isOpen(): boolean {
    return this.#operations !== undefined;
  }

  /** Refuses everything from now on, or until there is another session. */
  end(forGood: boolean): void {
    this.#operations = undefined;
    this.#ended = forGood;
  }

  /**
   * An operation of a session that is over was refused, not executed: a new one of the next session is safe. Not so when it was sent
   * before and its outcome unknown.
   */
  #runInSession<T>(
    operations: Operations,
    send: (op: Operation) => Awaitable<T>,
    renew: (session: SessionNumber) => Awaitable<void>,
  ): Awaitable<T> {
    let sends = 0;
    const again = (error: unknown): Awaitable<T> => {
      if (sends !== 1 || !isCoordinationError(error, 'SESSION_EXPIRED')) throw error;
      return andThen(renew(operations.session), () => {
        const next = this.#operations ?? this.#current();
        if (next === operations) throw error;
        return next.run(send);
      });
    };
    try {
      const answer = operations.run((op) => {
        sends += 1;
        return send(op);
      });
      return isPromise(answer) ? answer.catch(again) : answer;
    } catch (error) {
      return again(error);
    }
  }

  #current(): Operations {
    if (this.#operations !== undefined) return this.#operations;
    if (this.#ended) throw new CoordinationError('STOPPED', 'The mesh has been shut down');
    throw new CoordinationError('NOT_STARTED', 'The mesh has not been started', {
      hint: 'Call `await manager.initialize()` first, or create it with `CoordinationManager.start()`.',
    });
  }
}
