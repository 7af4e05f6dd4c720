import { CoordinationError } from './errors.ts';
import type { CycleEdge } from './ports/locks.ts';

/** This wait was chosen as the victim of a deadlock. Locks already held stay held: release them, then try again after the survivor. */
export class DeadlockError extends CoordinationError {
  declare readonly code: 'DEADLOCK';
  /** Who waited for whom, and by which mechanism; the last edge closes the cycle. */
  readonly cycle: readonly CycleEdge[];
  readonly agents: readonly string[];
  readonly resources: readonly string[];
  /** The node whose progress this abort allows; the built-in retry waits until it has finished. */
  readonly survivor: string;

  constructor(facts: {
    readonly cycle: readonly CycleEdge[];
    readonly agents: readonly string[];
    readonly resources: readonly string[];
    readonly survivor: string;
  }) {
    const path = facts.cycle.map(
      (edge) => `${edge.waiter} waits for ${edge.holder} (${edge.by} ${edge.what})`,
    );
    super('DEADLOCK', `Deadlock: ${path.join(', ')}`, {
      hint: 'Release what is held and try again; the manager does so for tasks with retries left.',
    });
    this.name = 'DeadlockError';
    this.cycle = facts.cycle;
    this.agents = facts.agents;
    this.resources = facts.resources;
    this.survivor = facts.survivor;
  }
}
