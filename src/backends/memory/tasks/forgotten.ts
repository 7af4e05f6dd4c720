import { type CANCELLED, COMPLETED, type DEAD, type SKIPPED, type TaskRow } from './row.ts';

/** How a task ended that is forgotten but for that. */
export type EndState = typeof COMPLETED | typeof DEAD | typeof CANCELLED | typeof SKIPPED;

/**
 * How the tasks ended that were pruned last, so that a dependency on one of them isn't taken for one on a task that is still to come.
 * Two generations: with the younger full the older is dropped, so at least `capacity` and at most twice as many are known. Ids go into a
 * table only when somebody looks for one: until then an id costs the store no more than a reference.
 */
export class Forgotten {
  readonly #capacity: number;
  #young = new Generation();
  #old = new Generation();

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** The row is being pruned; it has ended. */
  add(row: TaskRow): void {
    if (this.#capacity === 0) return;
    if (this.#young.ids.length >= this.#capacity) {
      this.#old = this.#young;
      this.#young = new Generation();
    }
    const { ids, others } = this.#young;
    // Nearly all complete: only the others cost a number.
    if (row.state !== COMPLETED) others.set(ids.length, row.state as EndState);
    ids.push(row.task.id);
  }

  /** How the last task of this id ended; `undefined`: there was none, or too long ago. */
  get(id: string): EndState | undefined {
    return this.#young.get(id) ?? this.#old.get(id);
  }
}

class Generation {
  readonly ids: string[] = [];
  /** Ends other than completion, by place in `ids`. */
  readonly others = new Map<number, EndState>();
  readonly #table = new Map<string, EndState>();
  #entered = 0;

  get(id: string): EndState | undefined {
    for (; this.#entered < this.ids.length; this.#entered++) {
      this.#table.set(this.ids[this.#entered] as string, this.others.get(this.#entered) ?? COMPLETED);
    }
    return this.#table.get(id);
  }
}
