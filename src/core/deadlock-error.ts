import { CoordinationError } from './errors.ts';
import type { CycleEdge } from './ports/locks.ts';
import { nodeName } from './run-node.ts';

/** This wait was chosen as the victim of a deadlock. Locks already held stay held: release them, then try again after the survivor. */
export class DeadlockError extends CoordinationError {
  declare readonly code: 'DEADLOCK';
  /** Who waited for whom, and by which mechanism; the last edge closes the cycle. */
  readonly cycle: readonly CycleEdge[];
  readonly agents: readonly string[];
  readonly resources: readonly string[];
  /** The node whose progress this abort allows; the built-in retry waits until it has finished. */
  readonly survivor: string;
  /** The same as the library knows them. */
  readonly #nodes: { readonly cycle: readonly CycleEdge[]; readonly survivor: string };

  /** @param facts nodes of the wait-for graph; the error shows their names */
  constructor(facts: {
    readonly cycle: readonly CycleEdge[];
    readonly agents: readonly string[];
    readonly resources: readonly string[];
    readonly survivor: string;
  }) {
    const cycle = facts.cycle.map(namedEdge);
    const path = cycle.map((edge) => `${edge.waiter} waits for ${edge.holder} (${edge.by} ${edge.what})`);
    super('DEADLOCK', `Deadlock: ${path.join(', ')}`, {
      hint: 'Release what is held and try again; the manager does so for tasks with retries left.',
    });
    this.name = 'DeadlockError';
    this.cycle = cycle;
    this.agents = facts.agents.map(nodeName);
    this.resources = facts.resources;
    this.survivor = nodeName(facts.survivor);
    this.#nodes = { cycle: facts.cycle, survivor: facts.survivor };
  }

  /** @internal Cycle and survivor as nodes of the graph: the name of a task may be that of an agent too. */
  get nodes(): { readonly cycle: readonly CycleEdge[]; readonly survivor: string } {
    return this.#nodes;
  }

  /** @internal Those of anything that was thrown, if it is such an error; asks nothing of a stranger's proxy. */
  static nodesOf(thrown: unknown): DeadlockError['nodes'] | undefined {
    return typeof thrown === 'object' && thrown !== null && #nodes in thrown ? thrown.#nodes : undefined;
  }
}

/** An edge as people read it. */
export function namedEdge(edge: CycleEdge): CycleEdge {
  return { ...edge, waiter: nodeName(edge.waiter), holder: nodeName(edge.holder) };
}
