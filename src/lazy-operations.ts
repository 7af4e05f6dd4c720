import { CoordinationError } from './core/errors.ts';
import type { Operations } from './core/operations.ts';
import type { Awaitable, Operation, SessionNumber } from './core/ports/words.ts';

/** The operations of a session that is opened later: parts are built before the backend answers. */
export class LazyOperations implements Operations {
  #operations: Operations | undefined;
  #ended = false;

  get session(): SessionNumber {
    return this.#current().session;
  }

  run<T>(send: (op: Operation) => Awaitable<T>): Awaitable<T> {
    return this.#operations === undefined ? this.#current().run(send) : this.#operations.run(send);
  }

  use(operations: Operations): void {
    this.#operations = operations;
    this.#ended = false;
  }

  /** Refuses everything from now on. */
  end(): void {
    this.#operations = undefined;
    this.#ended = true;
  }

  #current(): Operations {
    if (this.#operations !== undefined) return this.#operations;
    if (this.#ended) throw new CoordinationError('STOPPED', 'The mesh has been shut down');
    throw new CoordinationError('NOT_STARTED', 'The mesh has not been started', {
      hint: 'Call `await manager.initialize()` first, or create it with `CoordinationManager.start()`.',
    });
  }
}
