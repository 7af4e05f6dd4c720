import type { ConflictFacts } from './conflict-facts.ts';
import type { ConflictStrategy } from './conflict-strategy.ts';

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

/** What each strategy must know of every agent before it is asked without a person: an unknown one could have won. No votes are no gap. */
const DECIDING: ReadonlyMap<
  string,
  readonly [what: string, (facts: ConflictFacts) => ReadonlyMap<string, unknown> | undefined]
> = new Map([
  ['optimistic-version', ['the version', ({ versions }) => versions]],
  ['priority', ['the priority', ({ agentPriorities }) => agentPriorities]],
  ['timestamp', ['the time of the request', ({ requestTimestamps }) => requestTimestamps]],
]);

/** The same strategy, but one that escalates when what it decides by is known of some agents only. */
export function neverGuessing(strategy: ConflictStrategy): ConflictStrategy {
  const deciding = DECIDING.get(strategy.name);
  if (deciding === undefined) return strategy;
  const [what, read] = deciding;
  return {
    name: strategy.name,
    resolve(conflict, facts) {
      const known = read(facts);
      const missing = conflict.agents.filter((agent) => known?.has(agent) !== true);
      if (missing.length === 0 || missing.length === conflict.agents.length)
        return strategy.resolve(conflict, facts);
      const whose = missing.length > 3 ? `${missing.length} agents` : missing.join(', ');
      return { escalate: `${what} of ${whose} is not known` };
    },
  };
}
