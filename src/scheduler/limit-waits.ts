import { isPromise } from '../core/awaitable.ts';
import type { QueueCounts, TaskFilter, TaskRecord, TaskStore } from '../core/ports/tasks.ts';
import { runNode } from '../core/run-node.ts';
import type { Requirement } from '../core/waits.ts';

const MOST = 1_000;

/**
 * What a ready task waits for whose queue or group runs as many as it may: for some of those to end. Empty when there is room, and when
 * it can't be told here who runs: then no deadlock may be claimed.
 */
export function limitWaits(store: TaskStore, { body }: TaskRecord): readonly Requirement[] {
  const counts = store.counts([body.queue]);
  const [queue] = isPromise(counts) ? [] : counts.queues;
  if (queue === undefined) return [];
  const { maxRunning, maxRunningPerGroup } = queue.settings;
  const requirements: Requirement[] = [];
  if (maxRunning !== undefined && isFull(queue, maxRunning))
    requirements.push(...placesOf(store, { queue: body.queue }, maxRunning));
  if (maxRunningPerGroup !== undefined && body.group !== undefined)
    requirements.push(...placesOf(store, { queue: body.queue, group: body.group }, maxRunningPerGroup));
  return requirements;
}

function isFull({ states }: QueueCounts, limit: number): boolean {
  return states.claimed >= limit;
}

function placesOf(
  store: TaskStore,
  within: { readonly queue: string; readonly group?: string },
  limit: number,
): readonly Requirement[] {
  const filter: TaskFilter = { ...within, state: ['claimed'] };
  const page = store.list(filter, { limit: MOST });
  if (isPromise(page) || page.next !== undefined || page.items.length < limit) return [];
  const blockers = page.items.map(({ id }) => ({ node: runNode(id), frees: 1 }));
  const what = within.group === undefined ? within.queue : `${within.queue}, group ${within.group}`;
  return [{ by: 'slot', what: `a place in ${what}`, blockers, needs: blockers.length - limit + 1 }];
}
