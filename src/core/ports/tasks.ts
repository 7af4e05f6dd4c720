import type { TASK_STATES } from '../task-states.ts';
import type {
  Awaitable,
  BackendTime,
  Cursor,
  Encoded,
  Operation,
  Page,
  PageRequest,
  SessionNumber,
  Stamped,
  Token,
} from './words.ts';

/** Where a task stands; see {@link TASK_STATES}. */
export type TaskState = (typeof TASK_STATES)[number];

/** What becomes of a child when this parent ends without success: `cancelled`; `skipped`; keeps waiting for a redrive; counts as done. */
export type FailurePolicy = 'cancel' | 'skip' | 'wait' | 'continue';

/** A dependency: `parent` must end before this task is ready. A parent that was never enqueued becomes a placeholder, so forward references work. One that was pruned counts as it ended for at least 50,000 more (memory: `rememberEnded`). */
export interface Edge {
  readonly parent: string;
  readonly onFailure: FailurePolicy;
}

/** Numbers the store acts on without understanding them. */
export interface TaskLimits {
  /** Crashed attempts (session died after `started`) before a takeover answers with `poison` set. @default 3 */
  readonly maxCrashes: number;
  /** ms of life after enqueue; at `sweep` an unclaimed task past it ends `dead` with reason `DEADLINE`. */
  readonly deadlineMs?: number;
  /** How long row and result stay after the end; 0 = state and key only. */
  readonly keepMs: number;
  /**
   * The submitter's own word, not a default: no bound on the number of ended tasks may shorten it. Neither may it for dead letters and
   * for tasks with a key.
   */
  readonly keepFirm?: true;
}

/** A task as it is described, which never changes while it is claimed. */
export interface TaskBody {
  /** UUIDv7 from core, or the user's. */
  readonly id: string;
  readonly queue: string;
  readonly type: string;
  readonly payload: Encoded;
  /** Integer −1,000…1,000, **higher runs first**. At most 32 distinct values in use per queue are on the fast path. */
  readonly priority: number;
  /** Sorted; a claimer must offer all. */
  readonly capabilities: readonly string[];
  readonly weight: number;
  /**
   * What it asks of an agent beside capabilities and type (agents it excludes, load), as a text that only core understands. Tasks without
   * `agent` of one type with the same capabilities and the same text are placed alike: see {@link ClaimRequest.without}.
   */
  readonly placement?: string;
  /** Idempotency key, unique in the mesh while the task or its tombstone lives. */
  readonly key?: string;
  /** User metadata and trace context; at most 16 KiB. */
  readonly headers?: Readonly<Record<string, unknown>>;
  /** Fair share and per-group concurrency. */
  readonly group?: string;
  /** Only a session that hosts this agent may claim it. */
  readonly agent?: string;
  /** Task tree (cancellation, budgets); not a dependency. */
  readonly parent?: string;
  /** What core needs to run it (time limit, retry policy, locks …); JSON-safe, opaque to the store. */
  readonly settings?: Encoded;
}

/** A task to store. A store may keep the object: core never changes it afterwards. */
export interface NewTask extends TaskBody {
  readonly dependsOn: readonly Edge[];
  readonly limits: TaskLimits;
  /** The id is the user's, so another task may have it already: queue, type and payload are compared then. Ids made by core are never used twice; meeting one again is a `duplicate` without a look. */
  readonly named?: true;
  /** Not before this time after the call, ms. A user's wall-clock time comes as what is left until then: no store compares wall clocks. */
  readonly delayMs?: number;
  /**
   * With a key that names an unclaimed task: `replace` swaps all that is stated here but id and time, its deadline counting from now;
   * `debounce` also restarts its delay. Another queue or type, or other dependencies, are a `conflict`; no dependencies keep those there
   * are. A claimed one keeps running, an ended one stays; both give the key up to the new task.
   */
  readonly onDuplicate?: 'replace' | 'debounce';
  /** Of this process only: echoed as the same object in {@link Claim.local} and {@link Ended.local} by a store in the same process, dropped by others. */
  readonly local?: object;
}

