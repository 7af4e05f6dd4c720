import { checkId, invalid } from '../core/check.ts';
import { CoordinationError, describe } from '../core/errors.ts';
import { checkOptions } from '../core/options.ts';
import type { Logger } from '../core/ports/runtime.ts';
import type { FailurePolicy } from '../core/ports/tasks.ts';
import { guardedLogger } from '../core/runtime/guarded-logger.ts';
import { NONE } from './adjacency.ts';
import { criticalPath } from './critical-path.ts';
import { toDot } from './dot.ts';
import { snapshotOf, type GraphSnapshot } from './graph-snapshot.ts';
import { checkPolicy, readTask, type GraphTask } from './graph-task.ts';
import { exportGraph } from './graphology.ts';
import { toMermaid } from './mermaid.ts';
import { generationsOf, topologicalOrder } from './order.ts';
import { TaskNodes } from './task-nodes.ts';
import {
  CANCELLED,
  COMPLETED,
  FAILED,
  READY,
  REFERENCED,
  SKIPPED,
  STANDINGS,
  WAITING,
  type GraphChange,
  type TaskStanding,
} from './task-standing.ts';

/** What a manager may set. */
export interface DependencyGraphParts {
  /** Policy of dependencies that name none. @default 'cancel' */
  readonly onFailure?: FailurePolicy;
}

/** Figures of a graph; all but `referenced` count added tasks only. */
export interface GraphStats {
  readonly nodes: number;
  readonly edges: number;
  /** Named as a dependency and not added yet. */
  readonly referenced: number;
  readonly waiting: number;
  readonly ready: number;
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly skipped: number;
  /** Tasks of the longest chain. */
  readonly depth: number;
  readonly maxDependencies: number;
  readonly maxDependents: number;
}

/**
 * Who waits for whom. Always acyclic: an edge that would close a cycle is refused. A task becomes ready exactly once, by the call that
 * meets its last dependency. A dependency may be named before it is added. Nothing recurses, so depth is bounded by memory only.
 */
export class DependencyGraph {
  readonly #logger: Logger | undefined;
  readonly #defaultPolicy: number;
  readonly #nodes = new TaskNodes();

  constructor(logger?: Logger, parts: DependencyGraphParts = {}) {
    const guarded = logger === undefined ? undefined : guardedLogger(logger);
    this.#logger = guarded?.isDebug === false ? undefined : guarded;
    this.#defaultPolicy = checkPolicy(parts.onFailure ?? 'cancel');
  }

