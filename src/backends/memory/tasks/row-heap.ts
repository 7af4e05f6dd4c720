import type { HeapEntry, TaskRow } from './row.ts';

/** Rows by time, then order. Taking one out leaves an empty entry behind; those never outnumber the live ones by much. */
export class RowHeap {
  #entries: HeapEntry[] = [];
  #empty = 0;

  get size(): number {
    return this.#entries.length - this.#empty;
  }

  /** Live and empty entries. */
  get entries(): number {
    return this.#entries.length;
  }

  push(row: TaskRow, at: number, order: number): HeapEntry {
    const entry: HeapEntry = { at, order, row };
    this.#entries.push(entry);
    this.#up(this.#entries.length - 1);
    return entry;
  }

  remove(entry: HeapEntry): void {
    if (entry.row === undefined) return;
    entry.row = undefined;
    this.#empty += 1;
    if (this.#empty > 32 + this.size) this.#compact();
  }

  /** The earliest entry, which stays. */
  peek(): HeapEntry | undefined {
    while (this.#empty > 0 && this.#entries[0]?.row === undefined) {
      this.#drop();
      this.#empty -= 1;
    }
    return this.#entries[0];
  }

  pop(): TaskRow | undefined {
    const entry = this.peek();
    if (entry === undefined) return undefined;
    this.#drop();
    return entry.row;
  }

  /** The live rows, in no order. */
  *rows(): Generator<TaskRow> {
    for (const { row } of this.#entries) if (row !== undefined) yield row;
  }

  #drop(): void {
    const last = this.#entries.pop() as HeapEntry;
    if (this.#entries.length === 0) return;
    this.#entries[0] = last;
    this.#down(0);
  }

  #compact(): void {
    this.#entries = this.#entries.filter(({ row }) => row !== undefined);
    this.#empty = 0;
    for (let i = (this.#entries.length >> 1) - 1; i >= 0; i--) this.#down(i);
  }

  #up(from: number): void {
    const entries = this.#entries;
    const entry = entries[from] as HeapEntry;
    let i = from;
    while (i > 0) {
      const above = (i - 1) >> 1;
      const parent = entries[above] as HeapEntry;
      if (!isBefore(entry, parent)) break;
      entries[i] = parent;
      i = above;
    }
    entries[i] = entry;
  }

  #down(from: number): void {
    const entries = this.#entries;
    const entry = entries[from] as HeapEntry;
    const half = entries.length >> 1;
    let i = from;
    while (i < half) {
      let below = 2 * i + 1;
      const right = entries[below + 1];
      if (right !== undefined && isBefore(right, entries[below] as HeapEntry)) below += 1;
      const child = entries[below] as HeapEntry;
      if (!isBefore(child, entry)) break;
      entries[i] = child;
      i = below;
    }
    entries[i] = entry;
  }
}

function isBefore(a: HeapEntry, b: HeapEntry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