export type EnqueueResult =
  | {
      readonly status: 'enqueued';
      readonly state: 'waiting' | 'scheduled' | 'ready' | 'cancelled' | 'skipped';
    }
  | {
      readonly status: 'duplicate';
      readonly id: string;
      readonly state: TaskState;
      readonly replaced: boolean;
      readonly local?: object;
    }
  /** Same id or key, other payload. */
  | { readonly status: 'conflict'; readonly id: string }
  | { readonly status: 'cycle'; readonly path: readonly string[] }
  | { readonly status: 'full'; readonly queue: string; readonly length: number };

/** The fence of one execution right. */
export interface ClaimRef {
  /** The session that claimed it: a process that had to open a new one settles its old claims by this. */
  readonly session: SessionNumber;
  readonly task: string;
  readonly token: Token;
}

/** A right to run one attempt. A snapshot: it never changes, whatever becomes of the task. */
export interface Claim extends ClaimRef {
  readonly body: TaskBody;
  /** Counted by this claim, from 1. */
  readonly attempt: number;
  readonly crashes: number;
  /** Takeovers while unstarted. */
  readonly moves: number;
  /** A takeover of a started claim whose crashes exceed `limits.maxCrashes`: bury it. */
  readonly poison?: true;
  readonly lastError?: Encoded;
  readonly enqueuedAt: BackendTime;
  readonly readyAt: BackendTime;
  /** When the task ends `dead` unless settled: enqueue + `deadlineMs`. */
  readonly deadlineAt?: BackendTime;
  /** False: prefetched, may be taken over; must pass {@link TaskStore.start} before its handler runs. */
  readonly started: boolean;
  readonly local?: object;
}

/** Room for tasks that need no particular agent: those whose capabilities are all in `capabilities`. */
export interface Offer {
  readonly capabilities: readonly string[];
  /** Task types it takes. Absent: all. */
  readonly types?: readonly string[];
  readonly slots: number;
}

/** Tasks that are placed alike: nobody the claimer could give one to would take any of them. */
export interface TaskKind {
  readonly type: string;
  readonly capabilities: readonly string[];
  readonly placement: string;
}

/**
 * What a session can run now. A task without `agent` matches the first offer that has its capabilities and slots left; one with
 * `agent` matches when that agent is in `agents`. Both only from a queue that is named.
 */
export interface ClaimRequest {
  /** Visited round-robin, a task each; `limit` isolates queues from each other and counts tasks by offers. Absent: every queue, without limits of their own. */
  readonly queues?: readonly { readonly queue: string; readonly limit: number }[];
  readonly offers: readonly Offer[];
  /** Tasks that no offer is for, whatever their capabilities: they stay, and those behind them are claimed. */
  readonly without?: readonly TaskKind[];
  /** Agents hosted here. Their own tasks come beside the offers, at most `assigned` of them, and always unstarted: they wait in the agent's run queue. */
  readonly agents: readonly string[];
  readonly assigned: number;
  /** Most tasks by offers. The first `start` of them come back started (free slots); the rest is prefetch. */
  readonly limit: number;
  readonly start: number;
}

/** How an attempt ended, decided by core. The claim is handed back as it was received, or as a plain reference. */
export type Settlement = { readonly claim: ClaimRef } & (
  | { readonly as: 'complete'; readonly result: Encoded }
  | { readonly as: 'retry'; readonly delayMs: number; readonly error: Encoded }
  /** → dead; children follow their edge's policy. `signature` groups dead letters. */
  | { readonly as: 'bury'; readonly reason: string; readonly error: Encoded; readonly signature: string }
  /** The handler obeyed a cancel order. */
  | { readonly as: 'cancel'; readonly reason: string }
  /** Back to ready (or scheduled): given back unstarted, preempted, or its agent left. `toAgent` pins it, `null` unpins. */
  | {
      readonly as: 'release';
      readonly delayMs: number;
      readonly reason: string;
      readonly refundAttempt: boolean;
      readonly toAgent?: string | null;
    }
);

export type SettleResult =
  /** `state` is the task's state now. */
  | { readonly status: 'settled'; readonly state: TaskState }
  /** Somebody else's now: STALE_CLAIM. */
  | { readonly status: 'stale'; readonly state: TaskState; readonly token: Token }
  | { readonly status: 'gone' };

