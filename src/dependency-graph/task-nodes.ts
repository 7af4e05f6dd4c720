import { DependencyCycleError } from '../core/dependency-cycle-error.ts';
import { Adjacency, NONE, type GraphView } from './adjacency.ts';
import { CycleGuard } from './cycle-guard.ts';
import { findPath } from './cycle.ts';
import type { CheckedTask } from './graph-task.ts';
import { IntColumn } from './int-column.ts';
import { ReadySet } from './ready-set.ts';
import {
  CANCELLED,
  COMPLETED,
  edgeVerdict,
  READY,
  REFERENCED,
  SKIPPED,
  STANDINGS,
  WAITING,
  type GraphChange,
} from './task-standing.ts';

/** A change in the making. Most changes have one list or none, so lists are made when something goes into them. */
interface Draft {
  ready: string[] | undefined;
  cancelled: string[] | undefined;
  skipped: string[] | undefined;
}

const NO_IDS: readonly string[] = Object.freeze([]);
const NO_CHANGE: GraphChange = Object.freeze({ ready: NO_IDS, cancelled: NO_IDS, skipped: NO_IDS });

/**
 * The tasks of a graph as columns, and how one's end reaches the others. Trusts its arguments. Invariants: a node is `waiting` exactly when
 * edges hold it back and it hasn't ended; `ready` exactly when none does and it hasn't; only added nodes have edges into them.
 */
export class TaskNodes {
  readonly #edges = new Adjacency();
  readonly #guard = new CycleGuard(this.#edges);
  /** By id; a Map, so that `__proto__` is an id like any other. */
  readonly #index = new Map<string, number>();
  readonly #ids: string[] = [];
  readonly #standing = new IntColumn();
  /** Edges that hold a node back. */
  readonly #held = new IntColumn();
  readonly #priority = new IntColumn();
  readonly #weight: number[] = [];
  readonly #age: number[] = [];
  readonly #ready = new ReadySet();
  readonly #counts: number[] = STANDINGS.map(() => 0);
  #added = 0;

  get edges(): GraphView {
    return this.#edges;
  }
  /** In no order. */
  get ready(): readonly number[] {
    return this.#ready.nodes;
  }
  find(id: string): number | undefined {
    return this.#index.get(id);
  }
  all(): Iterable<number> {
    return this.#index.values();
  }
  idOf(node: number): string {
    return this.#ids[node] as string;
  }
  standingOf(node: number): number {
    return this.#standing.get(node);
  }
  priorityOf(node: number): number {
    return this.#priority.get(node);
  }
  weightOf(node: number): number {
    return this.#weight[node] as number;
  }
  /** Smaller is older. */
  ageOf(node: number): number {
    return this.#age[node] as number;
  }
  count(standing: number): number {
    return this.#counts[standing] as number;
  }
  /** False for nodes that are only named, and for indexes that are free. */
  isAdded(node: number): boolean {
    return this.#standing.get(node) !== REFERENCED && this.#ids[node] !== '';
  }
  holds(edge: number): boolean {
    return this.#verdict(this.#edges.source(edge), edge) === 'holds';
  }

  /** Adds a task that isn't there yet or only named. @throws DEPENDENCY_CYCLE, nothing is changed then */
  add(task: CheckedTask): GraphChange {
    const { parents, policies } = task;
    const node = this.#open(task);
    let held = 0;
    let end = 0;
    for (let i = 0; i < parents.length; i++) {
      const parent = this.#index.get(parents[i] as string) ?? this.#openNamed(parents[i] as string, node);
      const verdict = this.#verdict(parent, this.#edges.addEdge(parent, node, policies[i] as number));
      if (verdict === 'holds') held += 1;
      else if (end === 0 && verdict !== 'met') end = verdict === 'cancels' ? CANCELLED : SKIPPED;
    }
    this.#held.set(node, held);
    this.#priority.set(node, task.priority);
    this.#weight[node] = task.weight;
    this.#age[node] = ++this.#added;
    return this.#settleAdded(node, held, end);
  }

