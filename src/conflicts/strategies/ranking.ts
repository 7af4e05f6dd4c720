import { timeOf, type ConflictFacts } from '../conflict-facts.ts';

/** The best agent and what decided: its score alone, or the rule for ties. */
export interface Best {
  readonly agent: string;
  readonly by: 'score' | 'time' | 'report';
  /** Others with the same score. */
  readonly equals: readonly string[];
}

/**
 * The agent with the largest score. Ties go to the one that asked first, if that is known of it, then to the one that was reported first.
 * Agents without a score aren't considered; `undefined` when none has one.
 */
export function bestOf(
  agents: readonly string[],
  scoreOf: (agent: string) => number | undefined,
  facts: ConflictFacts,
): Best | undefined {
  const scored = agents.filter((agent) => scoreOf(agent) !== undefined);
  const top = scored.reduce((most, agent) => Math.max(most, scoreOf(agent) as number), -Infinity);
  const leaders = scored.filter((agent) => scoreOf(agent) === top);
  const [first] = leaders;
  if (first === undefined) return undefined;
  const { requestTimestamps: times } = facts;
  const askedAt = (agent: string): number => {
    const at = times?.get(agent);
    return at === undefined ? Infinity : timeOf(at);
  };
  const agent = leaders.reduce((best, other) => (askedAt(other) < askedAt(best) ? other : best), first);
  const equals = leaders.filter((other) => other !== agent);
  if (equals.length === 0) return { agent, by: 'score', equals };
  return { agent, by: equals.every((other) => askedAt(agent) < askedAt(other)) ? 'time' : 'report', equals };
}

/** ` (as a, b; it asked first)`, or nothing when the score decided. */
export function tieNote({ by, equals }: Best): string {
  if (by === 'score') return '';
  const others = equals.length > 3 ? `${equals.length} others` : equals.join(', ');
  return ` (as ${others}; it ${by === 'time' ? 'asked' : 'was reported'} first)`;
}
