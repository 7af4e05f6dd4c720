import type { CircuitState, ConflictRecord, Resolution } from './coordination-types.ts';
import type { CycleEdge } from './ports/locks.ts';

/**
 * The closed table of events. Names are `subject:past-participle`, payloads flat and JSON-safe, ids not objects. Rows marked † keep a
 * documented predecessor's name or shape. `docs/reference/events.md` is generated from these comments.
 */
export interface CoordinationEvents {
  /** The manager is ready. † */
  'system:ready': { readonly backend: string };
  /** The manager begins to stop. † */
  'system:shutdown': { readonly reason: string };
  /** A part met an error it could not hand to a caller. † */
  'system:error': { readonly part: string; readonly code: string; readonly message: string };
  /** Health was checked. Emitted when the verdict changed, and at least each minute. † */
  'system:healthcheck': { readonly healthy: boolean; readonly problems: readonly string[] };
  /** An agent was registered. † */
  'agent:spawned': { readonly agentId: string; readonly capabilities: readonly string[] };
  /** An agent was unregistered, or is taken for dead. † */
  'agent:terminated': { readonly agentId: string; readonly reason: string };
  /** A handler of the agent threw. † */
  'agent:error': { readonly agentId: string; readonly taskId: string; readonly message: string };
  /** The agent runs nothing any more, told once at the end of a turn of the loop. † */
  'agent:idle': { readonly agentId: string };
  /** The agent began to run something after having been idle. † */
  'agent:active': { readonly agentId: string };
  /** A task was stored. † */
  'task:created': {
    readonly taskId: string;
    readonly queue: string;
    readonly type: string;
    readonly priority: number;
  };
  /** A submission named an existing task by id or key. */
  'task:deduplicated': { readonly taskId: string; readonly queue: string; readonly replaced: boolean };
  /** A task may run now. */
  'task:readied': { readonly taskId: string; readonly queue: string };
  /** A task was given to an agent. `claim` proves the assignment; an external agent hands it back to completeTask / failTask. † */
  'task:assigned': {
    readonly taskId: string;
    readonly agentId: string;
    readonly attempt: number;
    readonly claim: string;
    readonly strategy: string;
    readonly reason?: string;
  };
  /** Its handler was called. † */
  'task:started': { readonly taskId: string; readonly agentId: string; readonly attempt: number };
  /** Its handler reported progress. */
  'task:progressed': {
    readonly taskId: string;
    readonly agentId: string;
    readonly ratio?: number;
    readonly note?: string;
  };
  /** It ended well. `result` is what the handler returned or the agent answered, in memory not a copy; `queuedMs` from ready to start, `durationMs` from start to end. † */
  'task:completed': {
    readonly taskId: string;
    readonly agentId: string;
    readonly queue: string;
    readonly type: string;
    readonly attempt: number;
    readonly queuedMs: number;
    readonly durationMs: number;
    readonly result?: unknown;
  };
  /** One attempt failed; `final` says whether it was the last. † */
  'task:failed': {
    readonly taskId: string;
    readonly agentId: string;
    readonly attempt: number;
    readonly final: boolean;
    readonly code: string;
    readonly message: string;
    readonly durationMs: number;
  };
  /** A failed attempt will be repeated after `delayMs`. */
  'task:retried': { readonly taskId: string; readonly attempt: number; readonly delayMs: number };
  /** It went to the dead letters. */
  'task:buried': {
    readonly taskId: string;
    readonly queue: string;
    readonly reason: string;
    readonly signature: string;
  };
  /** A dead letter was made ready again. */
  'task:redriven': { readonly taskId: string };
  /** It was cancelled, by a call or because of its parent. † */
  'task:cancelled': { readonly taskId: string; readonly reason: string };
  /** It was skipped because a parent failed. */
  'task:skipped': { readonly taskId: string; readonly reason: string };
  /** A more urgent task took its slot; it is ready again. */
  'task:preempted': { readonly taskId: string; readonly agentId: string; readonly by: string };
  /** It was given back unfinished: its agent left, or it was released. */
  'task:released': { readonly taskId: string; readonly agentId: string; readonly reason: string };
  /** A handler that ignores its abort outlived the grace: its slot was given away while it still runs (T10). */
  'task:abandoned': { readonly taskId: string; readonly agentId: string; readonly graceMs: number };
  /** A late answer to a claim that is somebody else's now was refused. */
  'claim:refused': { readonly taskId: string; readonly token: number; readonly current: number };
  /** Claims from the queue stopped. */
  'queue:paused': { readonly queue: string };
  /** Claims from the queue go on. */
  'queue:resumed': { readonly queue: string };
  /** A lock was granted, at once or after a wait. † */
  'resource:acquired': {
    readonly resourceId: string;
    readonly agentId: string;
    readonly mode: string;
    readonly token: number;
    readonly waitedMs: number;
  };
  /** A held lock changed its mode by an upgrade, with a new token, or a downgrade. Its grant and its release are counted once all the same. */
  'resource:converted': {
    readonly resourceId: string;
    readonly agentId: string;
    readonly mode: string;
    readonly token: number;
    readonly waitedMs: number;
  };
  /** A lock request began to wait. */
  'resource:waited': { readonly resourceId: string; readonly agentId: string; readonly ahead: number };
  /** A lock was given back. † */
  'resource:released': { readonly resourceId: string; readonly agentId: string; readonly heldMs: number };
  /** A lease ran out before it was given back. */
  'resource:expired': { readonly resourceId: string; readonly agentId: string; readonly token: number };
  /** A waiter gave up: timeout, abort or deadlock. */
  'resource:abandoned': {
    readonly resourceId: string;
    readonly agentId: string;
    readonly waitedMs: number;
    readonly code: string;
  };
  /** A write with an old fencing token was refused. */
  'fence:refused': { readonly resourceId: string; readonly token: number; readonly current: number };
  /** A cycle was found and its victim's wait aborted. † */
  'deadlock:detected': {
    readonly agents: readonly string[];
    readonly resources: readonly string[];
    readonly cycle: readonly CycleEdge[];
    readonly victim: string;
  };
  /** Everybody else of the cycle has what they waited for. */
  'deadlock:resolved': { readonly victim: string; readonly afterMs: number };
  /** A message was stored or handed over. † */
  'message:sent': { readonly messageId: string; readonly from: string; readonly to: string };
  /** A handler was given a message. † */
  'message:received': {
    readonly messageId: string;
    readonly from: string;
    readonly to: string;
    readonly delivery: number;
    readonly latencyMs: number;
  };
  /** Messages were dropped: overflow, expiry, or nobody there. */
  'message:dropped': {
    readonly from: string;
    readonly to: string;
    readonly count: number;
    readonly reason: string;
  };
  /** A message went to the dead letters. */
  'message:buried': { readonly messageId: string; readonly to: string; readonly reason: string };
  /** The balancer asks for a move. † */
  'workstealing:request': {
    readonly sourceAgent: string;
    readonly targetAgent: string;
    readonly taskCount: number;
  };
  /** Tasks were moved. */
  'work:stolen': {
    readonly stealId: string;
    readonly sourceAgent: string;
    readonly targetAgent: string;
    readonly taskIds: readonly string[];
  };
  /** A circuit breaker changed its state. † */
  'circuitbreaker:state-change': {
    readonly name: string;
    readonly from: CircuitState;
    readonly to: CircuitState;
    readonly reason: string;
  };
  /** A conflict was reported. */
  'conflict:reported': {
    readonly conflictId: string;
    readonly kind: string;
    readonly subject: string;
    readonly agents: readonly string[];
  };
  /** † The only nested payload, plain data all the same. */
  'conflict:resolved': { readonly conflict: ConflictRecord; readonly resolution: Resolution };
  /** No strategy could decide; somebody else must. */
  'conflict:escalated': { readonly conflictId: string; readonly reason: string };
  /** The backend cannot be reached. */
  'backend:lost': { readonly backend: string; readonly message: string };
  /** The backend answers again. */
  'backend:recovered': { readonly backend: string; readonly outageMs: number };
  /** This process's session ran out; its claims and locks may be somebody else's now. */
  'session:expired': { readonly session: number; readonly heldClaims: number; readonly heldLocks: number };
  /** A listener threw or rejected. Not reported for listeners of this event itself. */
  'listener:failed': { readonly event: string; readonly message: string };
  /** A strategy threw or named an unknown agent; the default decided instead. */
  'strategy:failed': { readonly strategy: string; readonly message: string };
}

