/** A set that forgets the oldest beyond its limit; adding one again makes it the newest. */
export class BoundedSet<T> {
  readonly #items = new Set<T>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#items.size;
  }

  has(item: T): boolean {
    return this.#items.has(item);
  }

  add(item: T): void {
    this.#items.delete(item);
    this.#items.add(item);
    if (this.#items.size > this.#limit) this.#items.delete(this.#items.values().next().value as T);
  }

  delete(item: T): void {
    this.#items.delete(item);
  }
}

/** Agents that left and are refused until they are registered again: so many of them, the last ones. */
export const MOST_DEPARTED = 10_000;
