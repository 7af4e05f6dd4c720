import type { DeadlockError } from './deadlock-error.ts';
import type { CycleEdge } from './ports/locks.ts';

/**
 * The one wait-for graph over every wait the library knows. Whoever knows waits of a kind (locks, slots, awaited children, replies,
 * declared ones) is a {@link WaitSource}; detection pulls from all of them, so a wait costs nothing until somebody looks.
 * Nodes are units of execution: the id of a lock owner (a task run or an explicit scope). The id of a task run is its task id.
 */

/** Something a node needs before it can go on. All requirements of a node must be met. */
export interface Requirement {
  readonly by: CycleEdge['by'];
  /** Resource, queue, task or address, for people. */
  readonly what: string;
  /** Who stands in the way, and how much each would free by finishing. */
  readonly blockers: readonly { readonly node: string; readonly frees: number }[];
  /** Met when the blockers that finish have freed this much: the count of blockers for "all of them", 1 for "any of them". */
  readonly needs: number;
}

export interface WaitSource {
  /** What `node` waits for as this source knows it; empty when it doesn't wait. */
  requirements(node: string): readonly Requirement[];
  /** Ends the wait of a victim with this error. False when it no longer waits. */
  abort(node: string, error: DeadlockError): boolean;
  /** False: a wait of this source is never chosen as victim (a child's slot wait: its task hasn't run). @default true */
  readonly abortable?: boolean;
  /** Every node that waits here now, for the sweep after a capacity shrank. */
  waiting(): Iterable<string>;
}

/** What a part gets to join the graph: add its source, and report each new wait that may close a cycle. */
export interface WaitGraph {
  addSource(source: WaitSource): Disposable;
  /** `node` has begun to wait: finds and breaks a deadlock through it, before this returns. */
  entered(node: string): void;
  /** A capacity shrank (an agent left, a pause): looks at every waiting node. */
  sweep(): void;
}
