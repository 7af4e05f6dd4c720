import { andThen, handled, isPromise } from './core/awaitable.ts';
import { CoordinationError, isCoordinationError } from './core/errors.ts';
import { ENDLESS, ONCE, type Operations, type OwnedOperations, type Patience } from './core/operations.ts';
import type { Clock } from './core/ports/runtime.ts';
import type { Awaitable, Operation, SessionNumber } from './core/ports/words.ts';

const MAYBE_DONE = 'It may have been carried out.';

/** Opens the next session when one has run out. */
export interface Renewal {
  /** Continues when there is another one than this. */
  renew(session: SessionNumber): Awaitable<void>;
  /** Continues when there is one. */
  opened(mostMs: number): Awaitable<void>;
  /** For how long the one there is may be counted on, ms. */
  leftMs(): number;
}

/** The operations of a session that is opened later: parts are built before the backend answers. */
export class LazyOperations implements Operations {
  #operations: OwnedOperations | undefined;
  /** Of sessions that are over, as long as something of theirs is under way. */
  #former: readonly OwnedOperations[] = [];
  #ended = false;
  readonly #clock: Clock | undefined;
  #heardAt = Number.NEGATIVE_INFINITY;
  /** Calls that are not answered, and since when there have been any. */
  #asking = 0;
  #askedAt = 0;
  #renewal: Renewal | undefined;

  /** @param clock tells when the store was heard of last */
  constructor(clock?: Clock) {
    this.#clock = clock;
  }

  /** ms since a store that doesn't answer at once has carried something out; `Infinity` before. */
  heardAgoMs(): number {
    return (this.#clock?.mono() ?? Number.POSITIVE_INFINITY) - this.#heardAt;
  }

  /** For how long what was asked of such a store has been without any answer, ms; 0 when nothing is asked. */
  silentMs(): number {
    if (this.#asking === 0 || this.#clock === undefined) return 0;
    return this.#clock.mono() - Math.max(this.#heardAt, this.#askedAt);
  }

  get session(): SessionNumber {
    return this.#current().session;
  }

  run<T>(send: (op: Operation) => Awaitable<T>, patience?: Patience): Awaitable<T> {
    const operations = this.#operations ?? this.#current();
    const renewal = this.#renewal;
    if (renewal === undefined) return operations.run(send, patience);
    // What must not be lost, or is in a transaction of the caller's, is nothing that would end with a session.
    const opened =
      patience === ENDLESS || patience === ONCE
        ? undefined
        : renewal.opened(patience?.unsentMs ?? Number.POSITIVE_INFINITY);
    return isPromise(opened)
      ? opened.then(() => this.run(send, patience))
      : this.#runInSession(operations, send, renewal, patience);
  }

  leftMs(): number {
    return this.#renewal?.leftMs() ?? Number.POSITIVE_INFINITY;
  }

  /** A session of these may run out: what is refused for that, or asked for meanwhile, is carried out in the next one. */
  renewBy(renewal: Renewal): void {
    this.#renewal = renewal;
  }

  /**
   * What is under way in the session before is left to its own answer: refused, it is carried out in this one; a settlement counts also
   * now (T4); and of what was sent before the store alone knows the outcome.
   */
  use(operations: OwnedOperations): void {
    if (this.#operations !== undefined)
      this.#former = [...this.#former, this.#operations].filter((one) => one.underWay() > 0);
    this.#operations = operations;
    this.#ended = false;
  }

  get isOpen(): boolean {
    return this.#operations !== undefined;
  }

  /** Refuses everything from now on, or until there is another session; also what is under way: nobody will ask for its answer again. */
  end(forGood: boolean): void {
    const all = [...this.#former, this.#operations];
    this.#operations = undefined;
    this.#former = [];
    this.#ended = forGood;
    const error = forGood
      ? new CoordinationError('STOPPED', 'The mesh was shut down before the store had answered', {
          hint: MAYBE_DONE,
        })
      : new CoordinationError('NOT_STARTED', 'The start of the mesh failed before the store had answered', {
          hint: MAYBE_DONE,
        });
    for (const operations of all) operations?.close(error);
  }

  /**
   * An operation of a session that is over was refused, not executed: a new one of the next session is safe. Not so when an answer to it was
   * lost before: that is OUTCOME_UNKNOWN, and only what comes next goes by another session.
   */
  #runInSession<T>(
    operations: Operations,
    send: (op: Operation) => Awaitable<T>,
    renewal: Renewal,
    patience: Patience | undefined,
  ): Awaitable<T> {
    const again = (error: unknown): Awaitable<T> => {
      const isOver = isCoordinationError(error, 'SESSION_EXPIRED');
      const isUnknown =
        isCoordinationError(error, 'OUTCOME_UNKNOWN') && isCoordinationError(error.cause, 'SESSION_EXPIRED');
      if (!isOver && !isUnknown) throw error;
      const renewed = renewal.renew(operations.session);
      if (isUnknown || patience === ONCE) {
        // The caller's transaction is broken by the refusal: the caller begins it again, and finds another session then.
        if (isPromise(renewed)) handled(renewed);
        throw error;
      }
      return andThen(renewed, () => {
        const next = this.#operations ?? this.#current();
        if (next === operations) throw error;
        return next.run(send, patience);
      });
    };
    try {
      const answer = operations.run(send, patience);
      return isPromise(answer) ? this.#heard(answer, again) : answer;
    } catch (error) {
      return again(error);
    }
  }

  /** Notes when the store answers, and while it doesn't. */
  #heard<T>(answer: Promise<T>, again: (error: unknown) => Awaitable<T>): Promise<T> {
    const clock = this.#clock;
    if (clock === undefined) return answer.catch(again);
    if (this.#asking === 0) this.#askedAt = clock.mono();
    this.#asking += 1;
    return answer.then(
      (answered) => {
        this.#asking -= 1;
        this.#heardAt = clock.mono();
        return answered;
      },
      async (error: unknown) => {
        try {
          return await again(error);
        } finally {
          this.#asking -= 1;
        }
      },
    );
  }

  #current(): Operations {
    if (this.#operations !== undefined) return this.#operations;
    if (this.#ended) throw new CoordinationError('STOPPED', 'The mesh has been shut down');
    throw new CoordinationError('NOT_STARTED', 'The mesh has not been started', {
      hint: 'Call `await manager.initialize()` first, or create it with `CoordinationManager.start()`.',
    });
  }
}
