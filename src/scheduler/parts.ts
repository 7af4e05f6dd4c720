import type { Lease, ResourceRequest } from '../core/lock-types.ts';
import type { Operations } from '../core/operations.ts';
import type { Backend, Capabilities } from '../core/ports/backend.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { TaskStore } from '../core/ports/tasks.ts';
import type { WaitGraph } from '../core/waits.ts';
import type { Awaitable } from '../core/ports/words.ts';
import type { Peer } from './peers.ts';
import type { WaitLink } from './types.ts';

/** Who else uses the store: nobody, others in this process, others across a network. */
export type Company = 'alone' | 'shared' | 'far';

/** A run as locks, messages and the wait-for graph see it. Its node is `runNode` of its task's id. */
export interface RunOwner {
  readonly node: string;
  readonly agent: string | undefined;
  readonly priority: number;
}

/** The functions of other parts that the scheduler uses, handed over by the manager. Alone, it works without them. */
export interface SchedulerParts {
  readonly runtime?: Runtime;
  readonly store?: TaskStore;
  readonly operations?: Operations;
  /** What the store's backend can do. @default as a store in this process */
  readonly capabilities?: Pick<Capabilities, 'roundTrip' | 'encoding' | 'maxBatch' | 'ordered'>;
  /** Wakes the scheduler when another process made something ready. */
  readonly onHint?: Backend['onHint'];
  readonly locks?: {
    /** @throws INVALID_ARGUMENT for requests that can never be granted */
    check(requests: readonly ResourceRequest[]): void;
    acquire(
      requests: readonly ResourceRequest[],
      owner: RunOwner,
      options: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
    ): Promise<Lease>;
    /** Takes back what the run still holds and ends its waits, when it is over. */
    releaseRun(node: string): void;
    /** Resolves when this unit of execution holds and wants nothing any more; `undefined`: so it is. */
    untilFinished(node: string): Promise<void> | undefined;
    /** What it waits for, for people. */
    why(node: string): readonly WaitLink[];
  };
  readonly waits?: WaitGraph;
  /** The other processes of the mesh; absent: nobody else sees the store. */
  readonly peers?: () => Awaitable<readonly Peer[]>;
  /** An agent was registered: the other parts take it in. */
  readonly agentJoined?: (agentId: string) => void;
  /** An agent has left, whoever took it out: the other parts let it go, and what it has there is given back. */
  readonly agentLeft?: (agentId: string) => Promise<void>;
  readonly request?: <R>(
    owner: RunOwner,
    to: string,
    payload: unknown,
    options: { readonly timeoutMs?: number; readonly signal: AbortSignal },
  ) => Promise<R>;
  readonly breaker?: (name: string) => {
    execute<R>(call: () => R | Promise<R>): Promise<R>;
    /** ms until it may be tried again; 0 while it admits calls. */
    closedInMs(): number;
  };
}
