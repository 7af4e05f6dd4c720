import { isPromise } from '../core/awaitable.ts';
import { OPTIONS } from '../core/option-table.ts';
import type { TaskStore } from '../core/ports/tasks.ts';

const MAX_QUEUES = 1_000;

/**
 * How much waiting is worth a priority point in each queue, as this process knows it: a change made by another is heard of when a queue
 * is asked for the first time, or again.
 */
export class AgeSteps {
  readonly #store: TaskStore;
  readonly #steps = new Map<string, number>();

  constructor(store: TaskStore) {
    this.#store = store;
  }

  /** ms */
  of(queue: string): number {
    const known = this.#steps.get(queue);
    if (known !== undefined) return known;
    const counts = this.#store.counts([queue]);
    if (isPromise(counts)) {
      counts.then(
        ({ queues }) => this.#learn(queue, queues[0]?.settings.ageStepMs),
        () => undefined,
      );
      return OPTIONS.queue.ageStepMs.default;
    }
    const step = counts.queues[0]?.settings.ageStepMs ?? OPTIONS.queue.ageStepMs.default;
    this.set(queue, step);
    return step;
  }

  set(queue: string, ageStepMs: number): void {
    if (this.#steps.size >= MAX_QUEUES) this.#steps.clear();
    this.#steps.set(queue, ageStepMs);
  }

  #learn(queue: string, ageStepMs: number | undefined): void {
    if (ageStepMs !== undefined && !this.#steps.has(queue)) this.set(queue, ageStepMs);
  }
}
