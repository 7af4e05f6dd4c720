import type { ConflictRecord } from '../../core/coordination-types.ts';
import type { ConflictFacts } from '../conflict-facts.ts';
import type { ConflictDecision, ConflictStrategy } from '../conflict-strategy.ts';
import { mergeText, type MergeConflict } from '../text/merge-text.ts';
import { bestOf, type Best } from './ranking.ts';

/**
 * `merge`: every agent's edits are kept, by a three-way merge of all texts in the order in which the agents were reported; the winner, who
 * asked first or was reported first, is the one to write `merged`. Escalates when a text is missing, or two edits collide.
 */
export class MergeStrategy implements ConflictStrategy {
  readonly name = 'merge';

  resolve({ agents }: ConflictRecord, facts: ConflictFacts): ConflictDecision {
    const { contents } = facts;
    if (contents === undefined) return { escalate: 'the texts are not known' };
    let merged = contents.base;
    for (const agent of agents) {
      const theirs = contents.theirs.get(agent);
      if (theirs === undefined) return { escalate: `the text of ${agent} is not known` };
      const step = mergeText(contents.base, merged, theirs);
      if (step.conflicts.length > 0) return { escalate: collision(agent, step.conflicts) };
      merged = step.text;
    }
    const best = bestOf(agents, () => 0, facts) as Best;
    return { winner: best.agent, reason: `edits of ${agents.length} agents merged`, merged };
  }
}

function collision(agent: string, conflicts: readonly MergeConflict[]): string {
  const places = conflicts
    .slice(0, 5)
    .map(({ start, end }) => (end > start + 1 ? `${start + 1}–${end}` : `${start + 1}`));
  const more = conflicts.length > 5 ? ` and ${conflicts.length - 5} more places` : '';
  return `${agent} and others edited the same lines: ${places.join(', ')}${more}`;
}
