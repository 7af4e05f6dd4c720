import type { Consequences, NewTask, Revision, TaskFilter } from '../../../core/ports/tasks.ts';
import type { Cursor } from '../../../core/ports/words.ts';
import { Effects, MAX_LISTED } from './effects.ts';
import { CANCELLED, CLAIMED, DEAD, isEnded, type Moment, rareOf, type TaskRow, UNMET } from './row.ts';
import { cursorOf, matches, rowsAfter, SCAN_BUDGET } from './selection.ts';
import type { TaskTable } from './table.ts';

export interface ReviseRequest {
  readonly filter: TaskFilter;
  readonly revision: Revision;
  readonly limit: number;
  readonly after?: Cursor;
}

type Change = 'changed' | 'deferred' | 'none';
type Redrive = Extract<Revision, { set: 'redrive' }>;

/** Applies one revision to a page of what matches, in order of enqueue. */
export function revise(
  table: TaskTable,
  { filter, revision, limit, after }: ReviseRequest,
): Consequences & { readonly changed: number; readonly deferred: number; readonly next: Cursor | undefined } {
  const now = table.now();
  const effects = new Effects(now);
  const { rows, next } = page(table, filter, now, Math.min(limit, MAX_LISTED), after);
  const count = { changed: 0, deferred: 0, none: 0 };
  const revivable =
    revision.set === 'redrive' ? rows.filter(({ state }) => state === DEAD || state === CANCELLED) : rows;
  for (const [i, row] of revivable.entries()) {
    const change =
      revision.set === 'redrive'
        ? redrive(table, row, revision, i / revivable.length, effects)
        : apply(table, row, revision, now);
    count[change] += 1;
    if (change === 'changed' && (revision.set === 'redrive' || revision.set === 'delay'))
      effects.readied(row);
  }
  table.cascade.drain(effects);
  table.trim(effects.moment);
  return {
    at: effects.moment.at,
    readied: effects.readiedList,
    ended: effects.endedList,
    more: table.cascade.hasMore || effects.scheduled,
    opened: table.takeOpened(),
    changed: count.changed,
    deferred: count.deferred,
    next,
  };
}

function page(
  table: TaskTable,
  filter: TaskFilter,
  now: Moment,
  limit: number,
  after: Cursor | undefined,
): { readonly rows: readonly TaskRow[]; readonly next: Cursor | undefined } {
  const rows: TaskRow[] = [];
  let scanned = 0;
  let last: TaskRow | undefined;
  for (const row of rowsAfter(table, filter, after)) {
    if (rows.length >= limit || scanned >= SCAN_BUDGET) return { rows, next: cursorOf(last) };
    scanned += 1;
    last = row;
    if (matches(row, filter, now)) rows.push(row);
  }
  return { rows, next: undefined };
}

function apply(table: TaskTable, row: TaskRow, revision: Exclude<Revision, Redrive>, now: Moment): Change {
  switch (revision.set) {
    case 'priority':
      return edit(table, row, { priority: revision.priority });
    case 'payload':
      return edit(table, row, { payload: revision.payload });
    case 'discard':
      if (!isEnded(row)) return 'none';
      table.prune(row);
      return 'changed';
    default:
      if (row.state === CLAIMED || isEnded(row)) return 'none';
      if (revision.set === 'age') table.age(row, revision.ageMs);
      else if (revision.set === 'delay') table.reschedule(row, now, revision.delayMs);
      else table.relocate(row, () => table.pin(row, revision.agent));
      return 'changed';
  }
}

/** Changes the body: later for a claimed task, never for one that ended well. */
function edit(
  table: TaskTable,
  row: TaskRow,
  change: Partial<Pick<NewTask, 'priority' | 'payload'>>,
): Change {
  if (row.state === CLAIMED) {
    const rare = rareOf(row);
    rare.deferred = { ...rare.deferred, ...change };
    return 'deferred';
  }
  if (isEnded(row) && row.state !== DEAD && row.state !== CANCELLED) return 'none';
  table.relocate(row, () => {
    row.task = { ...row.task, ...change };
  });
  return 'changed';
}

/**
 * Dead or cancelled → begins again. It waits for parents that may still succeed; those that have failed stand in its way no more.
 * @param share where in the spread its due time lies, 0..1
 */
function redrive(
  table: TaskTable,
  row: TaskRow,
  revision: Redrive,
  share: number,
  { moment }: Effects,
): Change {
  // Without UNMET all its parents are behind it, although some may be forgotten by now.
  const edges = (row.flags & UNMET) === 0 ? [] : table.graph.unmet(row.task.dependsOn);
  if (edges.length > 0 && table.graph.cycle(row.task.id, edges) !== undefined) return 'none';
  table.revive(row);
  const rare = rareOf(row);
  rare.reason = undefined;
  rare.moves = 0;
  rare.redriven = moment;
  if (revision.resetAttempts) {
    row.attempt = 0;
    rare.crashes = 0;
  }
  table.deadlines.arm(row);
  row.readied = table.due(moment, revision.delayMs + revision.spreadMs * share);
  if (edges.length > 0) {
    table.graph.attach(row, edges);
    table.wait(row, moment);
  } else table.place(row, moment);
  return 'changed';
}
