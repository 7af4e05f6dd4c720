import type { CoordinationEvent } from '../mesh.ts';
import type { RunRecord } from '../run.ts';

/** One attempt of a task by an agent. Times are ms since the run began. */
export interface Span {
  readonly agentId: string;
  readonly taskId: string;
  readonly attempt: number;
  readonly from: number;
  readonly to: number;
  /** Absent when it ended well. */
  readonly failure?: string;
}
/** A wait for a lock; `agentId` is empty when no agent was kept waiting. */
export interface Wait {
  readonly agentId: string;
  readonly resource: string;
  readonly from: number;
  readonly to: number;
  readonly granted: boolean;
}
export interface Deadlock {
  readonly at: number;
  readonly victim: string;
  readonly agents: readonly string[];
  readonly cycle: readonly { readonly waiter: string; readonly holder: string; readonly what: string }[];
  readonly resolvedAfterMs?: number;
}
export interface Conflict {
  readonly at: number;
  readonly path: string;
  readonly agents: readonly string[];
  readonly outcome: 'merged' | 'retried' | 'open';
}
export interface Steal {
  readonly at: number;
  readonly from: string;
  readonly to: string;
  readonly tasks: readonly string[];
}
export interface Outage {
  readonly from: number;
  readonly to: number;
}

/** What happened when, read from a run's events. */
export interface Timeline {
  readonly durationMs: number;
  readonly spans: readonly Span[];
  readonly waits: readonly Wait[];
  readonly deadlocks: readonly Deadlock[];
  readonly conflicts: readonly Conflict[];
  readonly steals: readonly Steal[];
  /** When the breaker let nothing through. */
  readonly outages: readonly Outage[];
}

export function readTimeline({
  events,
  startedAt,
  durationMs,
}: Pick<RunRecord, 'events' | 'startedAt' | 'durationMs'>): Timeline {
  const reader = new TimelineReader();
  for (const event of events) reader.read(event, Math.max(0, event.at - startedAt));
  return reader.finish(durationMs);
}

class TimelineReader {
  readonly #spans: Span[] = [];
  readonly #waits: Wait[] = [];
  readonly #deadlocks: Deadlock[] = [];
  readonly #conflicts = new Map<string, Conflict>();
  readonly #steals: Steal[] = [];
  readonly #outages: Outage[] = [];
  readonly #running = new Map<string, { agentId: string; attempt: number; from: number }>();
  readonly #waiting = new Map<string, number[]>();
  #openSince: number | undefined;

  read(event: CoordinationEvent, at: number): void {
    switch (event.name) {
      case 'task:started':
        this.#running.set(event.payload.taskId, { ...event.payload, from: at });
        break;
      case 'task:completed':
        this.#endSpan(event.payload.taskId, at);
        break;
      case 'task:failed':
        this.#endSpan(event.payload.taskId, at, event.payload.code);
        break;
      case 'task:released':
        this.#running.delete(event.payload.taskId); // the breaker was open: it had not begun
        break;
      case 'resource:waited':
        this.#startWait(event.payload, at);
        break;
      case 'resource:acquired':
        if (event.payload.waitedMs > 0) this.#endWait(event.payload, at, true);
        break;
      case 'resource:abandoned':
        this.#endWait(event.payload, at, false);
        break;
      case 'deadlock:detected':
        this.#deadlocks.push({
          at,
          ...event.payload,
          cycle: event.payload.cycle.map((edge) => ({ ...edge, what: nameOf(edge.what) })),
        });
        break;
      case 'deadlock:resolved':
        this.#resolveDeadlock(event.payload.victim, event.payload.afterMs);
        break;
      case 'work:stolen':
        this.#steals.push({
          at,
          from: event.payload.sourceAgent,
          to: event.payload.targetAgent,
          tasks: event.payload.taskIds,
        });
        break;
      case 'circuitbreaker:state-change':
        this.#readBreaker(event.payload.to, at);
        break;
      default:
        this.#readConflict(event, at);
    }
  }

  finish(durationMs: number): Timeline {
    this.#readBreaker('closed', durationMs);
    return {
      durationMs,
      spans: this.#spans,
      waits: this.#waits,
      deadlocks: this.#deadlocks,
      conflicts: [...this.#conflicts.values()],
      steals: this.#steals,
      outages: this.#outages,
    };
  }

  #endSpan(taskId: string, to: number, failure?: string): void {
    const started = this.#running.get(taskId);
    if (started === undefined) return;
    this.#running.delete(taskId);
    const { agentId, attempt, from } = started;
    this.#spans.push({ taskId, agentId, attempt, from, to, ...(failure === undefined ? {} : { failure }) });
  }

  #startWait({ agentId, resourceId }: { agentId: string; resourceId: string }, at: number): void {
    const key = `${agentId}\0${resourceId}`;
    this.#waiting.set(key, [...(this.#waiting.get(key) ?? []), at]);
  }

  #endWait(
    { agentId, resourceId }: { agentId: string; resourceId: string },
    to: number,
    granted: boolean,
  ): void {
    const from = this.#waiting.get(`${agentId}\0${resourceId}`)?.shift();
    if (from !== undefined) this.#waits.push({ agentId, resource: nameOf(resourceId), from, to, granted });
  }

  #resolveDeadlock(victim: string, resolvedAfterMs: number): void {
    const at = this.#deadlocks.findLastIndex(
      (one) => one.victim === victim && one.resolvedAfterMs === undefined,
    );
    const deadlock = this.#deadlocks[at];
    if (deadlock !== undefined) this.#deadlocks[at] = { ...deadlock, resolvedAfterMs };
  }

  #readBreaker(to: string, at: number): void {
    if (to === 'open') this.#openSince ??= at;
    else if (to === 'closed' && this.#openSince !== undefined) {
      this.#outages.push({ from: this.#openSince, to: at });
      this.#openSince = undefined;
    }
  }

  #readConflict(event: CoordinationEvent, at: number): void {
    if (event.name === 'conflict:reported') {
      const { conflictId, subject, agents } = event.payload;
      this.#conflicts.set(conflictId, { at, path: subject, agents, outcome: 'open' });
    } else if (event.name === 'conflict:resolved') {
      const { conflictId, type } = event.payload.resolution;
      this.#endConflict(conflictId, type === 'merge' ? 'merged' : 'retried');
    }
  }

  #endConflict(id: string, outcome: Conflict['outcome']): void {
    const conflict = this.#conflicts.get(id);
    if (conflict !== undefined) this.#conflicts.set(id, { ...conflict, outcome });
  }
}

/** Path locks are named from the root of the tree. */
function nameOf(resourceId: string): string {
  return resourceId.replace(/^\//, '');
}
