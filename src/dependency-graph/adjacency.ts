import { IntColumn } from './int-column.ts';

/** No node, no edge. */
export const NONE = -1;

/** What the pure functions of this folder see of a graph: nodes and edges are integers below the limits; lists are in order of addition. */
export interface GraphView {
  /** One more than the highest node index ever used; indexes of removed nodes have no edges. */
  readonly nodeLimit: number;
  readonly edgeCount: number;
  firstOut(node: number): number;
  nextOut(edge: number): number;
  firstIn(node: number): number;
  nextIn(edge: number): number;
  source(edge: number): number;
  target(edge: number): number;
  /** The caller's small integer on the edge. */
  label(edge: number): number;
  outDegree(node: number): number;
  inDegree(node: number): number;
}

/**
 * A directed graph over integers. Edges live in columns and are linked into two lists a node, so adding and removing one is O(1) however
 * many its nodes have, and an edge costs 28 bytes. Indexes of removed nodes and edges are used again.
 */
export class Adjacency implements GraphView {
  readonly #outgoing = new EdgeLists();
  readonly #incoming = new EdgeLists();
  readonly #source = new IntColumn();
  readonly #target = new IntColumn();
  readonly #label = new IntColumn();
  readonly #freeNodes: number[] = [];
  readonly #freeEdges: number[] = [];
  #nodeLimit = 0;
  #edgeLimit = 0;

  get nodeLimit(): number {
    return this.#nodeLimit;
  }
  get edgeCount(): number {
    return this.#edgeLimit - this.#freeEdges.length;
  }

  addNode(): number {
    const node = this.#freeNodes.pop() ?? this.#nodeLimit++;
    this.#outgoing.open(node);
    this.#incoming.open(node);
    return node;
  }

  /** Removes a node and every edge it has. */
  removeNode(node: number): void {
    for (let edge = this.firstIn(node); edge !== NONE; edge = this.firstIn(node)) this.removeEdge(edge);
    for (let edge = this.firstOut(node); edge !== NONE; edge = this.firstOut(node)) this.removeEdge(edge);
    this.#freeNodes.push(node);
  }

  /** Adds an edge with a small integer of the caller's on it. */
  addEdge(source: number, target: number, label: number): number {
    const edge = this.#freeEdges.pop() ?? this.#edgeLimit++;
    this.#source.set(edge, source);
    this.#target.set(edge, target);
    this.#label.set(edge, label);
    this.#outgoing.append(source, edge);
    this.#incoming.append(target, edge);
    return edge;
  }

  removeEdge(edge: number): void {
    this.#outgoing.remove(this.source(edge), edge);
    this.#incoming.remove(this.target(edge), edge);
    this.#freeEdges.push(edge);
  }

  firstOut(node: number): number {
    return this.#outgoing.first(node);
  }
  nextOut(edge: number): number {
    return this.#outgoing.next(edge);
  }
  firstIn(node: number): number {
    return this.#incoming.first(node);
  }
  nextIn(edge: number): number {
    return this.#incoming.next(edge);
  }
  source(edge: number): number {
    return this.#source.get(edge);
  }
  target(edge: number): number {
    return this.#target.get(edge);
  }
  label(edge: number): number {
    return this.#label.get(edge);
  }
  outDegree(node: number): number {
    return this.#outgoing.length(node);
  }
  inDegree(node: number): number {
    return this.#incoming.length(node);
  }
}

/** One doubly linked list of edges for each node. */
class EdgeLists {
  readonly #first = new IntColumn();
  readonly #last = new IntColumn();
  readonly #length = new IntColumn();
  readonly #next = new IntColumn();
  readonly #previous = new IntColumn();

  open(node: number): void {
    this.#first.set(node, NONE);
    this.#last.set(node, NONE);
    this.#length.set(node, 0);
  }

  first(node: number): number {
    return this.#first.get(node);
  }
  next(edge: number): number {
    return this.#next.get(edge);
  }
  length(node: number): number {
    return this.#length.get(node);
  }

  append(node: number, edge: number): void {
    const last = this.#last.get(node);
    this.#previous.set(edge, last);
    this.#next.set(edge, NONE);
    if (last === NONE) this.#first.set(node, edge);
    else this.#next.set(last, edge);
    this.#last.set(node, edge);
    this.#length.add(node, 1);
  }

  remove(node: number, edge: number): void {
    const previous = this.#previous.get(edge);
    const next = this.#next.get(edge);
    if (previous === NONE) this.#first.set(node, next);
    else this.#next.set(previous, next);
    if (next === NONE) this.#last.set(node, previous);
    else this.#previous.set(next, previous);
    this.#length.add(node, -1);
  }
}
