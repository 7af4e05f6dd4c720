import type { ConflictRecord } from '../../core/coordination-types.ts';
import type { ConflictFacts } from '../conflict-facts.ts';
import type { ConflictDecision, ConflictStrategy } from '../conflict-strategy.ts';
import { bestOf, tieNote, type Best } from './ranking.ts';

/**
 * `vote`: the agent with most voters wins. A voter counts once; one that voted for several agents counts for none. Ties go to the agent that
 * asked first, then to the one reported first. Escalates when there is no valid vote for an agent of the conflict.
 */
export class VotingResolutionStrategy implements ConflictStrategy {
  readonly name = 'vote';

  resolve({ agents }: ConflictRecord, facts: ConflictFacts): ConflictDecision {
    const counts = countVotes(agents, facts.votes ?? new Map());
    if (counts.size === 0) return { escalate: 'there is no valid vote' };
    const votesFor = (agent: string): number => counts.get(agent) ?? 0;
    const best = bestOf(agents, votesFor, facts) as Best;
    return { winner: best.agent, reason: `most votes, ${votesFor(best.agent)}${tieNote(best)}` };
  }
}

function countVotes(
  agents: readonly string[],
  votes: ReadonlyMap<string, readonly string[]>,
): ReadonlyMap<string, number> {
  const choices = new Map<string, Set<string>>();
  for (const agent of agents) {
    for (const voter of votes.get(agent) ?? []) {
      const choice = choices.get(voter) ?? new Set();
      choices.set(voter, choice.add(agent));
    }
  }
  const counts = new Map<string, number>();
  for (const choice of choices.values()) {
    if (choice.size > 1) continue;
    for (const agent of choice) counts.set(agent, (counts.get(agent) ?? 0) + 1);
  }
  return counts;
}
