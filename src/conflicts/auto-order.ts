import type { ConflictFacts } from './conflict-facts.ts';

/**
 * Names of the strategies that these facts can feed, the one that loses least first: a merge keeps everybody's work, a vote is a decision
 * already made, a stale version can't be written, then priority, then who came first. Empty when nothing is known.
 */
export function autoOrder(agents: readonly string[], facts: ConflictFacts): readonly string[] {
  const knows = (map: ReadonlyMap<string, unknown> | undefined): boolean =>
    map !== undefined && agents.some((agent) => map.has(agent));
  const { contents, votes, versions, agentPriorities, requestTimestamps } = facts;
  const order: string[] = [];
  if (contents !== undefined && agents.every((agent) => contents.theirs.has(agent))) order.push('merge');
  if (knows(votes)) order.push('vote');
  if (knows(versions)) order.push('optimistic-version');
  if (knows(agentPriorities)) order.push('priority');
  if (knows(requestTimestamps)) order.push('timestamp');
  return order;
}
