import { deadlineOf } from './memory-claim.ts';
import { type HeapEntry, rareOf, type TaskRow } from './row.ts';
import { RowHeap } from './row-heap.ts';

/** When unclaimed tasks end `dead`, the next first. */
export class Deadlines {
  readonly #heap = new RowHeap();

  peek(): HeapEntry | undefined {
    return this.#heap.peek();
  }

  pop(): TaskRow | undefined {
    const row = this.#heap.pop();
    if (row !== undefined) rareOf(row).deadline = undefined;
    return row;
  }

  /** Counts from now on, if it has one and it doesn't yet. */
  arm(row: TaskRow): void {
    if (row.task.limits.deadlineMs === undefined || row.rare?.deadline !== undefined) return;
    rareOf(row).deadline = this.#heap.push(row, deadlineOf(row) as number, row.seq);
  }

  drop({ rare }: TaskRow): void {
    if (rare?.deadline === undefined) return;
    this.#heap.remove(rare.deadline);
    rare.deadline = undefined;
  }
}
