import { isPromise } from '../core/awaitable.ts';
import type { QueueCounts, TaskFilter, TaskRecord, TaskStore } from '../core/ports/tasks.ts';
import type { LimitFacts } from './limit-waits.ts';

/** What the store knows of tasks, as the search for deadlocks reads it: in place, or from a picture that was fetched before. */
export interface StoredFacts extends LimitFacts {
  record(id: string): TaskRecord | undefined;
}

/** Rounds of look-ups: each goes one step further along the dependencies. */
const MAX_STEPS = 20;
const MOST_RECORDS = 1_000;
const BATCH = 250;

/** Of a store that answers in place; one that doesn't has no facts here. */
export function factsInPlace(store: TaskStore): StoredFacts {
  return {
    record(id) {
      const records = store.get([id]);
      return isPromise(records) ? undefined : records[0];
    },
    queue(name) {
      const counts = store.counts([name]);
      return isPromise(counts) ? undefined : counts.queues[0];
    },
    claimed(filter, most) {
      const page = store.list(filter, { limit: most });
      return isPromise(page) || page.next !== undefined ? undefined : page.items;
    },
  };
}

/**
 * Fetches what is known of awaited tasks and of what those depend on. Not one snapshot: a task may go on between two reads. So a deadlock
 * is claimed only where all that it is made of still stands when the victim's wait is ended.
 */
export async function fetchFacts(store: TaskStore, ids: Iterable<string>): Promise<StoredFacts> {
  const records = new Map<string, TaskRecord | undefined>();
  let next = [...new Set(ids)];
  for (let step = 0; next.length > 0 && step < MAX_STEPS && records.size < MOST_RECORDS; step++) {
    const asked = next.slice(0, BATCH);
    const answers = await store.get(asked);
    asked.forEach((id, i) => records.set(id, answers[i]));
    const parents = answers.flatMap((record) => (record?.state === 'waiting' ? record.waitingFor : []));
    next = [...new Set([...next.slice(BATCH), ...parents])].filter((id) => !records.has(id));
  }
  const ready = [...records.values()].filter((record) => record?.state === 'ready') as TaskRecord[];
  const queues = await queuesOf(store, ready);
  const claimed = await claimedBeside(store, ready, queues);
  return {
    record: (id) => records.get(id),
    queue: (name) => queues.get(name),
    claimed: (filter) => claimed.get(keyOf(filter)),
  };
}

async function queuesOf(
  store: TaskStore,
  records: readonly TaskRecord[],
): Promise<ReadonlyMap<string, QueueCounts>> {
  const names = [...new Set(records.map(({ body }) => body.queue))];
  if (names.length === 0) return new Map();
  const { queues } = await store.counts(names);
  return new Map(queues.map((queue) => [queue.queue, queue]));
}

/** Who runs where a limit may be reached. */
async function claimedBeside(
  store: TaskStore,
  records: readonly TaskRecord[],
  queues: ReadonlyMap<string, QueueCounts>,
): Promise<ReadonlyMap<string, readonly TaskRecord[] | undefined>> {
  const filters = new Map<string, TaskFilter>();
  for (const { body } of records) {
    const { maxRunning, maxRunningPerGroup } = queues.get(body.queue)?.settings ?? {};
    const { queue, group } = body;
    const add = (filter: TaskFilter): unknown => filters.set(keyOf(filter), filter);
    if (maxRunning !== undefined) add({ queue, state: ['claimed'] });
    if (maxRunningPerGroup !== undefined && group !== undefined) add({ queue, group, state: ['claimed'] });
  }
  const found = new Map<string, readonly TaskRecord[] | undefined>();
  for (const [key, filter] of filters) {
    const page = await store.list(filter, { limit: MOST_RECORDS });
    found.set(key, page.next === undefined ? page.items : undefined);
  }
  return found;
}

function keyOf({ queue, group }: TaskFilter): string {
  return JSON.stringify([queue, group]);
}
