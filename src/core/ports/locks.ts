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
  /** A run, or an explicit scope. May be made at its first reading: read it only when it is needed. */
  readonly id: string;
  /** Label: release-on-leave, display. */
  readonly agent?: string | undefined;
  readonly task?: string | undefined;
  readonly priority: number;
  /** When this unit began; kept over victim retries: "youngest" must not reset. 0: now. */
  readonly since: BackendTime;
  readonly defeats: number;
  /** Made for one request: holds and waits for nothing else, so a store needn't look it up. */
  readonly single?: boolean;
}

export interface LockItem {
  readonly resource: string;
  readonly mode: LockMode;
}

/** The order of a queue as data: `arrival − priority × ageStepMs`, but never before a conflicting waiter that was overtaken `maxOvertakes` times. */
export interface LockOrder {
  readonly ageStepMs: number;
  readonly maxOvertakes: number;
}

/** All items or none. Queues at every resource it needs, at one rank in all of them, and is granted when compatible at all; holds nothing meanwhile. */
export interface LockRequest {
  /** Wait id, from core. */
  readonly id: string;
  /** Sorted by resource, each resource once, ≤ 256. */
  readonly items: readonly LockItem[];
  readonly owner: Owner;
  readonly priority: number;
  readonly order: LockOrder;
  /** False: granted at once or refused as busy. */
  readonly wait: boolean;
  /** `'session'` rides on the heartbeat; a number is a lease of its own, renewed by `keep`. */
  readonly lease: 'session' | { readonly leaseMs: number };
  /**
   * Grant of the same owner to be converted (S or U → X, intents with it): `items` names each of its resources with the new mode. It
   * goes before all waiters. A second one whose present mode the first one waits for is refused at once (L8).
   */
  readonly upgradeOf?: GrantRef | undefined;
  /** Whether the owner may take again what it holds. Intents and units always may. */
  readonly reentrant: boolean;
  /** Of this process only: a store in the same process tells it of every later change, and answers with `pushed`; others drop it. */
  readonly listener?: LockListener | undefined;
}

/** Hears what becomes of a wait or a grant, after the store is consistent again; it may call the store. */
export interface LockListener {
  lockChanged(answer: LockAnswer): void;
  /** Called instead for a grant, when present: what it says is in the store's own object. */
  lockGranted?(): void;
}

export interface GrantRef {
  /** Id of the request that was granted. */
  readonly id: string;
  /** Of its first item; tokens of all items in {@link Grant.tokens}. */
  readonly token: Token;
}

/**
 * A wait as of one version. The version changes whenever a holder, or a waiter in front, that it can't be held together with comes or goes at
 * any of its resources: while the versions of all waits of a deadlock stand still, the deadlock stands. A store may change it more often,
 * but then a deadlock at a busy resource is harder to end: all path locks share the root.
 */
export interface WaitRef {
  readonly id: string;
  readonly version: number;
}

export interface Grant extends GrantRef {
  readonly status: 'granted';
  /** In the order of the request's items. */
  readonly tokens: readonly Token[];
  /** Core counts it from the moment it SENT the call. `Infinity` for a session that never expires. */
  readonly expiresInMs: number;
  /** Set: somebody took it back. It ends with this lease, which can't be renewed. */
  readonly revoked?: string | undefined;
}

export type LockAnswer =
  | Grant
  | {
      readonly status: 'waiting';
      readonly wait: WaitRef;
      /** Waiters in front, in the longest of its queues. */
      readonly ahead: number;
      /** False: nobody waits for anything this owner holds, and it overtook nobody, so this wait closes no cycle of locks. A store that doesn't know says true. */
      readonly suspect: boolean;
      /** True: the request's listener will hear of the end of this wait. False or absent: ask with `keep`. */
      readonly pushed?: boolean;
      /** ≤ 5. */
      readonly holders: readonly {
        readonly owner: string;
        readonly agent?: string | undefined;
        readonly task?: string | undefined;
      }[];
    }
  | { readonly status: 'refused'; readonly why: 'busy' | 'upgrade-conflict' | 'capacity' | 'owner-gone' }
  /** The owner holds this resource already, by this grant, and didn't ask to take it again. */
  | {
      readonly status: 'refused';
      readonly why: 'reentrant';
      readonly resource: string;
      readonly held: GrantRef;
    }
  | { readonly status: 'aborted'; readonly cycle: readonly CycleEdge[] }
  | { readonly status: 'lost' }; // expired, released, revoked or never there

