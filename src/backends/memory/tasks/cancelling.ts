import type { Consequences } from '../../../core/ports/tasks.ts';
import { Effects } from './effects.ts';
import { isEnded, type StateCode, stateName } from './row.ts';
import type { TaskTable } from './table.ts';

export interface CancelRequest {
  readonly task: string;
  readonly reason: string;
  readonly tree: boolean;
  readonly revoke: boolean;
}

export interface CancelResult {
  readonly status: 'cancelled' | 'requested' | 'ended' | 'unknown';
  readonly state?: ReturnType<typeof stateName>;
  readonly affected: number;
}

export function cancel(
  table: TaskTable,
  requests: readonly CancelRequest[],
): Consequences & { readonly results: readonly CancelResult[]; readonly requested: Effects['requested'] } {
  const effects = new Effects(table.now());
  const results = requests.map((request) => cancelOne(table, request, effects));
  table.trim(effects.moment);
  return {
    at: effects.moment.at,
    readied: effects.readiedList,
    ended: effects.endedList,
    more: table.cascade.hasMore || effects.scheduled,
    opened: table.takeOpened(),
    results,
    requested: effects.requested,
  };
}

/** Cancels one task and drains what follows from it, so that `affected` is this item's own. */
function cancelOne(
  table: TaskTable,
  { task, reason, tree, revoke }: CancelRequest,
  effects: Effects,
): CancelResult {
  const row = table.rows.get(task);
  if (row === undefined) return { status: 'unknown', affected: 0 };
  const before = effects.affected;
  let status: CancelResult['status'] = 'ended';
  if (!isEnded(row)) {
    const { local } = row.task;
    status = table.cancel(row, reason, revoke, effects.moment) ? 'cancelled' : 'requested';
    if (status === 'cancelled') effects.ended(row, reason, undefined, local, true);
    else effects.asked(row, reason, true);
  }
  if (tree) table.cascade.cancelTree(task, reason, revoke);
  table.cascade.drain(effects);
  return { status, state: stateName(row.state as StateCode), affected: effects.affected - before };
}
