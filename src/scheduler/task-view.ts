import { backendMs } from '../core/backend-ms.ts';
import { copyJson } from '../core/json.ts';
import type { StoredError } from '../core/errors.ts';
import type { TaskRecord } from '../core/ports/tasks.ts';
import type { Run } from './agent.ts';
import { cancelled, dead, type Outcome, reviveError, skipped } from './outcome.ts';
import type { TaskStatus, TaskView } from './types.ts';

/** The word for people; `assigned` and `running` need the local run where there is one. */
export function statusOf(record: TaskRecord, run: Run | undefined): TaskStatus {
  switch (record.state) {
    case 'waiting':
      return 'pending';
    case 'scheduled':
      return record.attempt > 0 ? 'retrying' : 'pending';
    case 'claimed':
      if (run?.facts.yieldsTo !== undefined) return 'retrying';
      if (run !== undefined)
        return run.phase === 'queued' || run.phase === 'locking' || run.phase === 'parked'
          ? 'assigned'
          : 'running';
      return record.started ? 'running' : 'assigned';
    default:
      return record.state;
  }
}

export function toView(record: TaskRecord, run: Run | undefined): TaskView {
  const { body } = record;
  const agentId = run?.agent?.id ?? body.agent;
  // What an earlier attempt failed with is no news of a task that has made it.
  const error = record.state === 'completed' ? undefined : (record.error as StoredError | undefined);
  return {
    id: record.id,
    type: body.type,
    queue: body.queue,
    status: statusOf(record, run),
    state: record.state,
    priority: body.priority,
    attempt: record.attempt,
    waitingFor: record.waitingFor,
    metadata: body.headers ?? {},
    createdAt: backendMs(record.enqueuedAt),
    ...(agentId === undefined ? {} : { agentId }),
    ...(body.parent === undefined ? {} : { parent: body.parent }),
    ...(body.group === undefined ? {} : { group: body.group }),
    ...(body.payload === undefined ? {} : { input: copyJson(body.payload) }),
    ...(record.result === undefined ? {} : { result: record.result }),
    ...(error === undefined ? {} : { error: errorView(error) }),
    ...(record.reason === undefined ? {} : { reason: record.reason }),
    ...(run?.facts.progress === undefined ? {} : { progress: run.facts.progress }),
    ...(record.endedAt === undefined ? {} : { endedAt: backendMs(record.endedAt) }),
  };
}

function errorView(error: StoredError): NonNullable<TaskView['error']> {
  return {
    code: error.code,
    message: error.message,
    ...(error.stack === undefined ? {} : { stack: error.stack }),
  };
}

/** How a stored task ended; `undefined` while it hasn't. */
export function outcomeOf(record: TaskRecord): Outcome | undefined {
  switch (record.state) {
    case 'completed':
      return { state: 'completed', value: record.result };
    case 'dead':
      return dead(record.id, record.attempt, record.reason ?? 'ATTEMPTS', reviveError(record.error));
    case 'cancelled':
      return cancelled(record.id, record.reason ?? 'cancelled');
    case 'skipped':
      return skipped(record.id, record.reason ?? 'a parent failed');
    default:
      return undefined;
  }
}