/** A task that ended by something else than its own attempt: cancelled, skipped, past its deadline, length cap. */
export interface Ended {
  readonly task: string;
  readonly queue: string;
  readonly state: 'dead' | 'cancelled' | 'skipped';
  /** As the call gave it, or `DEADLINE`, `PARENT_DEAD`, `PARENT_CANCELLED`, `PARENT_SKIPPED`. */
  readonly reason: string;
  /** The parent whose end caused it. */
  readonly parent?: string;
  readonly local?: object;
}

/**
 * What a mutating call set in motion beside its own items; each lists at most 1,000. `more`: the rest comes out of `sweep`, which also
 * says when what was scheduled along with it is due.
 */
export interface Consequences extends Stamped {
  /** Tasks that became ready or may be claimed again. */
  readonly readied: readonly { readonly task: string; readonly queue: string }[];
  readonly ended: readonly Ended[];
  readonly more: boolean;
  /** A limit of a queue or of a group was reached, has room again, and something waits for it: claim again. */
  readonly opened: boolean;
}

export interface TaskRecord
  extends Omit<Claim, 'task' | 'session' | 'body' | 'lastError' | 'poison' | 'local'> {
  readonly id: string;
  /** `payload` is `undefined` in lists; `get` has it. */
  readonly body: TaskBody;
  readonly state: TaskState;
  readonly session?: SessionNumber;
  readonly runAt?: BackendTime;
  readonly endedAt?: BackendTime;
  /** ≤ 20 unfinished parents; `waitingCount` counts all. */
  readonly waitingFor: readonly string[];
  readonly waitingCount: number;
  readonly cancelRequested?: string;
  readonly reason?: string;
  readonly errorSignature?: string;
  /** `get` only. */
  readonly result?: Encoded;
  /** Last error; `get` only. */
  readonly error?: Encoded;
  /** As in {@link Claim.local}, while the task may still run: dead and cancelled ones may be redriven. */
  readonly local?: object;
}

/** One row of the audit trail; append-only, written in the transition's own transaction. */
export interface Transition {
  readonly task: string;
  readonly at: BackendTime;
  readonly from: TaskState | 'new';
  readonly to: TaskState;
  readonly attempt: number;
  readonly token: Token;
  readonly session?: SessionNumber;
  readonly reason?: string;
}

/** Conjunction of filters. `state`, `queue`, `key`, `agent`, `errorSignature` are indexed for the small states; others filter within the scan budget. */
export interface TaskFilter {
  readonly ids?: readonly string[];
  readonly state?: readonly TaskState[];
  readonly queue?: string;
  readonly type?: string;
  readonly agent?: string;
  readonly group?: string;
  readonly key?: string;
  readonly parent?: string;
  readonly errorSignature?: string;
  /** Plain substring of the error, never a pattern. */
  readonly errorText?: string;
  /** Enqueued longer ago than this. */
  readonly olderThanMs?: number;
}

/** A change to tasks that are not running. On a claimed task `priority` and `payload` apply when it next becomes ready (`deferred`). */
export type Revision =
  | { readonly set: 'priority'; readonly priority: number }
  /** As if it had waited this much longer, ms: it comes earlier in its queue, once it is ready too. Its priority stays. */
  | { readonly set: 'age'; readonly ageMs: number }
  | { readonly set: 'delay'; readonly delayMs: number }
  | { readonly set: 'payload'; readonly payload: Encoded }
  /** Pins unclaimed tasks to an agent, or unpins them. */
  | { readonly set: 'agent'; readonly agent: string | null }
  /** dead | cancelled → ready; children waiting under policy `wait` live again. Due times are spread evenly over `spreadMs`. */
  | {
      readonly set: 'redrive';
      readonly delayMs: number;
      readonly resetAttempts: boolean;
      readonly spreadMs: number;
    }
  /** Terminal rows: pruned now, counted as pruned. */
  | { readonly set: 'discard' };

export interface ListRequest extends PageRequest {
  readonly order?: 'newest' | 'queue' | 'ended';
  readonly each?: number;
}

export interface QueueSettings {
  readonly paused: boolean;
  /** Unended tasks it may hold; beyond, `full`. */
  readonly maxLength?: number;
  /** Over all sessions. */
  readonly maxRunning?: number;
  readonly maxRunningPerGroup?: number;
  /** Share of a group relative to 1; groups that are not named have 1. With any weight set, claims serve groups by weighted fair share. */
  readonly groupWeights?: Readonly<Record<string, number>>;
  /**
   * Ageing: a task is ordered by `readyAt − priority × ageStepMs`, then arrival. Waiting `ageStepMs` is worth one priority point: no
   * starvation, static key. @default 10,000
   */
  readonly ageStepMs: number;
}

