import type { TaskBody, TaskRecord } from '../../../core/ports/tasks.ts';
import type { BackendTime, Token } from '../../../core/ports/words.ts';
import { deadlineOf } from './memory-claim.ts';
import { CLAIMED, COMPLETED, SCHEDULED, STARTED, type StateCode, stateName, type TaskRow } from './row.ts';

const MAX_NAMED_PARENTS = 20;
const NEVER = 0 as BackendTime;

/** A row as people see it. @param full with payload, result and last error */
export function recordOf(row: TaskRow, full: boolean): TaskRecord {
  const { rare, state } = row;
  const waitingCount = row.deps?.pending ?? 0;
  return {
    id: row.task.id,
    body: bodyOf(row, full),
    state: stateName(state as StateCode),
    token: row.token ?? (0 as Token),
    attempt: row.attempt,
    crashes: rare?.crashes ?? 0,
    moves: rare?.moves ?? 0,
    enqueuedAt: row.enqueued.at,
    readyAt: row.order === 0 ? NEVER : (row.readied ?? row.enqueued).at,
    started: (row.flags & STARTED) !== 0,
    waitingFor: waitingCount === 0 ? [] : waitingFor(row),
    waitingCount,
    ...timesOf(row),
    ...(row.task.local === undefined ? {} : { local: row.task.local }),
    ...(row.holder === undefined || state !== CLAIMED ? {} : { session: row.holder.session }),
    ...(rare === undefined ? {} : rareFacts(row)),
    ...(full && state === COMPLETED && row.result !== undefined ? { result: row.result } : {}),
    ...(full && rare?.lastError !== undefined ? { error: rare.lastError } : {}),
  };
}

function timesOf(row: TaskRow): Pick<TaskRecord, 'deadlineAt' | 'runAt' | 'endedAt'> {
  const deadlineAt = deadlineOf(row);
  return {
    ...(deadlineAt === undefined ? {} : { deadlineAt }),
    ...(row.state === SCHEDULED && row.readied !== undefined ? { runAt: row.readied.at } : {}),
    ...(row.ended === undefined ? {} : { endedAt: row.ended.at }),
  };
}

function rareFacts({ rare }: TaskRow): Pick<TaskRecord, 'cancelRequested' | 'reason' | 'errorSignature'> {
  return {
    ...(rare?.cancelRequested === undefined ? {} : { cancelRequested: rare.cancelRequested }),
    ...(rare?.reason === undefined ? {} : { reason: rare.reason }),
    ...(rare?.signature === undefined ? {} : { errorSignature: rare.signature }),
  };
}

/** A copy, without what belongs to the store. */
function bodyOf({ task }: TaskRow, full: boolean): TaskBody {
  const { dependsOn: _edges, limits: _limits, local: _local, ...body } = task;
  return full ? body : { ...body, payload: undefined };
}

function waitingFor(row: TaskRow): readonly string[] {
  const parents: string[] = [];
  for (let link = row.deps?.up; link !== undefined; link = link.nextUp)
    if (link.open) parents.push(link.down.id);
  return parents.toReversed().slice(0, MAX_NAMED_PARENTS);
}