/** Why one node waits for another. `by` names the mechanism: the one wait graph over every wait the library knows. */
export interface CycleEdge {
  readonly waiter: string;
  readonly holder: string;
  readonly by: 'lock' | 'semaphore' | 'slot' | 'child' | 'reply' | 'declared';
  readonly what: string;
  /** Label of the waiter, when it has one. */
  readonly agent?: string | undefined;
}

/** Somebody in the way. */
export interface Blocker {
  readonly node: string;
  readonly frees: number;
  /**
   * It waits for the same thing in front of this node, and stands for everything before it as well: should its wait be ended, this node
   * still needs what that wait needed.
   */
  readonly inherits?: boolean;
}

/** Something a node needs before it can go on. All requirements of a node must be met. */
export interface Requirement {
  readonly by: CycleEdge['by'];
  /** Resource, queue, task or address, for people. */
  readonly what: string;
  /** Who stands in the way, and how much each would free by finishing. The likeliest to finish first. */
  readonly blockers: readonly Blocker[];
  /** Met when the blockers that finish have freed this much: the count of blockers for "all of them", 1 for "any of them". More than they could free together counts as all of them. */
  readonly needs: number;
}

/** A consistent picture for pure detection in core: soundness needs one statement or script, not two reads. */
export interface WaitSnapshot extends Stamped {
  readonly resources: readonly {
    readonly resource: string;
    readonly capacity?: number;
    readonly held: readonly { readonly owner: string; readonly grant: GrantRef; readonly mode: LockMode }[];
    /** In grant order. */
    readonly queue: readonly {
      readonly owner: string;
      readonly wait: WaitRef;
      readonly mode: LockMode;
      readonly upgradeOf?: string | undefined;
    }[];
  }[];
  readonly owners: readonly Owner[];
  readonly published: readonly CycleEdge[];
}

/** A held or contended resource, for people. */
export interface LockRow {
  readonly resource: string;
  readonly holders: readonly {
    readonly owner: Owner;
    readonly grant: GrantRef;
    readonly mode: LockMode;
    readonly token: Token;
    readonly heldForMs: number;
    readonly expiresInMs: number;
  }[];
  readonly waiting: number;
  readonly longestWaitMs: number;
}

/** What to do with one grant or wait. */
export interface LockRelease {
  readonly id: string;
  /**
   * Absent: a wait is withdrawn (and released if it was granted meanwhile: L6); a grant is given back whatever its token is by now. Of an
   * upgrade that was granted meanwhile, the grant that it converted has the modes and tokens again that it had.
   */
  readonly token?: Token | undefined;
  /** X and U become S, intents follow; nothing else is given back. The token stays. */
  readonly downgradeTo?: 'shared';
  /** Takes it back from whoever holds it: its lease is cut to `graceMs` and can't be renewed; the holder hears `revoked`. */
  readonly revoke?: { readonly graceMs: number; readonly reason: string };
}

/** Leases with fencing tokens, fair queues, and the picture that deadlock detection needs. 7 methods. */
export interface LockStore {
  /** Grants, queues or refuses; {@link LockOrder} says in which order. */
  request(
    op: Operation,
    requests: readonly LockRequest[],
  ): Awaitable<Stamped & { readonly answers: readonly LockAnswer[] }>;
  /** Polls waits and renews own leases in one call; the answer of a granted wait is its grant, again and again, until released. An expired grant answers `lost` for ever (L4). Idempotent. */
  keep(
    session: SessionNumber,
    refs: readonly { readonly id: string; readonly token?: Token | undefined }[],
  ): Awaitable<Stamped & { readonly answers: readonly LockAnswer[] }>;
  /**
   * Gives grants back and withdraws waits and upgrades, then hands on to the next compatible waiters in the same step. `ended` false = the
   * token was not current. `granted`: the requests that this step granted.
   */
  release(
    op: Operation,
    items: readonly LockRelease[],
  ): Awaitable<Stamped & { readonly ended: readonly boolean[]; readonly granted: readonly string[] }>;
  /** Replaces this session's waits that are not locks (absolute, so idempotent). Sent only while the waiter holds something or waits > 200 ms. */
  publish(session: SessionNumber, edges: readonly CycleEdge[]): Awaitable<Stamped>;
  /** One consistent snapshot of everything that is contended, or of the part reachable from owner `around`. */
  snapshot(around?: string): Awaitable<WaitSnapshot>;
  /**
   * Aborts a victim's wait iff its version and those of `witnesses` (the other waits of the cycle) are unchanged, all at one moment; it learns by order, hint
   * or `keep`. Its held locks stay. `false` = the picture was old: look again.
   */
  abort(
    op: Operation,
    wait: WaitRef,
    cycle: readonly CycleEdge[],
    witnesses: readonly WaitRef[],
  ): Awaitable<Stamped & { readonly aborted: boolean }>;
  /** Held and contended resources for people, longest queue first; never the source of a decision. */
  list(
    filter: {
      readonly resource?: string;
      readonly prefix?: string;
      readonly agent?: string;
      readonly contended?: boolean;
    },
    page: PageRequest,
  ): Awaitable<Page<LockRow>>;
  /** Stores in this process: see {@link QuickLocks}. */
  readonly quick?: QuickLocks;
  /** Stores in this process: see {@link LiveLocks}. */
  readonly live?: LiveLocks;
}

