/** Agents (by index) ordered by a key that changes: a binary heap that is told of changes and forgets outdated places when they come up. */
export class LoadHeap {
  readonly #keyOf: (index: number) => number;
  readonly #heap: { readonly index: number; readonly key: number; readonly version: number }[] = [];
  readonly #versions = new Map<number, number>();

  constructor(indexes: Iterable<number>, keyOf: (index: number) => number) {
    this.#keyOf = keyOf;
    for (const index of indexes) this.changed(index, true);
  }

  /** The index with the lowest key; among equals the lowest index. */
  first(): number | undefined {
    for (;;) {
      const top = this.#heap[0];
      if (top === undefined) return undefined;
      if (this.#versions.get(top.index) === top.version) return top.index;
      this.#pop();
    }
  }

  /** The key of `index` has changed, or it is no longer `present`. */
  changed(index: number, present: boolean): void {
    const version = (this.#versions.get(index) ?? 0) + 1;
    this.#versions.set(index, version);
    if (present) this.#push({ index, key: this.#keyOf(index), version });
  }

  #push(entry: { readonly index: number; readonly key: number; readonly version: number }): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      let least = at;
      if (left < this.#heap.length && this.#before(left, least)) least = left;
      if (left + 1 < this.#heap.length && this.#before(left + 1, least)) least = left + 1;
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #before(a: number, b: number): boolean {
    const left = this.#heap[a] as { index: number; key: number };
    const right = this.#heap[b] as { index: number; key: number };
    return left.key < right.key || (left.key === right.key && left.index < right.index);
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap;
    [heap[a], heap[b]] = [heap[b] as (typeof heap)[number], heap[a] as (typeof heap)[number]];
  }
}
