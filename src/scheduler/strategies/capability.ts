import type { Candidate, CandidatePool, Explanation, PlacedTask, SchedulingStrategy } from '../strategy.ts';
import { candidatePool } from '../strategy-candidates.ts';
import { explained, loadInWords } from './explanation.ts';

/**
 * The default: the least loaded capable agent (the smallest share of its slots taken); equals take turns. O(1) in the number of agents.
 * It need not look at capabilities: only agents that have all of them are candidates, under every strategy.
 */
export class CapabilitySchedulingStrategy implements SchedulingStrategy<{ readonly last: string | null }> {
  readonly name: string = 'capability';
  #last: string | undefined;

  select(task: PlacedTask, candidates: readonly Candidate[]): string | undefined {
    return this.selectFrom(task, candidatePool(candidates));
  }

  selectFrom(_task: PlacedTask, pool: CandidatePool): string | undefined {
    const chosen = pool.leastLoaded(this.#last);
    if (chosen !== undefined) this.#last = chosen.id;
    return chosen?.id;
  }

  explain(_task: PlacedTask, pool: CandidatePool): Explanation | undefined {
    const chosen = pool.leastLoaded(this.#last);
    return chosen && explained(chosen, `least loaded: ${loadInWords(chosen)}`, pool);
  }

  snapshot(): { readonly last: string | null } {
    return { last: this.#last ?? null };
  }

  restore(state: { readonly last: string | null }): void {
    this.#last = state.last ?? undefined;
  }
}

/** See {@link CapabilitySchedulingStrategy}. */
export function capability(): CapabilitySchedulingStrategy {
  return new CapabilitySchedulingStrategy();
}
