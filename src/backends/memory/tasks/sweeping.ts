import type { Consequences } from '../../../core/ports/tasks.ts';
import { Effects } from './effects.ts';
import { CLAIMED, DEAD, type Moment } from './row.ts';
import type { TaskTable } from './table.ts';

/** While other sessions hold claims somebody has to look at their leases. */
const LOOK_MS = 1_000;

export interface Swept extends Consequences {
  readonly pruned: number;
  readonly deadSessions: number;
  readonly nextInMs: number;
}

/** The chores: due delays, deadlines, cascades that go on, retention; each at most `limit` times. */
export function sweep(table: TaskTable, limit: number): Swept {
  const now = table.now(table.core.sessions.expireDue());
  const effects = new Effects(now, limit);
  promote(table, effects);
  enforceDeadlines(table, effects);
  table.cascade.drain(effects);
  table.trim(now);
  const pruned = pruneDue(table, now, limit);
  const nextInMs = nextIn(table, now);
  return {
    at: now.at,
    readied: effects.readiedList,
    ended: effects.endedList,
    more: nextInMs === 0,
    opened: table.takeOpened(),
    pruned,
    deadSessions: table.holders.dead.size,
    nextInMs,
  };
}

function promote(table: TaskTable, effects: Effects): void {
  const now = effects.moment;
  while (effects.hasRoom) {
    const due = table.delays.peek();
    if (due === undefined || due.at > now.at) return;
    const row = table.delays.pop();
    if (row === undefined) return;
    row.entry = undefined;
    table.place(row, now);
    effects.readied(row);
  }
}

function enforceDeadlines(table: TaskTable, effects: Effects): void {
  const now = effects.moment;
  while (effects.hasRoom) {
    const due = table.deadlines.peek();
    if (due === undefined || due.at > now.at) return;
    const row = table.deadlines.pop();
    if (row === undefined) return;
    // What runs may finish; should it come back, its deadline is set again.
    if (row.state === CLAIMED) continue;
    const { local } = row.task;
    table.end(row, DEAD, now, 'DEADLINE');
    effects.ended(row, 'DEADLINE', undefined, local);
  }
}

function pruneDue(table: TaskTable, now: Moment, limit: number): number {
  let pruned = 0;
  for (
    let due = table.retention.nextDue();
    due !== undefined && due.at <= now.at && pruned < limit;
    pruned++
  ) {
    table.prune(due.row);
    due = table.retention.nextDue();
  }
  return pruned;
}

function nextIn(table: TaskTable, now: Moment): number {
  if (table.cascade.hasMore) return 0;
  const at = Math.min(
    table.delays.peek()?.at ?? Number.POSITIVE_INFINITY,
    table.deadlines.peek()?.at ?? Number.POSITIVE_INFINITY,
    table.retention.nextDue()?.at ?? Number.POSITIVE_INFINITY,
  );
  const inMs = Math.max(0, (at - now.at) / 1_000);
  return table.holders.size > 1 ? Math.min(inMs, LOOK_MS) : inMs;
}
