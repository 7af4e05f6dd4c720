import type { FailurePolicy } from '../core/ports/tasks.ts';
import { NONE } from './adjacency.ts';
import type { TaskNodes } from './task-nodes.ts';
import { POLICIES, STANDINGS, type TaskStanding } from './task-standing.ts';

/** One task of a {@link GraphSnapshot}; it can be given to `addTask` as it is. */
export interface GraphSnapshotTask {
  readonly id: string;
  readonly standing: TaskStanding;
  readonly priority: number;
  readonly weight: number;
  readonly dependencies: readonly { readonly task: string; readonly onFailure: FailurePolicy }[];
}

/** A graph as plain JSON-safe data, in order of addition. */
export interface GraphSnapshot {
  readonly tasks: readonly GraphSnapshotTask[];
  /** Named as dependencies and not added. */
  readonly referenced: readonly string[];
}

export function snapshotOf(nodes: TaskNodes): GraphSnapshot {
  const added: number[] = [];
  const referenced: string[] = [];
  for (const node of nodes.all()) {
    if (nodes.isAdded(node)) added.push(node);
    else referenced.push(nodes.idOf(node));
  }
  added.sort((a, b) => nodes.ageOf(a) - nodes.ageOf(b));
  return { tasks: added.map((node) => taskOf(nodes, node)), referenced };
}

function taskOf(nodes: TaskNodes, node: number): GraphSnapshotTask {
  const dependencies: GraphSnapshotTask['dependencies'][number][] = [];
  for (let edge = nodes.edges.firstIn(node); edge !== NONE; edge = nodes.edges.nextIn(edge)) {
    dependencies.push({
      task: nodes.idOf(nodes.edges.source(edge)),
      onFailure: POLICIES[nodes.edges.label(edge)] as FailurePolicy,
    });
  }
  return {
    id: nodes.idOf(node),
    standing: STANDINGS[nodes.standingOf(node)] as TaskStanding,
    priority: nodes.priorityOf(node),
    weight: nodes.weightOf(node),
    dependencies,
  };
}

/** Numbers the ids of a snapshot, so that a drawing needs no id as a name. */
export function numberNodes(snapshot: GraphSnapshot): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const { id } of snapshot.tasks) names.set(id, `n${names.size}`);
  for (const id of snapshot.referenced) names.set(id, `n${names.size}`);
  return names;
}

/** Fill colours of a drawing. */
export const STANDING_COLOURS: Readonly<Record<TaskStanding, string>> = {
  referenced: '#ffffff',
  waiting: '#eceff1',
  ready: '#bbdefb',
  completed: '#c8e6c9',
  failed: '#ffcdd2',
  cancelled: '#d7ccc8',
  skipped: '#fff9c4',
};
