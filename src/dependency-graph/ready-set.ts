import { IntColumn } from './int-column.ts';

/** A set of small integers with O(1) add and delete and a dense list to walk over. */
export class ReadySet {
  readonly #nodes: number[] = [];
  /** Place in the list + 1; 0 is absent. */
  readonly #place = new IntColumn();

  get nodes(): readonly number[] {
    return this.#nodes;
  }

  add(node: number): void {
    this.#place.set(node, this.#nodes.push(node));
  }

  delete(node: number): void {
    const place = this.#place.get(node);
    const last = this.#nodes.pop() as number;
    if (last !== node) {
      this.#nodes[place - 1] = last;
      this.#place.set(last, place);
    }
    this.#place.set(node, 0);
  }
}
