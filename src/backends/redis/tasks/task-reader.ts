import { TASK_STATES } from '../../../core/task-states.ts';
import type {
  ListRequest,
  QueueCounts,
  QueueSettings,
  TaskFilter,
  TaskRecord,
  TaskState,
  Transition,
} from '../../../core/ports/tasks.ts';
import type { Cursor, Page, PageRequest, SessionNumber, Stamped } from '../../../core/ports/words.ts';
import type { RedisStore } from '../connection.ts';
import { defineScript } from '../scripts.ts';
import { kindsOfReply, type ReadReply, timeOf } from './answers.ts';
import { transitionsOf } from './log-items.ts';
import { COUNTS, GET, HISTORY, LIST_ENDED, LIST_NEWEST, LIST_QUEUE } from './lua/reads.ts';
import { type Holding, recordOf } from './records.ts';
import { filterArguments } from './requests.ts';
import { letterOf } from './states.ts';
import { fromStored, toStored } from './text.ts';

const SCRIPTS = {
  get: defineScript('task-get', GET),
  newest: defineScript('task-list-newest', LIST_NEWEST),
  ended: defineScript('task-list-ended', LIST_ENDED),
  queue: defineScript('task-list-queue', LIST_QUEUE),
  history: defineScript('task-history', HISTORY),
  counts: defineScript('task-counts', COUNTS),
};

/** Rows that one call looks at. */
const SCAN_BUDGET = 20_000;
/** Tasks that one script fetches. */
const MOST_FETCHED = 250;
/** Entries of the log that one script passes over. */
const ENTRIES = 128;
const DEFAULT_SETTINGS: QueueSettings = { paused: false, ageStepMs: 10_000 };

/** What a store of tasks is asked without changing anything. A long answer is made of several scripts, so that none keeps others waiting. */
export class TaskReader {
  readonly #store: RedisStore;

  constructor(store: RedisStore) {
    this.#store = store;
  }