/** A wait or a grant in this process, as the store's own object: no id is made until somebody reads it. */
export interface QuickGrant extends GrantRef {
  readonly state: 'waiting' | 'held' | 'ended';
  /** While it waits: see {@link LockAnswer}. */
  readonly wait:
    | { readonly ahead: number; readonly suspect: boolean; readonly since: BackendTime }
    | undefined;
  /** In the order of the request's items. */
  readonly tokens: readonly Token[];
  listener: LockListener | undefined;
}

/** What {@link QuickLocks} answers: something that is held or waits, or the reason why not. An upgrade that is granted answers as `ended`: it lives on in the grant it converted. */
export type QuickAnswer = QuickGrant | Extract<LockAnswer, { readonly status: 'refused' | 'lost' }>;

/** What a request for one resource says beside its name. It is told what becomes of it. */
export interface LockWish
  extends LockListener,
    Pick<LockRequest, 'priority' | 'order' | 'wait' | 'lease' | 'reentrant'> {
  /** May be made at its first reading: read it only when it is needed. */
  readonly holder: Owner;
  /** The holder is made for this request: see {@link Owner.single}. */
  readonly single: boolean;
}

/**
 * The narrow way for clients in the store's own process: answered in place, so that neither an operation nor its record, nor an id and
 * its index entry are needed (a lost reply is impossible). Everything it does can be done by the port's methods too, and behaves the same.
 */
export interface QuickLocks {
  /**
   * One resource; `mode` is an index of `LOCK_WORDS`. Of the wish it reads only what it needs. The name needn't have been checked: one
   * that the store knows was checked before, and any other is checked here.
   * @throws INVALID_ARGUMENT
   */
  one(session: SessionNumber, resource: string, mode: number, wish: LockWish): QuickAnswer;
  /** One request, as `LockStore.request`; its listener hears the rest. */
  ask(session: SessionNumber, request: LockRequest): QuickAnswer;
  /** Gives a grant back, or withdraws a wait, and hands on in the same call. False: it was not current any more. */
  give(grant: QuickGrant): boolean;
  /** At most 5 of those who hold what a waiting one wants; see {@link LockAnswer}. */
  holders(grant: QuickGrant): Extract<LockAnswer, { readonly status: 'waiting' }>['holders'];
  /** How long it has been held, ms; exact to a turn of the loop. */
  ageMs(grant: QuickGrant): number;
  /** Makes a waiting one known to {@link LiveLocks} by its owner's id, when the owner was made for one request. */
  expose(grant: QuickGrant): void;
  /** Who listens for what is held or waits: so a client needn't keep a list of it. Each request once; takes time for each resource. */
  listeners(): Iterable<LockListener>;
}

/** A store in this process can be asked about waits without a copy; its answers hold until the next call that changes anything. */
export interface LiveLocks {
  isWaiting(owner: string): boolean;
  /** What `owner` waits for; empty when it doesn't wait. */
  requirements(owner: string): readonly Requirement[];
  /** False: nobody waits for anything this owner holds, nor behind it. */
  blocks(owner: string): boolean;
  owner(owner: string): (Owner & { readonly locks: number }) | undefined;
  waits(owner: string): readonly { readonly ref: WaitRef; readonly resources: readonly string[] }[];
  waiting(): Iterable<string>;
  /** Resources held, resources known at all, requests that wait. */
  counts(): { readonly held: number; readonly known: number; readonly waiting: number };
  /**
   * Lets `owner`'s waits go before those of `stuck` owners that stand in front of them. Called when these can't go on before `owner`
   * does, so that none of them loses by it. True: something moved.
   */
  pass(owner: string, stuck: { has(owner: string): boolean }): boolean;
}
