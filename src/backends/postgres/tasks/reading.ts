import type {
  ListRequest,
  QueueCounts,
  QueueSettings,
  TaskFilter,
  TaskRecord,
  TaskState,
  Transition,
} from '../../../core/ports/tasks.ts';
import type { BackendTime, Cursor, Page, PageRequest, Stamped } from '../../../core/ports/words.ts';
import { TASK_STATES } from '../../../core/task-states.ts';
import type { Database } from '../database.ts';
import { parseAnswer } from './answers.ts';
import { TextLists } from './text-lists.ts';

const GET = 'select agentmesh.task_get_v1($1, $2) as answer';
const LIST = 'select agentmesh.task_list_v1($1, $2, $3, $4) as answer';
const LIST_ENDED = 'select agentmesh.task_list_ended_v1($1, $2, $3, $4, $5) as answer';
const LIST_QUEUE = 'select agentmesh.task_list_queue_v1($1, $2, $3, $4, $5) as answer';
const HISTORY_OF = 'select agentmesh.task_history_of_v1($1, $2, $3) as answer';
const HISTORY = 'select agentmesh.task_history_v1($1, $2, $3, $4, $5, $6, $7, $8, $9) as answer';
const QUEUES = 'select agentmesh.task_queues_v1($1) as answer';

const SCAN_BUDGET = 20_000;
const DEFAULT_SETTINGS: QueueSettings = { paused: false, ageStepMs: 10_000 };

/** A record as the server spells it: flat. */
type RecordRow = Omit<TaskRecord, 'body' | 'waitingFor'> &
  TaskRecord['body'] & { readonly waitingFor?: readonly string[] };

type PageAnswer<T, Next> = Stamped & {
  readonly items: readonly T[];
  readonly next: Next | null;
  readonly scanned: number;
};

type QueueRow = readonly [
  queue: string,
  settings: QueueSettings | null,
  revision: number,
  counters: readonly number[],
  oldestReadyAt: BackendTime | null,
];

/** Everything that changes nothing. */
export class Reading {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  async get(ids: readonly string[]): Promise<readonly (TaskRecord | undefined)[]> {
    if (ids.length === 0) return [];
    const lists = new TextLists(ids);
    const rows = await this.#ask<readonly (RecordRow | null)[]>(GET, [lists.separator, lists.all(ids)]);
    return rows.map((row) => (row === null ? undefined : recordOf(row, true)));
  }

  async list(filter: TaskFilter, page: ListRequest): Promise<Page<TaskRecord>> {
    const { limit, scanBudget = SCAN_BUDGET, after, order = 'newest', each } = page;
    const wanted = filterText(filter);
    const [major, minor] = placeOf(after);
    const { at, items, next, scanned } = await (order === 'queue'
      ? this.#ask<PageAnswer<RecordRow, string>>(LIST_QUEUE, [wanted, major, minor, limit, each ?? null])
      : order === 'ended'
        ? this.#ask<PageAnswer<RecordRow, string>>(LIST_ENDED, [wanted, major, minor, limit, scanBudget])
        : this.#ask<PageAnswer<RecordRow, number>>(LIST, [wanted, major, limit, scanBudget]));
    return { at, items: items.map((row) => recordOf(row, false)), next: cursorOf(next), scanned };
  }

  async history(
    { task, queue }: { readonly task?: string; readonly queue?: string },
    { after, limit, scanBudget = SCAN_BUDGET }: PageRequest,
  ): Promise<Page<Transition>> {
    if (task !== undefined) {
      const [from] = placeOf(after);
      const page = await this.#ask<PageAnswer<Transition, number>>(HISTORY_OF, [task, from ?? 0, limit]);
      const items = queue === undefined ? page.items : await this.#ofQueue(page.items, task, queue);
      return { ...page, items, next: cursorOf(page.next) };
    }
    const [pos, place, seen, latePos, latePlace, late] = parseCursor(after);
    const page = await this.#ask<PageAnswer<Transition, HistoryPlace>>(HISTORY, [
      queue ?? null,
      pos,
      place,
      `{${seen.join(',')}}`,
      latePos,
      latePlace,
      late === null ? null : `{${late.join(',')}}`,
      limit,
      scanBudget,
    ]);
    return { ...page, next: page.next === null ? undefined : (JSON.stringify(page.next) as Cursor) };
  }

  async counts(names?: readonly string[]): Promise<Stamped & { readonly queues: readonly QueueCounts[] }> {
    const { at, queues } = await this.#ask<Stamped & { readonly queues: readonly QueueRow[] }>(QUEUES, [
      names ?? null,
    ]);
    const counted = queues.map(countsOf);
    if (names === undefined) return { at, queues: counted };
    const byName = new Map(counted.map((one) => [one.queue, one]));
    return { at, queues: names.map((name) => byName.get(name) ?? countsOf([name, null, 0, [], null])) };
  }

  async #ofQueue(items: readonly Transition[], task: string, queue: string): Promise<readonly Transition[]> {
    const [record] = await this.get([task]);
    return record === undefined || record.body.queue === queue ? items : [];
  }

  async #ask<T>(text: string, values: readonly unknown[]): Promise<T> {
    return parseAnswer(await this.#db.read(text, values)) as T;
  }
}

