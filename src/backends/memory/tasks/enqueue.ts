import { sameJson } from '../../../core/json.ts';
import type { EnqueueAnswer, EnqueueResult, NewTask } from '../../../core/ports/tasks.ts';
import { Effects } from './effects.ts';
import {
  CANCELLED,
  CLAIMED,
  isEnded,
  type Moment,
  READY,
  SCHEDULED,
  SKIPPED,
  type StateCode,
  stateName,
  type TaskRow,
  UNMET,
  WAITING,
} from './row.ts';
import { parentReason, type TaskTable } from './table.ts';
import type { TaskQueue } from './task-queue.ts';

type Enqueued = Extract<EnqueueResult, { status: 'enqueued' }>;

/** The answers that carry nothing of their own, made once. */
const ENQUEUED = {
  [WAITING]: Object.freeze({ status: 'enqueued', state: 'waiting' }),
  [SCHEDULED]: Object.freeze({ status: 'enqueued', state: 'scheduled' }),
  [READY]: Object.freeze({ status: 'enqueued', state: 'ready' }),
  [CANCELLED]: Object.freeze({ status: 'enqueued', state: 'cancelled' }),
  [SKIPPED]: Object.freeze({ status: 'enqueued', state: 'skipped' }),
} as const satisfies Partial<Record<StateCode, Enqueued>>;

/** Stores tasks one after the other, so each may refer to those before it in the batch and to those to come. */
export function enqueue(table: TaskTable, tasks: readonly NewTask[]): EnqueueAnswer {
  const now = table.now();
  // Of exact length: a first push would make room for 17.
  const results = new Array<EnqueueResult>(tasks.length);
  for (let i = 0; i < tasks.length; i++) results[i] = enqueueOne(table, tasks[i] as NewTask, now, false);
  return answer(table, results, now);
}

function answer(table: TaskTable, results: readonly EnqueueResult[], now: Moment): EnqueueAnswer {
  if (!table.cascade.hasMore) {
    table.trim(now);
    return { at: now.at, readied: NONE, ended: NONE, more: false, opened: false, results };
  }
  const effects = new Effects(now);
  table.cascade.drain(effects);
  table.trim(now);
  const { readiedList: readied, endedList: ended } = effects;
  return {
    at: now.at,
    readied,
    ended,
    more: table.cascade.hasMore || effects.scheduled,
    opened: table.takeOpened(),
    results,
  };
}

/** Stores one task: see `QuickTasks`. */
export function enqueueAlone(table: TaskTable, task: NewTask, isNew: boolean): EnqueueResult | EnqueueAnswer {
  const { clock } = table.core;
  // A time that was read a while ago would make what is counted from it come too early (T8).
  const isTimed = task.delayMs !== undefined || task.limits.deadlineMs !== undefined;
  const now = table.now(isTimed ? clock.now() : clock.coarse());
  const result = enqueueOne(table, task, now, isNew);
  return table.cascade.hasMore ? answer(table, [result], now) : result;
}

const NONE: readonly never[] = Object.freeze([]);

function enqueueOne(table: TaskTable, task: NewTask, now: Moment, isNew: boolean): EnqueueResult {
  const sameId = isNew ? undefined : table.rows.get(task.id);
  if (sameId !== undefined) return repeated(sameId, task);
  const sameKey = task.key === undefined ? undefined : table.keys.get(task.key);
  if (sameKey !== undefined) {
    if (task.onDuplicate === undefined) return repeated(sameKey, task);
    if (isReplaceable(sameKey)) return replace(table, sameKey, task, now);
    // A claimed or ended one gives its key up when the new task is stored.
  }
  const queue = table.queue(task.queue);
  const full = fullOf(queue);
  if (full !== undefined) return full;
  return task.dependsOn.length === 0
    ? begin(table, task, queue, now, isNew)
    : beginDependent(table, task, queue, now, isNew);
}