  /**
   * Adds a task. Its dependencies may be added later; ones that have ended count at once.
   * @returns what it made ready, and what it ended: a task whose dependency has failed already ends with it.
   * @throws DEPENDENCY_CYCLE with the path, INVALID_ARGUMENT (also for an id that is there already); nothing is changed then.
   */
  addTask(task: GraphTask): GraphChange {
    const checked = readTask(task, this.#defaultPolicy);
    const known = this.#nodes.find(checked.id);
    if (known !== undefined && this.#nodes.standingOf(known) !== REFERENCED)
      throw invalid(`Task ${checked.id} is in the graph already`, 'Remove it first to add it anew.');
    const change = this.#nodes.add(checked);
    this.#logger?.debug('task added to the graph', { taskId: checked.id, dependsOn: checked.parents.length });
    return change;
  }

  /**
   * Takes a task out with all its edges; those that waited for it wait for it no more.
   * @returns the newly ready ids; nothing happens for an id that isn't there.
   */
  removeTask(id: string): readonly string[] {
    const node = this.#nodes.find(checkId(id, 'the id of a task'));
    if (node === undefined || this.#nodes.standingOf(node) === REFERENCED) return [];
    this.#logger?.debug('task removed from the graph', { taskId: id });
    return this.#nodes.remove(node);
  }

  /** Ids of the tasks that wait for nothing and haven't ended: the most urgent first, among equals the one added first. */
  getReadyTasks(): readonly string[] {
    const nodes = this.#nodes;
    const byUrgency = (a: number, b: number): number =>
      nodes.priorityOf(b) - nodes.priorityOf(a) || nodes.ageOf(a) - nodes.ageOf(b);
    return this.#named(nodes.ready.toSorted(byUrgency));
  }

  /** Whether the task waits for nothing and hasn't ended; false for an unknown id. */
  isTaskReady(id: string): boolean {
    return this.standingOf(id) === 'ready';
  }

  /** How a task stands; `undefined` for an unknown id. */
  standingOf(id: string): TaskStanding | undefined {
    const node = this.#nodes.find(checkId(id, 'the id of a task'));
    return node === undefined ? undefined : STANDINGS[this.#nodes.standingOf(node)];
  }

  /** The dependencies that hold a task back now. @throws UNKNOWN_TASK */
  unmetDependencies(id: string): readonly string[] {
    const { edges } = this.#nodes;
    const unmet: number[] = [];
    for (let edge = edges.firstIn(this.#find(id)); edge !== NONE; edge = edges.nextIn(edge))
      if (this.#nodes.holds(edge)) unmet.push(edges.source(edge));
    return this.#named(unmet);
  }

  /** The task is done: returns the newly ready ids, none the second time. @throws as {@link settle} */
  markCompleted(id: string): readonly string[] {
    return this.settle(id, 'completed').ready;
  }

  /**
   * An attempt failed. After the last one each edge's policy decides about its dependent: cancel, skip, wait (for a redrive) or continue; a
   * cancelled or skipped one hands on to its own dependents. Before that (`final: false`) nothing changes: a retry is due.
   * @returns the ids to cancel; {@link settle} also tells what was skipped and what became ready.
   * @throws as {@link settle}
   */
  markFailed(id: string, options: { readonly final?: boolean } = {}): readonly string[] {
    const given = checkOptions('markFailed', options, ['final']);
    const { final = true } = given;
    if (typeof final !== 'boolean')
      throw invalid(`Expected \`final\` to be true or false, got ${describe(final)}`);
    if (final) return this.settle(id, 'failed').cancelled;
    this.#findAdded(id);
    return [];
  }

  /**
   * Ends a task, whether or not its own dependencies were met. Ending it the same way again changes nothing; a failed one may still be
   * completed (by a redrive), which frees those that kept waiting.
   * @throws UNKNOWN_TASK when it was never added, INVALID_ARGUMENT when it has ended in another way.
   */
  settle(id: string, as: 'completed' | 'failed' | 'cancelled' | 'skipped'): GraphChange {
    const node = this.#findAdded(id);
    const end = STANDINGS.indexOf(as);
    if (end < COMPLETED)
      throw invalid(
        `Expected the end of a task to be completed, failed, cancelled or skipped, got ${describe(as)}`,
      );
    const before = this.#nodes.standingOf(node);
    if (before >= COMPLETED && before !== end && !(before === FAILED && end === COMPLETED))
      throw invalid(`Task ${id} has ended already: it is ${STANDINGS[before]}`);
    const change = this.#nodes.settle(node, end);
    this.#logger?.debug('task ended in the graph', { taskId: id, as, ready: change.ready.length });
    return change;
  }

  /** Every task that directly or indirectly depends on this one, nearest first, whatever has become of it. @throws UNKNOWN_TASK */
  getAllDependents(id: string): readonly string[] {
    const { edges } = this.#nodes;
    const queue = [this.#find(id)];
    const seen = new Set(queue);
    for (let i = 0; i < queue.length; i++) {
      for (let edge = edges.firstOut(queue[i] as number); edge !== NONE; edge = edges.nextOut(edge)) {
        const target = edges.target(edge);
        if (seen.has(target)) continue;
        seen.add(target);
        queue.push(target);
      }
    }
    return this.#named(queue.slice(1));
  }

  /** Always empty: {@link addTask} refuses what would close a cycle. Kept for those who ask. */
  detectCycles(): readonly (readonly string[])[] {
    return [];
  }

  /** Every added task after all it depends on, level by level. Never null, because the graph is acyclic. */
  topologicalSort(): readonly string[] | null {
    const ids: string[] = [];
    for (const node of topologicalOrder(this.#nodes.edges))
      if (this.#nodes.isAdded(node)) ids.push(this.#nodes.idOf(node));
    return ids;
  }

  /** Tasks by the length of the longest chain before them: each group can run at once when those before it are done. */
  generations(): readonly (readonly string[])[] {
    return this.#generations().map((nodes) => this.#named(nodes));
  }

  /** The longest chain by weight, from its first task to its last: the least time that all of it takes, however many agents there are. */
  findCriticalPath(): { readonly path: readonly string[]; readonly length: number } {
    const nodes = this.#nodes;
    const { path, length } = criticalPath(
      nodes.edges,
      topologicalOrder(nodes.edges),
      (node) => nodes.weightOf(node),
      (node) => nodes.isAdded(node),
    );
    return { path: this.#named(path), length };
  }

  getStats(): GraphStats {
    const nodes = this.#nodes;
    let size = 0;
    let maxDependencies = 0;
    let maxDependents = 0;
    for (const node of nodes.all()) {
      const dependencies = nodes.edges.inDegree(node);
      size += 1;
      maxDependencies = Math.max(maxDependencies, dependencies);
      maxDependents = Math.max(maxDependents, nodes.edges.outDegree(node));
    }
    const referenced = nodes.count(REFERENCED);
    return {
      nodes: size - referenced,
      edges: nodes.edges.edgeCount,
      referenced,
      waiting: nodes.count(WAITING),
      ready: nodes.count(READY),
      completed: nodes.count(COMPLETED),
      failed: nodes.count(FAILED),
      cancelled: nodes.count(CANCELLED),
      skipped: nodes.count(SKIPPED),
      depth: this.#generations().length,
      maxDependencies,
      maxDependents,
    };
  }

  /** The whole graph as plain JSON-safe data. */
  snapshot(): GraphSnapshot {
    return snapshotOf(this.#nodes);
  }

  /** A drawing for Graphviz. */
  toDot(): string {
    return toDot(this.snapshot());
  }

  /** A drawing for Mermaid. */
  toMermaid(): string {
    return toMermaid(this.snapshot());
  }

  /** A copy as a graphology `DirectedGraph`; that library is loaded by this call only. `exportGraph` fills a graph of your own. */
  async toGraphology(): Promise<import('graphology').DirectedGraph> {
    const { DirectedGraph } = await import('graphology');
    return exportGraph(this.snapshot(), new DirectedGraph());
  }

  #generations(): readonly (readonly number[])[] {
    const { edges } = this.#nodes;
    return generationsOf(edges, topologicalOrder(edges), (node) => this.#nodes.isAdded(node));
  }

  #find(id: string): number {
    const node = this.#nodes.find(checkId(id, 'the id of a task'));
    if (node === undefined) throw new CoordinationError('UNKNOWN_TASK', `Task ${id} is not in the graph`);
    return node;
  }

  #findAdded(id: string): number {
    const node = this.#find(id);
    if (this.#nodes.standingOf(node) === REFERENCED)
      throw new CoordinationError('UNKNOWN_TASK', `Task ${id} is named as a dependency but was never added`);
    return node;
  }

  #named(nodes: readonly number[]): string[] {
    return nodes.map((node) => this.#nodes.idOf(node));
  }
}