export interface QueueCounts {
  readonly queue: string;
  readonly settings: QueueSettings;
  readonly revision: number;
  /** Running totals kept by the transitions themselves, never counted on demand. */
  readonly states: Readonly<Record<TaskState, number>>;
  readonly totals: {
    readonly enqueued: number;
    readonly pruned: number;
    readonly attempts: number;
    readonly staleSettles: number;
    readonly duplicates: number;
  };
  readonly readyWeight: number;
  readonly oldestReadyAt?: BackendTime;
}

/** Which claims a takeover may take. */
export type TakeoverSource =
  /** Unstarted claims of this live session: a steal between processes. */
  | { readonly idle: SessionNumber }
  /** Claims of any expired or closed session. */
  | 'dead';

/** Durable priority queues with dependencies. At-least-once execution, exactly-once recording. 13 methods and one optional. */
/**
 * The narrow way for clients in the store's own process: a reply can't be lost, so neither an operation nor its record is needed. What
 * it does can be done by the port's methods too, and behaves the same. `undefined`: the session is not open; the port's method then finds
 * another one, or says why there is none.
 */
export interface QuickTasks {
  /**
   * Stores a task. Answers as `TaskStore.enqueue` of this one when that has set anything else in motion, else with its result alone.
   * @param isNew its id was made for it: no other task can have it
   * @throws STOPPED
   */
  enqueue(session: SessionNumber, task: NewTask, isNew: boolean): EnqueueResult | EnqueueAnswer | undefined;
  /** As `TaskStore.claim`. @throws STOPPED */
  claim(session: SessionNumber, request: ClaimRequest): ClaimAnswer | undefined;
  /** As `TaskStore.settle`. @throws STOPPED */
  settle(settlements: readonly Settlement[]): SettleAnswer;
}

export type EnqueueAnswer = Consequences & { readonly results: readonly EnqueueResult[] };
export type ClaimAnswer = Stamped & { readonly claims: readonly Claim[]; readonly more: boolean };
export type SettleAnswer = Consequences & { readonly results: readonly SettleResult[] };

