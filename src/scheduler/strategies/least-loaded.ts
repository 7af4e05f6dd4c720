import type { Candidate, CandidatePool, Explanation, PlacedTask, SchedulingStrategy } from '../strategy.ts';
import { candidatePool } from '../strategy-candidates.ts';
import { explained, loadInWords } from './explanation.ts';

/**
 * The agent with the smallest share of its slots taken by running and queued tasks; equals take turns. O(1) in the number of agents. The
 * rule of `capability` under the name of what it does: choose it to keep this rule should the default ever change.
 */
export class LeastLoadedSchedulingStrategy implements SchedulingStrategy<{ readonly last: string | null }> {
  readonly name: string = 'least-loaded';
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

/** See {@link LeastLoadedSchedulingStrategy}. */
export function leastLoaded(): LeastLoadedSchedulingStrategy {
  return new LeastLoadedSchedulingStrategy();
}
