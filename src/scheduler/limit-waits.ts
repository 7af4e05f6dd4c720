import type { QueueCounts, TaskFilter, TaskRecord } from '../core/ports/tasks.ts';
import { runNode } from '../core/run-node.ts';
import type { Requirement } from '../core/waits.ts';

const MOST = 1_000;

/** What is read of a store to tell what a ready task waits for. */
export interface LimitFacts {
  /** `undefined`: it can't be told now. */
  queue(name: string): QueueCounts | undefined;
  /** All claimed tasks that match, at most {@link MOST}; `undefined`: there are more, or it can't be told now. */
  claimed(filter: TaskFilter, most: number): readonly TaskRecord[] | undefined;
}

/**
 * What a ready task waits for whose queue or group runs as many as it may: for some of those to end. Empty when there is room, and when
 * it can't be told here who runs: then no deadlock may be claimed.
 */
export function limitWaits(facts: LimitFacts, { body }: TaskRecord): readonly Requirement[] {
  const queue = facts.queue(body.queue);
  if (queue === undefined) return [];
  const { maxRunning, maxRunningPerGroup } = queue.settings;
  const requirements: Requirement[] = [];
  if (maxRunning !== undefined && isFull(queue, maxRunning))
    requirements.push(...placesOf(facts, { queue: body.queue }, maxRunning));
  if (maxRunningPerGroup !== undefined && body.group !== undefined)
    requirements.push(...placesOf(facts, { queue: body.queue, group: body.group }, maxRunningPerGroup));
  return requirements;
}

function isFull({ states }: QueueCounts, limit: number): boolean {
  return states.claimed >= limit;
}

function placesOf(
  facts: LimitFacts,
  within: { readonly queue: string; readonly group?: string },
  limit: number,
): readonly Requirement[] {
  const claimed = facts.claimed({ ...within, state: ['claimed'] }, MOST);
  if (claimed === undefined || claimed.length < limit) return [];
  const blockers = claimed.map(({ id }) => ({ node: runNode(id), frees: 1 }));
  const what = within.group === undefined ? within.queue : `${within.queue}, group ${within.group}`;
  return [{ by: 'slot', what: `a place in ${what}`, blockers, needs: blockers.length - limit + 1 }];
}
