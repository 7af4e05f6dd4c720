import type { FailurePolicy } from '../core/ports/tasks.ts';

/**
 * How a node of the graph stands. `referenced`: named as a dependency, not added yet. `waiting` for dependencies, `ready` to run (or
 * running: the graph doesn't know). The other four are ends.
 */
export type TaskStanding =
  | 'referenced'
  | 'waiting'
  | 'ready'
  | 'completed'
  | 'failed'
  | 'cancelled'
  | 'skipped';

/** What a change made of other tasks; ids, in the order in which it reached them. */
export interface GraphChange {
  readonly ready: readonly string[];
  readonly cancelled: readonly string[];
  readonly skipped: readonly string[];
}

/** Standings and policies as the columns hold them: their index here. */
export const STANDINGS: readonly TaskStanding[] = [
  'referenced',
  'waiting',
  'ready',
  'completed',
  'failed',
  'cancelled',
  'skipped',
];
export const REFERENCED = 0;
export const WAITING = 1;
export const READY = 2;
export const COMPLETED = 3;
export const FAILED = 4;
export const CANCELLED = 5;
export const SKIPPED = 6;

export const POLICIES: readonly FailurePolicy[] = ['cancel', 'skip', 'wait', 'continue'];

/** What an edge means for its child, given how its parent stands. */
export type EdgeVerdict = 'holds' | 'met' | 'cancels' | 'skips';

/** The one rule of dependencies: a completed parent meets the edge; one that ended otherwise does what the edge's policy says. */
export function edgeVerdict(parent: number, policy: number): EdgeVerdict {
  if (parent < COMPLETED) return 'holds';
  if (parent === COMPLETED) return 'met';
  return ON_FAILURE[policy] as EdgeVerdict;
}

/** In the order of {@link POLICIES}. */
const ON_FAILURE: readonly EdgeVerdict[] = ['cancels', 'skips', 'holds', 'met'];
