import type {
  Awaitable,
  BackendTime,
  Operation,
  Page,
  PageRequest,
  SessionNumber,
  Stamped,
  Token,
} from './words.ts';

/** Core expands path locks into intent modes on every ancestor (`intent-*` on `/`, `/src`; the mode itself on `/src/a.ts`), so a store needs no glob and no path. */
export type LockMode =
  | 'exclusive'
  | 'shared'
  | 'update'
  | 'intent-shared'
  | 'intent-exclusive'
  | { readonly units: number; readonly of: number };

/** One unit of execution, not an agent: two runs of one agent are two owners, else A waiting for its sibling B would look like a deadlock (D1). */
export interface Owner {
  readonly id: string; // a run, or an explicit scope
  readonly agent?: string; // label: release-on-leave, display
  readonly task?: string;
  readonly priority: number;
  readonly since: BackendTime; // kept over victim retries: "youngest" must not reset
  readonly defeats: number;
}

export interface LockItem {
  readonly resource: string;
  readonly mode: LockMode;
}

/** All items or none. Queues at every resource it needs and is granted when compatible at all; holds nothing meanwhile. */
export interface LockRequest {
  readonly id: string; // wait id, from core
  readonly items: readonly LockItem[]; // sorted by resource, ≤ 64
  readonly owner: Owner;
  readonly priority: number;
  readonly wait: boolean; // false = tryAcquire
  /** `'session'` rides on the heartbeat; a number is a lease of its own, renewed by `keep`. */
  readonly lease: 'session' | { readonly leaseMs: number };
  /** Grant held by `owner` to be converted (S or U → X). A second upgrader is refused at once. */
  readonly upgradeOf?: GrantRef;
  readonly reentrant: boolean;
}

export interface GrantRef {
  readonly id: string; // id of the request that was granted
  readonly token: Token; // of its first item; tokens of all items in `Grant.tokens`
}

/** A wait as of one version; `version` grows with each change of what it waits for, so an abort can't hit a wait that moved on. */
export interface WaitRef {
  readonly id: string;
  readonly version: number;
}

export interface Grant extends GrantRef {
  readonly status: 'granted';
  readonly tokens: Readonly<Record<string, Token>>;
  readonly expiresInMs: number; // core counts it from the moment it SENT the call
}

export type LockAnswer =
  | Grant
  | {
      readonly status: 'waiting';
      readonly wait: WaitRef;
      readonly ahead: number /** False: nobody waits for anything this owner holds, so this wait closes no cycle of locks. A store that doesn't know says true. */;
      readonly suspect: boolean;
      readonly holders: readonly {
        readonly owner: string;
        readonly agent?: string;
        readonly task?: string;
      }[] /* ≤ 5 */;
    }
  | {
      readonly status: 'refused';
      readonly why: 'busy' | 'upgrade-conflict' | 'reentrant' | 'capacity' | 'owner-gone';
    }
  | { readonly status: 'aborted'; readonly cycle: readonly CycleEdge[] }
  | { readonly status: 'lost' }; // expired, released, force-released or never there

/** Why one node waits for another. `by` names the mechanism: the one wait graph over every wait the library knows. */
export interface CycleEdge {
  readonly waiter: string;
  readonly holder: string;
  readonly by: 'lock' | 'semaphore' | 'slot' | 'child' | 'reply' | 'declared';
  readonly what: string;
}

/** A consistent picture for pure detection in core: soundness needs one statement or script, not two reads. */
export interface WaitSnapshot extends Stamped {
  readonly resources: readonly {
    readonly resource: string;
    readonly capacity?: number;
    readonly held: readonly { readonly owner: string; readonly grant: GrantRef; readonly mode: LockMode }[];
    readonly queue: readonly {
      readonly owner: string;
      readonly wait: WaitRef;
      readonly mode: LockMode;
      readonly upgradeOf?: string;
    }[]; // in grant order
  }[];
  readonly owners: readonly Owner[];
  readonly published: readonly CycleEdge[];
}

/** Leases with fencing tokens, fair queues, and the picture that deadlock detection needs. 7 methods. */
export interface LockStore {
  /** Grants, queues or refuses. Order in a queue: `since-in-queue − priority × ageStepMs` as for tasks; a compatible newcomer never overtakes a waiter more than 32 times. */
  request(
    op: Operation,
    requests: readonly LockRequest[],
  ): Awaitable<Stamped & { readonly answers: readonly LockAnswer[] }>;
  /** Polls waits and renews own leases in one call; the answer of a granted wait is its grant, again and again, until released. An expired grant answers `lost` for ever (L4). Idempotent. */
  keep(
    session: SessionNumber,
    refs: readonly { readonly id: string; readonly token?: Token }[],
  ): Awaitable<Stamped & { readonly answers: readonly LockAnswer[] }>;
  /**
   * Gives grants back and withdraws waits (a wait that was granted meanwhile is released: L6), then hands on to the next compatible waiters in the same step.
   * `force` ignores who asks (dashboard), by token. `ended` false = the token was not current.
   */
  release(
    op: Operation,
    items: readonly {
      readonly id: string;
      readonly token?: Token;
      readonly force?: true;
      readonly downgradeTo?: 'shared';
    }[],
  ): Awaitable<Stamped & { readonly ended: readonly boolean[]; readonly granted: readonly string[] }>;
  /** Replaces this session's waits that are not locks (absolute, so idempotent). Sent only while the waiter holds something or waits > 200 ms. */
  publish(session: SessionNumber, edges: readonly CycleEdge[]): Awaitable<Stamped>;
  /** One consistent snapshot of everything that is contended, or of the part reachable from `around`. */
  snapshot(around?: string): Awaitable<WaitSnapshot>;
  /** Aborts a victim's wait iff its version is unchanged; it learns by order, hint or `keep`. Its held locks stay. `false` = the picture was old: look again. */
  abort(
    op: Operation,
    wait: WaitRef,
    cycle: readonly CycleEdge[],
  ): Awaitable<Stamped & { readonly aborted: boolean }>;
  /** Held and contended resources for people, longest queue first; never the source of a decision. */
  list(
    filter: { readonly prefix?: string; readonly agent?: string; readonly contended?: boolean },
    page: PageRequest,
  ): Awaitable<
    Page<{
      readonly resource: string;
      readonly holders: readonly {
        readonly owner: Owner;
        readonly mode: LockMode;
        readonly token: Token;
        readonly heldForMs: number;
        readonly expiresInMs: number;
      }[];
      readonly waiting: number;
      readonly longestWaitMs: number;
    }>
  >;
}
