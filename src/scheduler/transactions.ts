import { checkObject } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import { checkJson, copyJson, RESULT_LIMITS } from '../core/json.ts';
import { ONCE, type Operations } from '../core/operations.ts';
import type { Clock } from '../core/ports/runtime.ts';
import type { EnqueueAnswer, NewTask, TaskStore } from '../core/ports/tasks.ts';
import type { Run } from './agent.ts';

/** When the caller commits isn't known here: it is looked for what became claimable after these times, ms. */
const LOOKS_MS = [20, 200];

export interface TransactionsDeps {
  readonly store: TaskStore;
  readonly operations: () => Operations;
  readonly clock: Clock;
  /** Something may be claimable. */
  readonly wake: () => void;
}

/** Calls to the store inside a transaction of the application: they happen if and when that commits. */
export class Transactions {
  readonly #deps: TransactionsDeps;

  constructor(deps: TransactionsDeps) {
    this.#deps = deps;
  }

  /** @throws NOT_SUPPORTED */
  async enqueue(client: unknown, task: NewTask): Promise<EnqueueAnswer> {
    const { operations, clock, wake } = this.#deps;
    const store = this.#within(client, 'To submit without a transaction, leave `client` out.');
    const answer = await operations().run((op) => store.enqueue(op, [task]), ONCE);
    for (const ms of LOOKS_MS) clock.after(ms, wake);
    return answer;
  }

  /**
   * Records that a run has completed. Its handler goes on, and what it returns is not stored any more. A run that was not committed when
   * its handler returns has failed: it is tried again.
   * @throws STALE_CLAIM when the claim isn't current: the transaction must not be committed then; NOT_SUPPORTED
   */
  async complete(client: unknown, run: Run, value: unknown): Promise<void> {
    checkJson(value, 'the result', RESULT_LIMITS);
    const store = this.#within(client, 'To complete without a transaction, return the result.');
    const result = copyJson(value);
    const settlement = { claim: run.claim, as: 'complete', result } as const;
    // From here on only the store knows whether it is completed.
    run.extras.completedWith = { result };
    const { results } = await this.#deps.operations().run((op) => store.settle(op, [settlement]), ONCE);
    if (results[0]?.status !== 'settled')
      throw new CoordinationError('STALE_CLAIM', `Task ${run.id} is not this attempt's any more`, {
        hint: 'Roll the transaction back: another attempt has the task.',
        retryable: false,
      });
  }

  /** @param otherwise what to do without a client */
  #within(client: unknown, otherwise: string): Pick<TaskStore, 'enqueue' | 'settle'> {
    checkObject(client, 'the client', otherwise);
    const { store } = this.#deps;
    if (store.within === undefined)
      throw new CoordinationError('NOT_SUPPORTED', 'This backend has no transactions to join', {
        hint: 'Use `agentmesh/postgres`, or submit without `client`.',
      });
    return store.within(client);
  }
}
