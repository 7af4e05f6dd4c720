import type { ConflictRecord } from '../../core/coordination-types.ts';
import { timeOf, type ConflictFacts } from '../conflict-facts.ts';
import type { ConflictDecision, ConflictStrategy } from '../conflict-strategy.ts';
import { bestOf, tieNote } from './ranking.ts';

/**
 * `timestamp`: the agent that asked first wins; one whose time isn't known can't. Ties go to the agent reported first. Escalates when no
 * time is known.
 */
export class TimestampResolutionStrategy implements ConflictStrategy {
  readonly name = 'timestamp';

  resolve({ agents }: ConflictRecord, { requestTimestamps }: ConflictFacts): ConflictDecision {
    const earliness = (agent: string): number | undefined => {
      const at = requestTimestamps?.get(agent);
      return at === undefined ? undefined : -timeOf(at);
    };
    const best = bestOf(agents, earliness, {});
    if (best === undefined) return { escalate: 'it is not known when any agent asked' };
    return { winner: best.agent, reason: `earliest request${tieNote(best)}` };
  }
}
