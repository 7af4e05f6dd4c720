import { RowList, type TaskRow } from './row.ts';

/** With more different times than this, longer ones are rounded up to a power of two, so that the lists stay few. */
const MAX_LISTS = 64;

/**
 * Ended rows until they are pruned. One list for each length of time they are kept: in it they fall due in the order in which they
 * ended, so that the next to fall due and the oldest of all are found by looking at the heads.
 */
export class Retention {
  readonly #tombstoneMs: number;
  readonly #lists = new Map<number, RowList>();
  /** The list asked for last, and for which time: most tasks are kept equally long. */
  #last = new RowList();
  #lastKept = -1;
  #size = 0;

  /** @param tombstoneMs how long state and key of a row without `keepMs` stay */
  constructor(tombstoneMs: number) {
    this.#tombstoneMs = tombstoneMs;
  }

  get size(): number {
    return this.#size;
  }

  add(row: TaskRow): void {
    this.#listOf(row).push(row);
    this.#size += 1;
  }

  remove(row: TaskRow): void {
    this.#listOf(row).remove(row);
    this.#size -= 1;
  }

  /** The row that ended first. */
  oldest(): TaskRow | undefined {
    if (this.#lists.size === 1) return this.#last.first;
    let oldest: TaskRow | undefined;
    for (const { first } of this.#lists.values()) {
      if (first !== undefined && (oldest === undefined || endOf(first) < endOf(oldest))) oldest = first;
    }
    return oldest;
  }

  /** The row that falls due first, and when, µs. */
  nextDue(): { readonly row: TaskRow; readonly at: number } | undefined {
    let next: { readonly row: TaskRow; readonly at: number } | undefined;
    for (const [keepMs, { first }] of this.#lists) {
      if (first === undefined) continue;
      const at = endOf(first) + keepMs * 1_000;
      if (next === undefined || at < next.at) next = { row: first, at };
    }
    return next;
  }

  *rows(): Generator<TaskRow> {
    for (const list of this.#lists.values()) {
      for (let row = list.first; row !== undefined; row = row.next) yield row;
    }
  }

  #listOf({ task }: TaskRow): RowList {
    const wanted = task.limits.keepMs > 0 ? task.limits.keepMs : this.#tombstoneMs;
    if (wanted === this.#lastKept) return this.#last;
    const list = this.#lists.get(wanted) ?? this.#newList(wanted);
    this.#last = list;
    this.#lastKept = wanted;
    return list;
  }

  #newList(wanted: number): RowList {
    const keepMs = this.#lists.size < MAX_LISTS ? wanted : 2 ** Math.ceil(Math.log2(wanted));
    let list = this.#lists.get(keepMs);
    if (list === undefined) {
      list = new RowList();
      this.#lists.set(keepMs, list);
    }
    return list;
  }
}

function endOf(row: TaskRow): number {
  return row.ended?.at ?? 0;
}
