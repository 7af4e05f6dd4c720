import type { ConflictRecord } from '../../core/coordination-types.ts';
import type { ConflictFacts } from '../conflict-facts.ts';
import type { ConflictDecision, ConflictStrategy } from '../conflict-strategy.ts';
import { bestOf, tieNote, type Best } from './ranking.ts';

/**
 * `priority`: the agent with the highest priority wins; one that is missing from `agentPriorities` counts 0. Ties go to the agent that asked
 * first, then to the one reported first. Escalates when no agent's priority is known.
 */
export class PriorityResolutionStrategy implements ConflictStrategy {
  readonly name = 'priority';

  resolve({ agents }: ConflictRecord, facts: ConflictFacts): ConflictDecision {
    const { agentPriorities } = facts;
    if (agentPriorities === undefined || !agents.some((agent) => agentPriorities.has(agent)))
      return { escalate: "no agent's priority is known" };
    const priorityOf = (agent: string): number => agentPriorities.get(agent) ?? 0;
    const best = bestOf(agents, priorityOf, facts) as Best;
    return { winner: best.agent, reason: `highest priority, ${priorityOf(best.agent)}${tieNote(best)}` };
  }
}
