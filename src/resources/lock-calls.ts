import { andThen } from '../core/awaitable.ts';
import { Batches } from '../core/batches.ts';
import { ENDLESS, type Operations } from '../core/operations.ts';
import type { LockAnswer, LockRelease, LockRequest, LockStore } from '../core/ports/locks.ts';
import type { Clock } from '../core/ports/runtime.ts';
import type { Awaitable, BackendTime } from '../core/ports/words.ts';

/** Calls under way: few enough that batches grow, enough that one that waits in the store for a row keeps no others waiting. */
const FLIGHTS = 4;

/** An answer, and the store's time when it was given. */
export interface Answered {
  readonly answer: LockAnswer;
  readonly at: BackendTime;
}

interface Asked<I, A> {
  readonly item: I;
  readonly resolve: (answer: A) => void;
  readonly reject: (error: unknown) => void;
}

export interface LockCallsDeps {
  readonly store: LockStore;
  readonly operations: Operations;
  readonly clock: Clock;
  /** Most items of one call to a store across a network; absent: each goes by itself, in place. */
  readonly farBatch: number | undefined;
}

/** Requests and releases on their way to the store: one call each where that costs nothing, shared calls across a network. */
export class LockCalls {
  readonly #deps: LockCallsDeps;
  readonly #requests: Batches<Asked<LockRequest, Answered>> | undefined;
  readonly #releases: Batches<Asked<LockRelease, undefined>> | undefined;

  constructor(deps: LockCallsDeps) {
    this.#deps = deps;
    const { clock, farBatch: maxBatch } = deps;
    if (maxBatch === undefined) return;
    const { store, operations } = deps;
    this.#requests = new Batches({
      clock,
      maxBatch,
      maxFlights: FLIGHTS,
      send: sharing(async (items) => {
        const { answers, at } = await operations.run((op) => store.request(op, items));
        return answers.map((answer) => ({ answer, at }));
      }),
    });
    this.#releases = new Batches({
      clock,
      maxBatch,
      maxFlights: FLIGHTS,
      send: sharing(async (items) => {
        await operations.run((op) => store.release(op, items), ENDLESS);
        return items.map(() => undefined);
      }),
    });
  }

  request(request: LockRequest): Awaitable<Answered> {
    const { store, operations } = this.#deps;
    if (this.#requests !== undefined) return added(this.#requests, request);
    return andThen(
      operations.run((op) => store.request(op, [request])),
      ({ answers, at }) => ({ answer: answers[0] as LockAnswer, at }),
    );
  }

  release(item: LockRelease): Awaitable<undefined> {
    const { store, operations } = this.#deps;
    if (this.#releases !== undefined) return added(this.#releases, item);
    return andThen(
      operations.run((op) => store.release(op, [item]), ENDLESS),
      () => undefined,
    );
  }
}

function added<I, A>(batches: Batches<Asked<I, A>>, item: I): Promise<A> {
  return new Promise((resolve, reject) => batches.add({ item, resolve, reject }));
}

/** Answers each of those whose items share a call. */
function sharing<I, A>(
  call: (items: readonly I[]) => Promise<readonly A[]>,
): (asked: readonly Asked<I, A>[]) => Promise<void> {
  return async (asked) => {
    try {
      const answers = await call(asked.map(({ item }) => item));
      asked.forEach(({ resolve }, i) => resolve(answers[i] as A));
    } catch (error) {
      for (const { reject } of asked) reject(error);
    }
  };
}
