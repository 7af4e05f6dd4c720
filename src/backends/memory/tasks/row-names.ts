import type { TaskRow } from './row.ts';
import type { RowIndex } from './row-index.ts';

/**
 * Rows by id. A row whose id was made for it is entered only when somebody looks for an id: most tasks are run and forgotten without that
 * ever happening, and the table of a hundred thousand names is the dearest thing about a task that does nothing.
 */
export class RowNames {
  readonly #index: RowIndex;
  readonly #rows = new Map<string, TaskRow>();
  /** Rows up to this one are entered. */
  #entered = 0;
  #latest = 0;

  constructor(index: RowIndex) {
    this.#index = index;
  }

  get(id: string): TaskRow | undefined {
    if (this.#entered < this.#latest) this.#enter();
    return this.#rows.get(id);
  }

  /** Adds the newest row; it is in the index of rows already. @param isNew no other row can have its id */
  add(row: TaskRow, isNew: boolean): void {
    if (!isNew) {
      if (this.#entered < this.#latest) this.#enter();
      this.#rows.set(row.task.id, row);
      this.#entered = row.seq;
    }
    this.#latest = row.seq;
  }

  delete(row: TaskRow): void {
    if (row.seq <= this.#entered) this.#rows.delete(row.task.id);
  }

  #enter(): void {
    for (const row of this.#index.after(this.#entered)) this.#rows.set(row.task.id, row);
    this.#entered = this.#latest;
  }
}
