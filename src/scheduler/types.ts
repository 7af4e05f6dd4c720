import type { Priority } from '../core/check.ts';
import type { Lease, ResourceRequest } from '../core/lock-types.ts';
import type { Logger } from '../core/ports/runtime.ts';
import type { FailurePolicy, TaskState } from '../core/ports/tasks.ts';
import type { DEFINITION } from './definition-key.ts';
import type { RetryOptions } from './retry.ts';
import type { StandardSchema } from './standard-schema.ts';

/** Optional typing of one's own tasks: `new CoordinationManager<{ edit: { input: EditInput; output: Diff } }>()`. */
export type TaskTypes = Readonly<Record<string, { readonly input: unknown; readonly output: unknown }>>;
// biome-ignore lint/suspicious/noExplicitAny: the point of untyped tasks is that their input is usable as it is
export type AnyTasks = Record<string, { input: any; output: any }>;
export type TypeName<T extends TaskTypes> = keyof T & string;

/** A dependency: the task id, or with what becomes of this task when that one fails. @default onFailure 'cancel' */
export type Dependency = string | { readonly task: string; readonly onFailure?: FailurePolicy };

/** What a task may say beside its type and its input. */
export interface TaskFields {
  /** @default a UUIDv7 */
  readonly id?: string;
  /** Kept as metadata. */
  readonly description?: string;
  /** @default the type */
  readonly queue?: string;
  /** @default 'medium' (2) */
  readonly priority?: Priority;
  readonly dependencies?: readonly Dependency[];
  readonly capabilities?: readonly string[];
  readonly agents?: {
    /** Only this agent; never stolen. */
    readonly only?: string;
    readonly prefer?: readonly string[];
    readonly exclude?: readonly string[];
    /** Only agents whose load (running + queued) / slots is below this, 0..1. */
    readonly maxLoadRatio?: number;
  };
  /** Taken before the handler starts, all or none; no slot is held while waiting. */
  readonly locks?: readonly ResourceRequest[];
  /** Name of a breaker: while it is open the task waits, its failures count there. */
  readonly breaker?: string;
  readonly delayMs?: number;
  readonly runAt?: Date;
  /** A task that hasn't ended by then goes to the dead letters with reason DEADLINE; a running one is aborted. */
  readonly deadline?: Date;
  /** Time limit of an attempt. */
  readonly timeoutMs?: number;
  readonly retry?: Partial<RetryOptions> | false;
  /** Same key, same payload → the same task, while it is kept. */
  readonly idempotencyKey?: string;
  /** What a second submission with the key does to a task that is not running. @default 'return' */
  readonly onDuplicate?: 'return' | 'replace' | 'debounce';
  /** Fair share and limits between tenants inside a queue. */
  readonly group?: string;
  /** @default 1 */
  readonly weight?: number;
  /** The task this is a part of: cancelled with it. */
  readonly parent?: string;
  /** A more urgent task may take its slot (with `scheduling.preemption`). @default false */
  readonly preemptible?: boolean;
  /** How long row and result are kept after the end, however many others end meanwhile. @default scheduling.keepMs */
  readonly keepMs?: number;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** The input is required unless its type has room for `undefined`. */
type InputField<I> = undefined extends I ? OptionalInput<I> : RequiredInput<I>;
interface RequiredInput<I> {
  /** JSON-safe, at most 256 KiB. Copied at the call: it may be changed or used again afterwards. */
  readonly input: I;
}
type OptionalInput<I> = Partial<RequiredInput<I>>;

/**
 * A task to submit. The predecessor's record fits as it is: unknown fields (`status`, `createdAt`, `assignedAgent` …) are accepted and
 * ignored. Only options refuse unknown keys; task and agent records don't. Of several types it is a union, a member for each.
 */
export type TaskSpec<T extends TaskTypes = AnyTasks, N extends TypeName<T> = TypeName<T>> = TaskFields & {
  readonly type: N;
} & (N extends TypeName<T> ? { readonly type: N } & InputField<T[N]['input']> : never);

/** What may be submitted: a record of a known type, or what a definition made. `O`: what it results in. */
export type Submittable<T extends TaskTypes, N extends TypeName<T> = TypeName<T>, O = unknown> =
  | TaskSpec<T, N>
  | Defined<O>;

/** Each of a list as what may be submitted, so that every record is checked by its own type. */
export type SubmittableList<T extends TaskTypes, L extends readonly unknown[]> = {
  readonly [K in keyof L]: SubmittableAs<T, L[K]>;
};
type SubmittableAs<T extends TaskTypes, S> =
  S extends Defined<unknown>
    ? S
    : S extends { readonly type: infer N extends TypeName<T> }
      ? TaskSpec<T, N>
      : TaskSpec<T>;

/** What a submitted record results in. */
export type OutputOf<T extends TaskTypes, S> =
  S extends Defined<infer O>
    ? O
    : S extends { readonly type: infer N extends TypeName<T> }
      ? T[N]['output']
      : unknown;

/** The handles of a list of records, each with its own result. */
export type HandlesOf<T extends TaskTypes, L extends readonly unknown[]> = {
  readonly [K in keyof L]: TaskHandle<OutputOf<T, L[K]>>;
};

/** What a handle, or any of a union of them, results in. */
export type ResultOf<H> = H extends TaskHandle<infer R> ? R : never;

export interface CancelOutcome {
  /** `requested`: it runs, its signal aborts. `ended`: it had ended before. */
  readonly status: 'cancelled' | 'requested' | 'ended';
  /** Tasks ended or asked to end, children and dependents included, as far as known when this was answered. */
  readonly affected: number;
}

export interface ResultOptions {
  readonly signal?: AbortSignal;
  /** @throws TIMEOUT when the task hasn't ended by then; it goes on. */
  readonly timeoutMs?: number;
}

/** A task in the hand of its submitter. Not thenable, so `await submitTask()` gives the handle and not the result. */
export interface TaskHandle<R = unknown> {
  readonly id: string;
  /** The submission named a task that was there already. */
  readonly duplicate: boolean;
  /**
   * The result, however long ago the task ended. On a handle from `context.submit` waiting frees the handler's slot and is an edge of
   * the wait-for graph.
   * @throws TASK_FAILED (`cause` is the handler's error, `reason` why it was the last), TASK_CANCELLED, TASK_SKIPPED, STOPPED, DEADLOCK
   */
  result(options?: ResultOptions): Promise<R>;
  cancel(reason?: string): Promise<CancelOutcome>;
  status(): Promise<TaskView>;
  why(): Promise<WaitReason>;
}

/** The words people see. */
export type TaskStatus =
  | 'pending'
  | 'ready'
  | 'assigned'
  | 'running'
  | 'retrying'
  | 'completed'
  | 'dead'
  | 'cancelled'
  | 'skipped';

export interface TaskView {
  readonly id: string;
  readonly type: string;
  readonly queue: string;
  readonly status: TaskStatus;
  /** As stored; `status` is the finer word for people. */
  readonly state: TaskState;
  readonly priority: number;
  readonly attempt: number;
  readonly agentId?: string;
  readonly parent?: string;
  readonly group?: string;
  readonly input?: unknown;
  readonly result?: unknown;
  /** What the last attempt failed with; a completed task has none. */
  readonly error?: { readonly code: string; readonly message: string; readonly stack?: string };
  /** Why it ended without success, or waits. */
  readonly reason?: string;
  readonly waitingFor: readonly string[];
  readonly progress?: { readonly ratio?: number; readonly note?: string };
  readonly metadata: Readonly<Record<string, unknown>>;
  /** ms since 1970, by the backend's clock. */
  readonly createdAt: number;
  readonly endedAt?: number;
}

export type WaitKind =
  | 'dependency'
  | 'delay'
  | 'lock'
  | 'child'
  | 'reply'
  | 'survivor'
  | 'declared'
  | 'slot'
  | 'limit'
  | 'breaker'
  | 'no-capable-agent'
  | 'strategy'
  | 'paused'
  | 'assigned'
  | 'running'
  | 'ended';

export interface WaitLink {
  readonly kind: WaitKind;
  /** Task, resource, queue, agent or breaker. */
  readonly subject: string;
  /** Who has what this waits for: a task, an agent, or another owner. */
  readonly holder?: string;
  /** The holder has nothing yet: it waits for the same, in front. */
  readonly ahead?: true;
  readonly sinceMs?: number;
  /** When it will be over, if that is known. */
  readonly expectedInMs?: number;
  readonly detail?: string;
}

/** Why a task isn't running: the first reason, and below it the reason of that. */
export interface WaitReason {
  readonly taskId: string;
  /** The chain in one plain sentence. */
  readonly sentence: string;
  readonly chain: readonly WaitLink[];
}

/** A task as its handler sees it. */
export interface HandledTask<N extends string = string, I = unknown> {
  readonly id: string;
  readonly type: N;
  readonly input: I;
  readonly priority: number;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** What a handler gets. Everything it starts through here is cancelled with it; its methods may be taken apart. */
export interface TaskContext<T extends TaskTypes = AnyTasks, N extends TypeName<T> = TypeName<T>> {
  /** Of several types a union: asking for `task.type` tells the type of `task.input`. */
  readonly task: { readonly [K in N]: HandledTask<K, T[K]['input']> }[N];
  readonly agentId: string;
  /** From 1. */
  readonly attempt: number;
  /** Fencing token of this attempt: hand it to whatever you write to. */
  readonly token: number;
  /** Aborts on timeout, cancel, lost claim, a declared lock that is taken back, preemption and forced shutdown; `reason` is a CoordinationError. */
  readonly signal: AbortSignal;
  /** The locks that the task declared: their tokens, `fenced` writes. Given back when the handler is done. */
  readonly lease: Lease | undefined;
  readonly logger: Logger;
  /** Reports how far it is. @param ratio 0..1 */
  progress(ratio: number | undefined, note?: string): void;
  /** Submits a part of this task. */
  submit<M extends TypeName<T>, O = T[M]['output']>(
    child: Submittable<T, M, O>,
  ): Promise<TaskHandle<NoInfer<O>>>;
  /** Submits parts and waits for them; see {@link GatherOptions} for partial results. The slot is free meanwhile. */
  gather<const L extends readonly unknown[]>(
    children: SubmittableList<T, L>,
    options?: GatherOptions,
  ): Promise<Gathered<OutputOf<T, L[number]>>>;
  withLock<R>(
    resource: ResourceRequest | readonly ResourceRequest[],
    use: (lease: Lease) => R | Promise<R>,
  ): Promise<R>;
  /** Sends a request in the agent's name and waits for the reply. */
  request<R = unknown>(to: string, payload: unknown, timeoutMs?: number): Promise<R>;
  /** Sleeps without keeping the slot. Rejects with `signal.reason` when aborted. */
  sleep(ms: number): Promise<void>;
  /**
   * Records this task as completed inside a transaction of yours, together with what else you write there: both happen or neither. Commit
   * before the handler returns: what it returns is not stored then, and an attempt whose transaction was not committed counts as failed.
   * Stores with transactions only (PostgreSQL, READ COMMITTED).
   * @param client in which you began the transaction
   * @throws STALE_CLAIM when another attempt has the task: roll back; NOT_SUPPORTED
   */
  completeWithin(client: unknown, result?: T[N]['output']): Promise<void>;
}

/** How a task is submitted; `submitTask` alone takes it. */
export interface SubmitOptions {
  /**
   * A client in which you began a transaction: the task is there if and when you commit. Stores with transactions only (PostgreSQL, READ
   * COMMITTED). It must not take part in a deadlock of yours: submit last. A `client` that is `undefined` is refused: leave it out.
   */
  readonly client?: unknown;
}

export type TaskHandler<T extends TaskTypes = AnyTasks, N extends TypeName<T> = TypeName<T>> = (
  context: TaskContext<T, N>,
) => T[N]['output'] | Promise<T[N]['output']>;

export interface GatherOptions {
  /** Enough when this many succeeded; the rest is cancelled unless `rest` is `'keep'`. @default all */
  readonly minimum?: number;
  readonly rest?: 'cancel' | 'keep';
  /** Ends the wait with what is there. @default none */
  readonly timeoutMs?: number;
  /** Ends the wait, which rejects with its reason; `rest` holds all the same. */
  readonly signal?: AbortSignal;
}

/** Partial results of a fan-out, in order of submission. */
export interface Gathered<R> {
  readonly results: readonly (
    | { readonly id: string; readonly status: 'completed'; readonly value: R }
    | { readonly id: string; readonly status: 'failed'; readonly error: Error }
    | { readonly id: string; readonly status: 'unfinished' }
  )[];
  readonly completed: number;
  /** Whether `minimum` was reached. */
  readonly enough: boolean;
}

/**
 * An agent. With `handler` it works in this process; without, it is told by `task:assigned` and answers with completeTask / failTask.
 * The predecessor's AgentProfile fits; unknown fields are ignored.
 */
export interface AgentProfile<T extends TaskTypes = AnyTasks> {
  readonly id: string;
  readonly name?: string;
  readonly type?: string;
  readonly capabilities?: readonly string[];
  /** Tasks at the same time. @default scheduling.agentSlots (5, or AGENTMESH_CONCURRENCY) */
  readonly maxConcurrentTasks?: number;
  readonly priority?: number;
  readonly systemPrompt?: string;
  /** `cost` (a number) is used by the hybrid strategy. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** One handler for all types, or one a type: then it takes only those types. */
  readonly handler?: TaskHandler<T> | { readonly [N in TypeName<T>]?: TaskHandler<T, N> };
  /** Definitions whose handlers it runs; see defineTask. */
  readonly tasks?: readonly AnyTaskDefinition[];
  /** External agents only: silent longer than this → taken for dead, its tasks and locks are given back. @default never */
  readonly silenceMs?: number;
}

export interface AgentHandle extends AsyncDisposable {
  readonly id: string;
  /** Takes nothing new; resolves when what runs has finished. */
  drain(): Promise<void>;
  /** Gives tasks back and locks up. */
  leave(reason?: string): Promise<void>;
  /** External agents: alive. Their answers say so too. */
  beat(): void;
}

/** What the handler of a definition gets: any task may be submitted there. */
export interface DefinedContext<I> extends Omit<TaskContext, 'task'> {
  readonly task: HandledTask<string, I>;
}

/** What was made by a definition whose handler returns `O`. */
export interface Defined<O> {
  // biome-ignore lint/suspicious/noExplicitAny: what the handler gets doesn't matter to the submitter
  readonly [DEFINITION]: TaskDefinition<any, O, any>;
}

/** A record that a definition made. It is plain and may be copied by spreading; it remembers the definition, and so the result's type. */
export interface DefinedTask<I, O> extends TaskFields, Defined<O> {
  readonly type: string;
  readonly input: I;
}

/**
 * A task type with its payload checked at submit. `I` is what the handler gets, `O` what it returns, `G` what is given at submit: another
 * type than `I` only with a schema that transforms.
 */
export interface TaskDefinition<I, O, G = I> {
  readonly name: string;
  readonly schema?: StandardSchema<G, I>;
  readonly defaults: Omit<TaskFields, 'id'>;
  readonly handler?: (context: DefinedContext<I>) => O | Promise<O>;
  /** The record to submit: `mesh.submitTask(resize({ width: 10 }))`. */
  (
    ...given: undefined extends G ? [input?: G, more?: TaskFields] : [input: G, more?: TaskFields]
  ): DefinedTask<G, O>;
}

// biome-ignore lint/suspicious/noExplicitAny: an agent runs definitions of all types
export type AnyTaskDefinition = TaskDefinition<any, any, any>;