export type EventName = keyof CoordinationEvents;
/** Events of plugins; the payload must be JSON-safe. */
export type CustomEventName = `custom:${string}`;
export type PayloadOf<N> = N extends EventName ? CoordinationEvents[N] : unknown;
/** One event as `tap` and `stream` hand it out; `at` is ms since 1970. */
export type CoordinationEvent = {
  [N in EventName]: { readonly name: N; readonly at: number; readonly payload: CoordinationEvents[N] };
}[EventName];

/** All that a part gets: it can report, not listen. An `EventBus` is one. */
export interface EventSink {
  emit<N extends EventName>(name: N, payload: CoordinationEvents[N]): void;
  /** False when nobody would see it: it is counted, and the payload need not be built nor `emit` called. Call it once an event. */
  wants(name: EventName): boolean;
  /** The same question about one event, for whoever asks all the time. Absent: ask `wants`. @internal */
  wanting?(name: EventName): () => boolean;
}

/** Whether somebody wants this event, asked again and again: one look-up for all times. */
export function wanting(events: EventSink, name: EventName): () => boolean {
  return events.wanting?.(name) ?? (() => events.wants(name));
}

/** A sink that drops everything. */
export const silentSink: EventSink = { emit: () => undefined, wants: () => false };

/** The predecessor's names of the rows above. */
export const SystemEvents = {
  AGENT_SPAWNED: 'agent:spawned',
  AGENT_TERMINATED: 'agent:terminated',
  AGENT_ERROR: 'agent:error',
  AGENT_IDLE: 'agent:idle',
  AGENT_ACTIVE: 'agent:active',
  TASK_CREATED: 'task:created',
  TASK_ASSIGNED: 'task:assigned',
  TASK_STARTED: 'task:started',
  TASK_COMPLETED: 'task:completed',
  TASK_FAILED: 'task:failed',
  TASK_CANCELLED: 'task:cancelled',
  SYSTEM_READY: 'system:ready',
  SYSTEM_SHUTDOWN: 'system:shutdown',
  SYSTEM_ERROR: 'system:error',
  SYSTEM_HEALTHCHECK: 'system:healthcheck',
  RESOURCE_ACQUIRED: 'resource:acquired',
  RESOURCE_RELEASED: 'resource:released',
  DEADLOCK_DETECTED: 'deadlock:detected',
  MESSAGE_SENT: 'message:sent',
  MESSAGE_RECEIVED: 'message:received',
} as const satisfies Record<string, EventName>;
