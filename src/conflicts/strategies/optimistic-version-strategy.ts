import type { ConflictRecord } from '../../core/coordination-types.ts';
import type { ConflictFacts } from '../conflict-facts.ts';
import type { ConflictDecision, ConflictStrategy } from '../conflict-strategy.ts';
import { bestOf, tieNote } from './ranking.ts';

/**
 * `optimistic-version`: the agent whose change was made from the newest version wins; the others have to read again. With `currentVersion`
 * only a change made from exactly that one can. Ties go to the agent that asked first, then to the one reported first. Escalates when no
 * version is known, or all are stale.
 */
export class OptimisticVersionStrategy implements ConflictStrategy {
  readonly name = 'optimistic-version';

  resolve({ agents }: ConflictRecord, facts: ConflictFacts): ConflictDecision {
    const { versions, currentVersion } = facts;
    const versionOf = (agent: string): number | undefined => {
      const version = versions?.get(agent);
      return currentVersion === undefined || version === currentVersion ? version : undefined;
    };
    const best = bestOf(agents, versionOf, facts);
    if (best !== undefined) {
      const reason = `made from the newest version, ${versionOf(best.agent)}${tieNote(best)}`;
      return { winner: best.agent, reason };
    }
    return versions === undefined || currentVersion === undefined || !agents.some((id) => versions.has(id))
      ? { escalate: "no agent's version is known" }
      : { escalate: `no change was made from the current version, ${currentVersion}` };
  }
}
