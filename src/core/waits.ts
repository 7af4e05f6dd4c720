import type { DeadlockError } from './deadlock-error.ts';
import type { CycleEdge, Requirement } from './ports/locks.ts';
import type { Awaitable } from './ports/words.ts';

export type { Blocker, Requirement } from './ports/locks.ts';

/**
 * The one wait-for graph over every wait the library knows. Whoever knows waits of a kind (locks, slots, awaited children, replies,
 * declared ones) is a {@link WaitSource}; detection pulls from all of them, so a wait costs nothing until somebody looks.
 * Nodes are units of execution: the id of a lock owner, an explicit scope, or `runNode(taskId)` of a task's run.
 */

/** What the choice of a victim and the words of the error are made of. */
export interface NodeFacts {
  readonly agent?: string | undefined;
  readonly priority: number;
  /** When it began, on one axis for all sources of a process: µs since 1970. Larger is younger. */
  readonly since: number;
  /** How often it was a victim before; the graph adds what it counted itself. */
  readonly defeats?: number;
  /** Locks held. */
  readonly locks?: number;
}

export interface WaitSource {
  /** What `node` waits for as this source knows it; empty when it doesn't wait. */
  requirements(node: string): readonly Requirement[];
  /**
   * Ends the wait of a victim with this error. False when it no longer waits.
   * @param members all nodes of the deadlock: where waits are for units, or for any of several, more of them than its cycle hold each other up
   */
  abort(node: string, error: DeadlockError, members?: readonly string[]): Awaitable<boolean>;
  /** False: a wait of this source is never chosen as victim (a child's slot wait: its task hasn't run). @default true */
  readonly abortable?: boolean | undefined;
  /** Every node that waits here now, for the sweep after a capacity shrank. */
  waiting(): Iterable<string>;
  /** Cheaper than asking for requirements. @default requirements(node).length > 0 */
  isWaiting?(node: string): boolean;
  /** False: nobody waits here for `node`, so its own wait closes no cycle through this source. @default whether anybody waits here */
  blocks?(node: string): boolean;
  /** Whether `node` is alive here: a task that hasn't ended. @default false */
  knows?(node: string): boolean;
  /** What this source knows of a node. @default nothing */
  facts?(node: string): NodeFacts | undefined;
  /** Lets `node` go before `stuck` nodes that merely queue in front of it; see `LiveLocks.pass`. */
  pass?(node: string, stuck: { has(node: string): boolean }): boolean;
  /**
   * A source whose facts are in a store across a network: fetches a consistent picture of what is around `node`, a source in turn. Its
   * waits are looked at on a timer instead of inside `entered`.
   */
  picture?(around: string | undefined): Awaitable<WaitSource>;
  /**
   * Of such a source: tells the other processes of waits of this one that aren't in its store. Absolute: what isn't named has ended.
   * @returns false when that may not have arrived: it is to be told again
   */
  publish?(edges: readonly CycleEdge[]): Awaitable<boolean>;
  /** Of a picture: something in it can't be believed yet, so that another one is to be taken soon. */
  readonly isDoubtful?: boolean | undefined;
}

/** What a part gets to join the graph: add its source, and report each new wait that may close a cycle. */
export interface WaitGraph {
  addSource(source: WaitSource): Disposable;
  /** `node` has begun to wait: finds and breaks a deadlock through it, before this returns. */
  entered(node: string): void;
  /** `node`'s wait ended, well or not. Optional: without it `deadlock:resolved` comes with the next change that is reported. */
  left?(node: string): void;
  /** `node` holds and wants nothing any more. Optional: what ends its row of defeats. */
  finished?(node: string): void;
  /** A capacity shrank (an agent left, a pause): looks at every waiting node. */
  sweep(): void;
}
