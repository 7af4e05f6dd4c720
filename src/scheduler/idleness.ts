import { handled } from '../core/awaitable.ts';
import { CoordinationError } from '../core/errors.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { TaskStore } from '../core/ports/tasks.ts';
import type { Executor } from './executor.ts';
import type { Settler } from './settler.ts';

const UNENDED = ['waiting', 'scheduled', 'ready', 'claimed'] as const;

/** A store that does not answer is asked again after this, ms. */
const AGAIN_MS = 1_000;

export interface IdlenessDeps {
  readonly runtime: Runtime;
  readonly store: TaskStore;
  readonly settler: Settler;
  readonly executor: Executor;
}

/** Tells those who wait for it when no task is left that hasn't ended. */
export class Idleness {
  readonly #deps: IdlenessDeps;
  readonly #waiters: (() => void)[] = [];
  #looking = false;
  #over = false;

  constructor(deps: IdlenessDeps) {
    this.#deps = deps;
  }

  /** Resolves when every task has ended. @throws NOT_SUPPORTED when a handler calls it at its begin */
  until(): Promise<void> {
    if (this.#over) return Promise.resolve();
    const { inside } = this.#deps.executor;
    if (inside !== undefined) {
      return Promise.reject(
        new CoordinationError('NOT_SUPPORTED', `Task ${inside.id} waits for all tasks, itself among them`, {
          hint: 'Wait for the tasks it submitted instead: `context.runTask`, or `gather` of their handles.',
          retryable: false,
        }),
      );
    }
    return new Promise((resolve) => {
      this.#waiters.push(resolve);
      this.look();
    });
  }

  /** A task has ended: looks whether it was the last. */
  look(): void {
    if (this.#waiters.length === 0 || this.#looking) return;
    this.#looking = true;
    handled(
      this.#look().catch(() => {
        // Nobody else would look again: it may have been the last end.
        this.#deps.runtime.clock.after(AGAIN_MS, () => this.look(), true);
      }),
    );
  }

  /** Nobody waits any more, now or later. */
  end(): void {
    this.#over = true;
    this.#wake();
  }

  async #look(): Promise<void> {
    await this.#deps.settler.untilIdle();
    this.#looking = false;
    const { queues } = await this.#deps.store.counts();
    if (!queues.some(({ states }) => UNENDED.some((state) => states[state] > 0))) this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}
