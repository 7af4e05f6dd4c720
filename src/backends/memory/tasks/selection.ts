import type { ListRequest, TaskFilter, TaskRecord } from '../../../core/ports/tasks.ts';
import type { Cursor, Page, PageRequest } from '../../../core/ports/words.ts';
import { recordOf } from './record.ts';
import { type Moment, type StateCode, stateName, type TaskRow } from './row.ts';
import type { TaskTable } from './table.ts';

/** Rows that one call looks at. */
export const SCAN_BUDGET = 20_000;

/** A row at its place in a list, and what a cursor needs to go on behind it. */
interface Placed {
  readonly row: TaskRow;
  readonly major: number;
  readonly minor: number;
}

type Place = Pick<Placed, 'major' | 'minor'>;

/** A page of records: newest first by enqueue, or by end, or the ready ones in claim order. */
export function list(table: TaskTable, filter: TaskFilter, page: ListRequest): Page<TaskRecord> {
  const now = table.now();
  const after = placeOf(page.after);
  switch (page.order ?? 'newest') {
    case 'queue':
      // Only so many from the head of each lane are in order for sure.
      return read(inClaimOrder(table, filter, after, page), filter, { ...page, scanBudget: page.limit }, now);
    case 'ended':
      return read(byEnd(table, after), filter, page, now);
    default:
      return read(byNewest(table, filter, after), filter, page, now);
  }
}

/** Rows that may match, from the oldest by enqueue, behind a cursor. */
export function rowsAfter(
  table: TaskTable,
  filter: TaskFilter,
  after: Cursor | undefined,
): Iterable<TaskRow> {
  const seq = placeOf(after)?.major ?? 0;
  const few = fewOf(table, filter);
  if (few === undefined) return table.index.after(seq);
  return few.filter((row) => row.seq > seq).toSorted((a, b) => a.seq - b.seq);
}

/** The cursor of {@link rowsAfter} behind a row. */
export function cursorOf(row: TaskRow | undefined): Cursor | undefined {
  return row === undefined ? undefined : toCursor({ major: row.seq, minor: 0 });
}

export function matches(row: TaskRow, filter: TaskFilter, now: Moment): boolean {
  const { task, rare } = row;
  return (
    (filter.ids === undefined || filter.ids.includes(task.id)) &&
    (filter.state === undefined || filter.state.includes(stateName(row.state as StateCode))) &&
    isOrAbsent(filter.queue, task.queue) &&
    isOrAbsent(filter.type, task.type) &&
    isOrAbsent(filter.agent, task.agent) &&
    isOrAbsent(filter.group, task.group) &&
    isOrAbsent(filter.key, task.key) &&
    isOrAbsent(filter.parent, task.parent) &&
    isOrAbsent(filter.errorSignature, rare?.signature) &&
    (filter.errorText === undefined || textOf(rare?.lastError).includes(filter.errorText)) &&
    (filter.olderThanMs === undefined || now.at - row.enqueued.at > filter.olderThanMs * 1_000)
  );
}

function read(
  rows: Iterable<Placed>,
  filter: TaskFilter,
  { limit, scanBudget = SCAN_BUDGET }: PageRequest,
  { at }: Moment,
): Page<TaskRecord> {
  const items: TaskRecord[] = [];
  let scanned = 0;
  let last: Place | undefined;
  for (const placed of rows) {
    if (items.length >= limit || scanned >= scanBudget) return { at, items, next: toCursor(last), scanned };
    scanned += 1;
    last = placed;
    if (matches(placed.row, filter, { at })) items.push(recordOf(placed.row, false));
  }
  return { at, items, next: undefined, scanned };
}

function* byNewest(table: TaskTable, filter: TaskFilter, after: Place | undefined): Generator<Placed> {
  const seq = after?.major ?? Number.POSITIVE_INFINITY;
  const few = fewOf(table, filter);
  const rows =
    few === undefined
      ? table.index.before(seq)
      : few.filter((row) => row.seq < seq).toSorted((a, b) => b.seq - a.seq);
  for (const row of rows) yield { row, major: row.seq, minor: 0 };
}

