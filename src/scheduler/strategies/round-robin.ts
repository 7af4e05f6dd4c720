import type { Candidate, CandidatePool, Explanation, PlacedTask, SchedulingStrategy } from '../strategy.ts';
import { candidatePool } from '../strategy-candidates.ts';
import { explained } from './explanation.ts';

/** One after the other in order of registration; those that can't take the task now are passed over. O(1) in the number of agents. */
export class RoundRobinSchedulingStrategy implements SchedulingStrategy<{ readonly last: string | null }> {
  readonly name: string = 'round-robin';
  #last: string | undefined;

  select(task: PlacedTask, candidates: readonly Candidate[]): string | undefined {
    return this.selectFrom(task, candidatePool(candidates));
  }

  selectFrom(_task: PlacedTask, pool: CandidatePool): string | undefined {
    const chosen = pool.next(this.#last);
    if (chosen !== undefined) this.#last = chosen.id;
    return chosen?.id;
  }

  explain(_task: PlacedTask, pool: CandidatePool): Explanation | undefined {
    const turn = this.#last === undefined ? 'first in turn' : `next in turn after ${this.#last}`;
    return explained(pool.next(this.#last), turn, pool, () => 0);
  }

  snapshot(): { readonly last: string | null } {
    return { last: this.#last ?? null };
  }

  restore(state: { readonly last: string | null }): void {
    this.#last = state.last ?? undefined;
  }
}

/** See {@link RoundRobinSchedulingStrategy}. */
export function roundRobin(): RoundRobinSchedulingStrategy {
  return new RoundRobinSchedulingStrategy();
}