/** A filter as the server reads it; a text is also looked for as it stands inside of JSON text. */
export function filterText({ errorText, ...filter }: TaskFilter): string {
  if (errorText === undefined) return JSON.stringify(filter);
  return JSON.stringify({ ...filter, errorText, errorQuoted: JSON.stringify(errorText).slice(1, -1) });
}

/** The numbers of a cursor; text that is no cursor of ours begins at the beginning. */
export function placeOf(cursor: Cursor | undefined): readonly [number | null, number | null] {
  if (cursor === undefined || !/^-?\d{1,16}(:\d{1,16})?$/.test(cursor)) return [null, null];
  const [major, minor] = cursor.split(':').map(Number);
  return [major ?? null, minor ?? null];
}

export function cursorOf(next: string | number | null): Cursor | undefined {
  return next === null ? undefined : (String(next) as Cursor);
}

function recordOf(row: RecordRow, full: boolean): TaskRecord {
  const {
    queue,
    type,
    payload,
    priority,
    capabilities,
    weight,
    placement,
    key,
    headers,
    group,
    agent,
    parent,
    settings,
    waitingFor = [],
    ...rest
  } = row;
  return {
    ...rest,
    waitingFor,
    body: {
      id: row.id,
      queue,
      type,
      payload: full ? payload : undefined,
      priority,
      capabilities,
      weight,
      ...(placement === undefined ? {} : { placement }),
      ...(key === undefined ? {} : { key }),
      ...(headers === undefined ? {} : { headers }),
      ...(group === undefined ? {} : { group }),
      ...(agent === undefined ? {} : { agent }),
      ...(parent === undefined ? {} : { parent }),
      ...(settings === undefined ? {} : { settings }),
    },
  };
}

function countsOf([queue, settings, revision, counters, oldestReadyAt]: QueueRow): QueueCounts {
  const [enqueued = 0, pruned = 0, attempts = 0, staleSettles = 0, duplicates = 0, weight = 0] =
    counters.slice(8);
  const states = Object.fromEntries(TASK_STATES.map((name, i) => [name, counters[i] ?? 0])) as Record<
    TaskState,
    number
  >;
  return {
    queue,
    settings: settings ?? DEFAULT_SETTINGS,
    revision,
    states,
    totals: { enqueued, pruned, attempts, staleSettles, duplicates },
    // With nothing ready what is left of the sum is rounding.
    readyWeight: states.ready === 0 ? 0 : weight,
    ...(oldestReadyAt === null ? {} : { oldestReadyAt }),
  };
}

/** How far all was read, what was visible then, and how far the look behind came that one page didn't end. */
type HistoryPlace = readonly [
  pos: number,
  place: number,
  seen: readonly number[],
  latePos: number,
  latePlace: number,
  late: readonly number[] | null,
];

const HISTORY_PLACE =
  /^\[(-1|\d{1,16}),\d{1,9},\[\d{1,16}(,\d{1,16})+\],(-1|\d{1,16}),\d{1,9},(null|\[\d{1,16}(,\d{1,16})+\])\]$/;

function parseCursor(cursor: Cursor | undefined): HistoryPlace {
  if (cursor === undefined || !HISTORY_PLACE.test(cursor)) return [-1, 0, [], -1, 0, null];
  return JSON.parse(cursor) as HistoryPlace;
}
