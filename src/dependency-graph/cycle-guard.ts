import { NONE, type GraphView } from './adjacency.ts';
import { IntColumn } from './int-column.ts';

/**
 * Says before edges are added whether they would close a cycle. Each node has a level that never falls along an edge, so most edges need
 * no search; the others one backwards within a level, of at most √edges steps, and one forwards only into what has to be lifted. All
 * edges together cost at most edges^1.5 steps, in whatever order they come (Bender, Fineman, Gilbert & Tarjan 2016).
 */
export class CycleGuard {
  readonly #graph: GraphView;
  readonly #level = new IntColumn();
  /** Number of the last search that saw a node. */
  readonly #seenBy = new IntColumn();
  #search = 0;

  constructor(graph: GraphView) {
    this.#graph = graph;
  }

  /** A new node with edges from `parents` only: it closes no cycle and needs no search. */
  placeAfter(node: number, parents: readonly number[]): void {
    let level = 0;
    for (const parent of parents) level = Math.max(level, this.#level.get(parent));
    this.#place(node, level);
  }

  /** A new node with an edge into `child` only. */
  placeBefore(node: number, child: number): void {
    this.#place(node, this.#level.get(child));
  }

  /**
   * Prepares for edges from each of `parents` into `child`, which has none yet.
   * @returns a parent that can be reached from `child`, so that its edge would close a cycle; `undefined` when all may be added.
   */
  closing(parents: readonly number[], child: number): number | undefined {
    return parents.find((parent) => parent === child || this.#closes(parent, child));
  }

  #place(node: number, level: number): void {
    this.#level.set(node, level);
    this.#seenBy.set(node, 0);
  }

  #closes(parent: number, child: number): boolean {
    const top = this.#level.get(parent);
    const low = this.#level.get(child);
    if (top < low) return false;
    this.#nextSearch();
    const complete = this.#markAncestors(parent, top);
    if (complete && this.#seen(child)) return true;
    if (complete && top === low) return false;
    if (!complete) {
      this.#nextSearch();
      this.#mark(parent);
    }
    return this.#lift(child, complete ? top : top + 1);
  }

  /** Marks what `start` depends on within its level. False when that is more than √edges: then nothing is known. */
  #markAncestors(start: number, level: number): boolean {
    let steps = 1 + Math.sqrt(this.#graph.edgeCount);
    const queue = [start];
    this.#mark(start);
    for (let i = 0; i < queue.length; i++) {
      const node = queue[i] as number;
      for (let edge = this.#graph.firstIn(node); edge !== NONE; edge = this.#graph.nextIn(edge)) {
        const parent = this.#graph.source(edge);
        if (this.#level.get(parent) !== level) continue;
        if (--steps < 0) return false;
        if (this.#seen(parent)) continue;
        this.#mark(parent);
        queue.push(parent);
      }
    }
    return true;
  }

  /** Lifts `start` and what depends on it to a level, unless that leads to a marked node: then true, and nothing is changed. */
  #lift(start: number, level: number): boolean {
    const lifted = [start];
    const found = new Set(lifted);
    for (let i = 0; i < lifted.length; i++) {
      const node = lifted[i] as number;
      for (let edge = this.#graph.firstOut(node); edge !== NONE; edge = this.#graph.nextOut(edge)) {
        const child = this.#graph.target(edge);
        if (this.#seen(child)) return true;
        if (this.#level.get(child) >= level || found.has(child)) continue;
        found.add(child);
        lifted.push(child);
      }
    }
    for (const node of lifted) this.#level.set(node, level);
    return false;
  }

  #seen(node: number): boolean {
    return this.#seenBy.get(node) === this.#search;
  }
  #mark(node: number): void {
    this.#seenBy.set(node, this.#search);
  }
  /** Skips 0, the mark of new nodes, when it wraps. */
  #nextSearch(): void {
    this.#search = (this.#search + 1) | 0 || 1;
  }
}