export interface TaskStore {
  /** Stores in this process: see {@link QuickTasks}. */
  readonly quick?: QuickTasks;
  /**
   * Stores tasks: all-or-nothing per item, in order, so an item may depend on an earlier or later one of the batch. Parents are locked
   * FOR SHARE (id order) before their state is read: without that a child enqueued while its parent completes waits for ever [M].
   */
  enqueue(
    op: Operation,
    tasks: readonly NewTask[],
  ): Awaitable<Consequences & { readonly results: readonly EnqueueResult[] }>;
  /**
   * Takes matching ready tasks in order of rank, each to one session, counts the attempt, mints tokens. `[]` when nothing fits.
   * `more`: another call might find more. Doesn't claim for an expired session.
   */
  claim(
    op: Operation,
    request: ClaimRequest,
  ): Awaitable<Stamped & { readonly claims: readonly Claim[]; readonly more: boolean }>;
  /** Marks prefetched claims started. `false` = taken over meanwhile: its handler must not run (W1). Claims that came back started never need it. */
  start(
    op: Operation,
    claims: readonly ClaimRef[],
  ): Awaitable<Stamped & { readonly started: readonly boolean[] }>;
  /**
   * Ends attempts by compare-and-set on (task, token). Token current → applied, **even if the session's lease has run out meanwhile and
   * nobody took the task**; else `stale`. Token current but no longer claimed = this attempt's own settle was applied before: `settled`
   * with the state as it is now. A `retry` or `release` of a task with a cancel request ends `cancelled`; a `complete` wins over the
   * request. The first 1,000 child transitions happen in the same transaction, the rest is recorded there as a frontier which `sweep`
   * drains: exactly once, never lost.
   */
  settle(
    op: Operation,
    settlements: readonly Settlement[],
  ): Awaitable<Consequences & { readonly results: readonly SettleResult[] }>;
  /**
   * Takes claims from other sessions, bumping the token, so that the former owner's start and settle fail. A started claim of a dead
   * session comes back with `crashes + 1` and core decides retry, release or bury by an ordinary settle. `steal` is written to the
   * audit trail. Idle claims that moved `maxMoves` times stay; those of dead sessions never do. A started one stays `started`, and
   * is up for no steal: another death before it is settled counts no second crash.
   */
  takeover(
    op: Operation,
    request: {
      readonly from: TakeoverSource;
      readonly match: Pick<ClaimRequest, 'queues' | 'offers' | 'agents'> | 'any';
      readonly limit: number;
      readonly maxMoves: number;
      readonly steal: string;
    },
  ): Awaitable<Stamped & { readonly claims: readonly Claim[] }>;
  /**
   * Cancels. Not running → `cancelled` now. Running → a request that reaches its session as an order; `revoke` bumps the token and ends
   * it now (the handler's late answer is `stale`). `tree` takes sub-tasks (`parent`) along, dependents follow their edge's policy; both
   * by frontier beyond 1,000. A terminal task answers its state. `affected` counts tasks ended or requested by this item so far.
   * Sub-tasks that run get a request too. Here `ended` and `requested` hold the items' own tasks as well, so that each comes with its
   * `local` object. A claim that was not started ends now: its session's `start` and `settle` fail.
   */
  cancel(
    op: Operation,
    requests: readonly {
      readonly task: string;
      readonly reason: string;
      readonly tree: boolean;
      readonly revoke: boolean;
    }[],
  ): Awaitable<
    Consequences & {
      readonly results: readonly {
        readonly status: 'cancelled' | 'requested' | 'ended' | 'unknown';
        readonly state?: TaskState;
        readonly affected: number;
      }[];
      readonly requested: readonly {
        readonly task: string;
        readonly reason: string;
        readonly local?: object;
      }[];
    }
  >;
  /** Applies one revision to everything that matches, at most `limit` a call; call again with `next`. */
  revise(
    op: Operation,
    request: {
      readonly filter: TaskFilter;
      readonly revision: Revision;
      readonly limit: number;
      readonly after?: Cursor;
    },
  ): Awaitable<
    Consequences & {
      readonly changed: number;
      readonly deferred: number;
      readonly next: Cursor | undefined;
    }
  >;
  /** Compare-and-set of a queue's settings by `revision`; `undefined` sets whatever is there. Pausing stops claims and takeovers, not running work. */
  configure(
    op: Operation,
    queue: string,
    revision: number | undefined,
    settings: QueueSettings,
  ): Awaitable<Stamped & { readonly status: 'set' | 'changed-meanwhile'; readonly revision: number }>;
  /**
   * Mechanical chores, each bounded by `limit`: due delays → ready, deadlines, frontiers, retention, tombstones. Any session may call
   * it any time (every ≤ 1 s one does: it skips what another holds). Says when it next wants to be called.
   */
  sweep(
    op: Operation,
    limit: number,
  ): Awaitable<
    Consequences & {
      readonly pruned: number;
      readonly deadSessions: number;
      /** `Infinity` when nothing is due ever. */
      readonly nextInMs: number;
    }
  >;
  /** Full records, `undefined` for unknown or pruned ids. Reads the writer, never a replica. */
  get(ids: readonly string[]): Awaitable<readonly (TaskRecord | undefined)[]>;
  /**
   * Newest first by enqueue; a ready-queue view asks for `order: 'queue'` (claim order), and with `each` for at most so many tasks of each
   * lane: of one queue, group and priority, asking the same of whoever runs them.
   */
  list(filter: TaskFilter, page: ListRequest): Awaitable<Page<TaskRecord>>;
  /** Audit trail of one task, or of all (`task` absent) in backend order with a cursor that never skips a late commit. Memory keeps the newest transitions only. */
  history(
    filter: { readonly task?: string; readonly queue?: string },
    page: PageRequest,
  ): Awaitable<Page<Transition>>;
  /** O(queues), from counters. */
  counts(queues?: readonly string[]): Awaitable<Stamped & { readonly queues: readonly QueueCounts[] }>;
  /** The same store whose `enqueue` and `settle` run in the caller's transaction (not coalesced, no hint before commit). Only with `capabilities.transactions`. */
  within?(transaction: unknown): Pick<TaskStore, 'enqueue' | 'settle'>;
}