function fullOf(queue: TaskQueue): EnqueueResult | undefined {
  const { maxLength } = queue.settings;
  if (maxLength === undefined || queue.length < maxLength) return undefined;
  return { status: 'full', queue: queue.name, length: queue.length };
}

function begin(table: TaskTable, task: NewTask, queue: TaskQueue, now: Moment, isNew: boolean): Enqueued {
  const row = table.insert(task, queue, now, isNew);
  table.graph.adopt(row);
  row.readied = task.delayMs === undefined ? now : table.due(now, task.delayMs);
  table.place(row, now);
  return row.state === READY ? ENQUEUED[READY] : ENQUEUED[SCHEDULED];
}

function beginDependent(
  table: TaskTable,
  task: NewTask,
  queue: TaskQueue,
  now: Moment,
  isNew: boolean,
): EnqueueResult {
  const { graph } = table;
  // Nobody can wait for an id that was made for this task.
  const path = isNew ? undefined : graph.cycle(task.id, task.dependsOn);
  if (path !== undefined) return { status: 'cycle', path };
  const row = table.insert(task, queue, now, isNew);
  graph.adopt(row);
  const doom = graph.attach(row, task.dependsOn);
  if (doom !== undefined) {
    row.flags |= UNMET;
    table.end(row, doom.as, now, parentReason(doom.parent));
    return ENQUEUED[doom.as];
  }
  row.readied = task.delayMs === undefined ? now : table.due(now, task.delayMs);
  if (row.deps === undefined || row.deps.pending === 0) {
    table.place(row, now);
    return row.state === READY ? ENQUEUED[READY] : ENQUEUED[SCHEDULED];
  }
  table.wait(row, now);
  return ENQUEUED[WAITING];
}

function isReplaceable(row: TaskRow): boolean {
  return row.state !== CLAIMED && !isEnded(row);
}

function repeated(row: TaskRow, task: NewTask): EnqueueResult {
  if (!hasSamePayload(row.task, task)) return { status: 'conflict', id: row.task.id };
  row.queue.totals.duplicates += 1;
  return duplicateOf(row, false);
}

/**
 * Swaps all that a submission under the same key states but its id and its time; `debounce` also lets it wait anew. What it waits for can't
 * be swapped: other dependencies are a conflict, as another queue or type is; none keep those there are.
 */
function replace(table: TaskTable, row: TaskRow, task: NewTask, now: Moment): EnqueueResult {
  const { id, queue, type, dependsOn, local } = row.task;
  const swapsEdges = task.dependsOn.length > 0 && !hasSameEdges(dependsOn, task.dependsOn);
  if (task.queue !== queue || task.type !== type || swapsEdges) return { status: 'conflict', id };
  row.queue.totals.duplicates += 1;
  const { local: _local, ...stated } = task;
  table.replace(row, { ...stated, id, dependsOn, ...(local === undefined ? {} : { local }) }, now);
  if (task.onDuplicate === 'debounce') table.reschedule(row, now, task.delayMs ?? 0);
  return duplicateOf(row, true);
}

function hasSameEdges(a: NewTask['dependsOn'], b: NewTask['dependsOn']): boolean {
  if (a.length !== b.length) return false;
  const policies = new Map(a.map(({ parent, onFailure }) => [parent, onFailure]));
  return b.every(({ parent, onFailure }) => policies.get(parent) === onFailure);
}

function duplicateOf(row: TaskRow, replaced: boolean): EnqueueResult {
  const { id, local } = row.task;
  const state = stateName(row.state as StateCode);
  return { status: 'duplicate', id, state, replaced, ...(local === undefined ? {} : { local }) };
}

function hasSamePayload(a: NewTask, b: NewTask): boolean {
  if (a.queue !== b.queue || a.type !== b.type) return false;
  return wasDropped(a) || sameJson(a.payload, b.payload);
}

/** With `keepMs: 0` a task without key has no payload any more once it has ended; there is nothing to compare. */
function wasDropped(task: NewTask): boolean {
  return task.payload === undefined && task.key === undefined && task.limits.keepMs <= 0;
}