function byEnd(table: TaskTable, after: Place | undefined): readonly Placed[] {
  const ended: Placed[] = [];
  for (const row of table.retention.rows()) ended.push({ row, major: row.ended?.at ?? 0, minor: row.seq });
  ended.sort((a, b) => b.major - a.major || b.minor - a.minor);
  return after === undefined ? ended : ended.filter((placed) => isBehind(after, placed));
}

/**
 * The first `limit` + 1 ready rows behind a place: what comes first overall is among the first of each lane. Of each lane at most `each`,
 * those before the place included.
 */
function inClaimOrder(
  table: TaskTable,
  { queue: wanted }: TaskFilter,
  after: Place | undefined,
  { limit, each = Number.POSITIVE_INFINITY }: ListRequest,
): readonly Placed[] {
  const heads: Placed[] = [];
  for (const queue of table.queues.values()) {
    if (!isOrAbsent(wanted, queue.name)) continue;
    for (const lane of queue.lanes()) {
      let taken = 0;
      let seen = 0;
      for (const row of lane.rows()) {
        seen += 1;
        if (seen > each) break;
        const placed = { row, major: (row.ranked?.at ?? 0) - lane.boost, minor: row.order };
        if (after !== undefined && !isBehind(placed, after)) continue;
        heads.push(placed);
        taken += 1;
        if (taken > limit) break;
      }
    }
  }
  return heads.sort((a, b) => a.major - b.major || a.minor - b.minor).slice(0, limit + 1);
}

/** The rows of a filter that names few of them; `undefined`: all have to be looked at. */
function fewOf(table: TaskTable, { ids, key, state }: TaskFilter): readonly TaskRow[] | undefined {
  if (ids !== undefined) return [...new Set(ids)].flatMap((id) => table.rows.get(id) ?? []);
  if (key !== undefined) {
    const row = table.keys.get(key);
    return row === undefined ? [] : [row];
  }
  if (state === undefined || state.length === 0) return undefined;
  if (state.every((name) => ENDED_NAMES.has(name))) return endedAs(table, new Set(state));
  if (state.every((name) => name === 'claimed')) return claimed(table);
  const isScheduled = state.every((name) => name === 'scheduled') && table.delays.size <= SCAN_BUDGET;
  return isScheduled ? [...table.delays.rows()] : undefined;
}

const ENDED_NAMES: ReadonlySet<string> = new Set(['completed', 'dead', 'cancelled', 'skipped']);

/** Those of these states alone: few dead letters may lie among many rows that are kept. */
function endedAs(table: TaskTable, states: ReadonlySet<string>): readonly TaskRow[] {
  const rows: TaskRow[] = [];
  for (const row of table.retention.rows()) if (states.has(stateName(row.state as StateCode))) rows.push(row);
  return rows;
}

function claimed(table: TaskTable): readonly TaskRow[] {
  const rows: TaskRow[] = [];
  for (const { claims } of table.holders.all()) {
    for (let row = claims.first; row !== undefined; row = row.next) rows.push(row);
  }
  return rows;
}

/** Whether `a` has the higher numbers. */
function isBehind(a: Place, b: Place): boolean {
  return a.major > b.major || (a.major === b.major && a.minor > b.minor);
}

function toCursor(place: Place | undefined): Cursor | undefined {
  return place === undefined ? undefined : (`${place.major}:${place.minor}` as Cursor);
}

/** Text that is no cursor of ours begins at the beginning. */
function placeOf(cursor: Cursor | undefined): Place | undefined {
  const [major, minor] = (cursor ?? '').split(':').map(Number);
  return major === undefined || minor === undefined || Number.isNaN(major) || Number.isNaN(minor)
    ? undefined
    : { major, minor };
}

function isOrAbsent(wanted: string | undefined, found: string | undefined): boolean {
  return wanted === undefined || wanted === found;
}

function textOf(error: unknown): string {
  if (error === undefined) return '';
  return typeof error === 'string' ? error : JSON.stringify(error);
}