  async get(ids: readonly string[]): Promise<readonly (TaskRecord | undefined)[]> {
    const found = new Map<string, TaskRecord>();
    for (let from = 0; from < ids.length; from += MOST_FETCHED) {
      const some = ids.slice(from, from + MOST_FETCHED).map(toStored);
      const reply = (await this.#store.run(SCRIPTS.get, some, 'read')) as ReadReply;
      for (const record of recordsOf(reply, true)) found.set(record.id, record);
    }
    return ids.map((id) => found.get(id));
  }

  async list(filter: TaskFilter, page: ListRequest): Promise<Page<TaskRecord>> {
    const { limit, after = '', order = 'newest', scanBudget = SCAN_BUDGET, each = 1e9 } = page;
    if (order === 'newest') return this.#newest(filter, limit, after, scanBudget);
    const head = order === 'ended' ? [limit, after] : [limit, after, each];
    const script = order === 'ended' ? SCRIPTS.ended : SCRIPTS.queue;
    const reply = (await this.#store.run(script, [...head, ...filterArguments(filter)], 'read')) as ReadReply;
    return {
      at: timeOf(reply[0]),
      items: recordsOf(reply, false),
      next: cursorOf(reply[7]),
      scanned: Math.min(reply[8], scanBudget),
    };
  }

  async history(
    { task, queue }: { readonly task?: string; readonly queue?: string },
    { after = '' as Cursor, limit, scanBudget = SCAN_BUDGET }: PageRequest,
  ): Promise<Page<Transition>> {
    const items: Transition[] = [];
    const wanted = task === undefined ? '' : toStored(task);
    let [entry = '', index = '0'] = after.split(':');
    let passed = Number(index);
    let scanned = 0;
    for (;;) {
      const reply = (await this.#store.run(SCRIPTS.history, [entry, ENTRIES, wanted], 'read')) as readonly [
        string,
        number,
        string,
        ...string[],
      ];
      const [at, more, last, ...found] = reply;
      for (let i = 0; i < found.length; i += 3) {
        const [id = '', time = '', text = ''] = found.slice(i, i + 3);
        const all = transitionsOf(time, text);
        const from = id === entry ? passed : 0;
        for (let n = from; n < all.length; n++) {
          if (items.length >= limit || scanned >= scanBudget)
            return { at: timeOf(at), items, next: `${id}:${n}` as Cursor, scanned };
          scanned += 1;
          const { queue: name, ...transition } = all[n] as Transition & { readonly queue: string };
          if (task !== undefined && transition.task !== task) continue;
          if (queue === undefined || name === queue) items.push(transition);
        }
      }
      if (more === 0) return { at: timeOf(at), items, next: undefined, scanned };
      entry = `(${last}`;
      passed = 0;
      index = '';
    }
  }

  async counts(queues?: readonly string[]): Promise<Stamped & { readonly queues: readonly QueueCounts[] }> {
    const names = (queues ?? []).map(toStored);
    if (queues !== undefined && names.length === 0) return { at: await this.#store.now(), queues: [] };
    const [at, ...parts] = (await this.#store.run(SCRIPTS.counts, names, 'read')) as readonly [
      string,
      ...unknown[],
    ];
    const counted: QueueCounts[] = [];
    for (let i = 0; i < parts.length; i += 3) {
      counted.push(countsOf(parts[i] as string, parts[i + 1] as readonly string[], parts[i + 2] as string));
    }
    return { at: timeOf(at), queues: counted };
  }

  async #newest(
    filter: TaskFilter,
    limit: number,
    after: string,
    scanBudget: number,
  ): Promise<Page<TaskRecord>> {
    const items: TaskRecord[] = [];
    let scanned = 0;
    let next = after;
    for (;;) {
      const head = [limit - items.length, scanBudget - scanned, next];
      const args = [...head, ...filterArguments(filter)];
      const reply = (await this.#store.run(SCRIPTS.newest, args, 'read')) as ReadReply;
      items.push(...recordsOf(reply, false));
      next = reply[7];
      scanned += reply[8];
      if (next === '' || items.length >= limit || scanned >= scanBudget)
        return { at: timeOf(reply[0]), items, next: cursorOf(next), scanned };
    }
  }
}

function recordsOf(reply: ReadReply, full: boolean): readonly TaskRecord[] {
  const [, ids, records, sessions, rights] = reply;
  const kinds = kindsOfReply(reply);
  return ids.map((id, i) => {
    const session = sessions[i] as string;
    const held = session === '' ? undefined : holdingOf(session, rights[i] as string);
    return recordOf(id, records[i] as string, held, kinds, full);
  });
}

function holdingOf(session: string, right: string): Holding {
  return {
    session: Number(session) as SessionNumber,
    token: Number(right.slice(1)),
    started: right.startsWith('s'),
  };
}

function cursorOf(text: string): Cursor | undefined {
  return text === '' ? undefined : (text as Cursor);
}

function countsOf(queue: string, hash: readonly string[], oldest: string): QueueCounts {
  const fields = new Map<string, string>();
  for (let i = 0; i < hash.length; i += 2) fields.set(hash[i] as string, hash[i + 1] as string);
  const count = (name: string): number => Number(fields.get(name) ?? 0);
  const states = Object.fromEntries(TASK_STATES.map((state) => [state, count(letterOf(state))]));
  const settings = fields.get('j');
  return {
    queue: fromStored(queue),
    settings: settings === undefined ? DEFAULT_SETTINGS : (JSON.parse(settings) as QueueSettings),
    revision: count('v'),
    states: states as Record<TaskState, number>,
    totals: {
      enqueued: count('e'),
      pruned: count('p'),
      attempts: count('a'),
      staleSettles: count('x'),
      duplicates: count('u'),
    },
    readyWeight: count('r') - count('on') + count('ow'),
    ...(oldest === '' ? {} : { oldestReadyAt: timeOf(oldest) }),
  };
}