  /** Takes out a node with its edges, and what was only named by it. */
  remove(node: number): readonly string[] {
    const draft = emptyDraft();
    for (let edge = this.#edges.firstOut(node); edge !== NONE; edge = this.#edges.nextOut(edge))
      if (this.holds(edge)) this.#letGo(this.#edges.target(edge), draft);
    const parents: number[] = [];
    for (let edge = this.#edges.firstIn(node); edge !== NONE; edge = this.#edges.nextIn(edge))
      parents.push(this.#edges.source(edge));
    this.#drop(node);
    for (const parent of parents)
      if (this.#standing.get(parent) === REFERENCED && this.#edges.outDegree(parent) === 0)
        this.#drop(parent);
    return draft.ready ?? NO_IDS;
  }

  /** Ends a node; the second time nothing changes. */
  settle(node: number, end: number): GraphChange {
    const before = this.#standing.get(node);
    if (before === end) return NO_CHANGE;
    const draft = emptyDraft();
    this.#stand(node, end);
    this.#spread(node, before, draft);
    return changeOf(draft);
  }

  /** The node of a task, once its edges are known to close no cycle. */
  #open({ id, parents }: CheckedTask): number {
    const known = this.#index.get(id);
    if (known === undefined && parents.includes(id)) throw new DependencyCycleError([id, id]);
    // A dependency that nobody has named yet depends on nothing and so closes no cycle.
    const present: number[] = [];
    for (let i = 0; i < parents.length; i++) {
      const parent = this.#index.get(parents[i] as string);
      if (parent !== undefined) present.push(parent);
    }
    if (known !== undefined) {
      const closing = this.#guard.closing(present, known);
      if (closing === undefined) return known;
      throw new DependencyCycleError([id, ...this.#wayBack(known, closing)]);
    }
    const node = this.#place(id);
    this.#guard.placeAfter(node, present);
    return node;
  }

  #openNamed(id: string, child: number): number {
    const node = this.#place(id);
    this.#guard.placeBefore(node, child);
    return node;
  }

  #place(id: string): number {
    const node = this.#edges.addNode();
    this.#index.set(id, node);
    this.#ids[node] = id;
    this.#standing.set(node, REFERENCED);
    this.#held.set(node, 0);
    this.#counts[REFERENCED] = this.count(REFERENCED) + 1;
    return node;
  }

  /** From `closing`, each depending on the next, to `node`. */
  #wayBack(node: number, closing: number): string[] {
    const way = findPath(this.#edges, node, closing) as readonly number[];
    return way.map((step) => this.idOf(step)).toReversed();
  }

  #drop(node: number): void {
    const standing = this.#standing.get(node);
    if (standing === READY) this.#ready.delete(node);
    this.#counts[standing] = this.count(standing) - 1;
    this.#index.delete(this.idOf(node));
    this.#ids[node] = '';
    this.#edges.removeNode(node);
  }

  #settleAdded(node: number, held: number, end: number): GraphChange {
    if (end === 0 && held > 0) {
      this.#stand(node, WAITING);
      return NO_CHANGE;
    }
    const draft = emptyDraft();
    if (end === 0) this.#makeReady(node, draft);
    else {
      this.#end(node, end, draft);
      this.#spread(node, REFERENCED, draft);
    }
    return changeOf(draft);
  }

  /** Tells the dependents of a node that ended; those that end with it tell theirs, breadth first. */
  #spread(from: number, before: number, draft: Draft): void {
    const queue = [from];
    for (let i = 0; i < queue.length; i++) {
      const node = queue[i] as number;
      const standing = this.#standing.get(node);
      for (let edge = this.#edges.firstOut(node); edge !== NONE; edge = this.#edges.nextOut(edge)) {
        const child = this.#edges.target(edge);
        if (this.#standing.get(child) !== WAITING) continue;
        const verdict = edgeVerdict(standing, this.#edges.label(edge));
        if (verdict === 'cancels' || verdict === 'skips') {
          this.#end(child, verdict === 'cancels' ? CANCELLED : SKIPPED, draft);
          queue.push(child);
        } else if (verdict === 'met' && (node !== from || !this.#wasMet(before, edge))) {
          this.#letGo(child, draft);
        }
      }
    }
  }

  #verdict(parent: number, edge: number): ReturnType<typeof edgeVerdict> {
    return edgeVerdict(this.#standing.get(parent), this.#edges.label(edge));
  }

  /** A redriven parent met its `continue` edges when it failed. */
  #wasMet(before: number, edge: number): boolean {
    return before >= COMPLETED && edgeVerdict(before, this.#edges.label(edge)) === 'met';
  }

  /** One edge fewer holds `child` back. */
  #letGo(child: number, draft: Draft): void {
    if (this.#held.add(child, -1) === 0 && this.#standing.get(child) === WAITING)
      this.#makeReady(child, draft);
  }

  #makeReady(node: number, draft: Draft): void {
    this.#stand(node, READY);
    (draft.ready ??= []).push(this.idOf(node));
  }

  #end(node: number, end: number, draft: Draft): void {
    this.#stand(node, end);
    const ended = end === CANCELLED ? (draft.cancelled ??= []) : (draft.skipped ??= []);
    ended.push(this.idOf(node));
  }

  /** The only place where a standing changes. */
  #stand(node: number, standing: number): void {
    const before = this.#standing.get(node);
    if (before === READY) this.#ready.delete(node);
    if (standing === READY) this.#ready.add(node);
    this.#counts[before] = this.count(before) - 1;
    this.#counts[standing] = this.count(standing) + 1;
    this.#standing.set(node, standing);
  }
}

function emptyDraft(): Draft {
  return { ready: undefined, cancelled: undefined, skipped: undefined };
}

function changeOf({ ready, cancelled, skipped }: Draft): GraphChange {
  return { ready: ready ?? NO_IDS, cancelled: cancelled ?? NO_IDS, skipped: skipped ?? NO_IDS };
}
