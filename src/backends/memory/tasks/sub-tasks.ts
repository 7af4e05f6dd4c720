import type { TaskRow } from './row.ts';

const NONE: ReadonlySet<TaskRow> = new Set();

/** The task tree: sub-tasks by the id of their parent. When a row is forgotten its sub-tasks become its parent's, so a tree stays whole. */
export class SubTasks {
  readonly #byParent = new Map<string, Set<TaskRow>>();
  /** Whose sub-task a row is now, where that isn't the parent it was made with. */
  readonly #adopted = new Map<TaskRow, string>();

  of(id: string): ReadonlySet<TaskRow> {
    return this.#byParent.get(id) ?? NONE;
  }

  add(row: TaskRow): void {
    const { parent } = row.task;
    if (parent !== undefined) this.#put(parent, row);
  }

  forget(row: TaskRow): void {
    if (this.#byParent.size === 0) return;
    const parent = this.#adopted.get(row) ?? row.task.parent;
    this.#adopted.delete(row);
    const own = this.#byParent.get(row.task.id);
    if (own !== undefined) {
      this.#byParent.delete(row.task.id);
      for (const child of own) this.#adopt(child, parent);
    }
    if (parent !== undefined) this.#take(parent, row);
  }

  /** A row that lives becomes the sub-task of another, or of none. Called while it still has its former parent. */
  move(row: TaskRow, parent: string | undefined): void {
    const former = this.#adopted.get(row) ?? row.task.parent;
    this.#adopted.delete(row);
    if (former !== undefined) this.#take(former, row);
    if (parent !== undefined) this.#put(parent, row);
  }

  #adopt(child: TaskRow, parent: string | undefined): void {
    if (parent === undefined) {
      this.#adopted.delete(child);
      return;
    }
    this.#adopted.set(child, parent);
    this.#put(parent, child);
  }

  #take(parent: string, row: TaskRow): void {
    const siblings = this.#byParent.get(parent);
    siblings?.delete(row);
    if (siblings?.size === 0) this.#byParent.delete(parent);
  }

  #put(parent: string, row: TaskRow): void {
    const siblings = this.#byParent.get(parent);
    if (siblings === undefined) this.#byParent.set(parent, new Set([row]));
    else siblings.add(row);
  }
}
