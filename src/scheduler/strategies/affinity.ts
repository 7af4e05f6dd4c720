import { checkInteger } from '../../core/check.ts';
import type { Candidate, CandidatePool, Explanation, PlacedTask, SchedulingStrategy } from '../strategy.ts';
import { candidatePool } from '../strategy-candidates.ts';
import { explained, loadInWords } from './explanation.ts';

export interface AffinityOptions {
  /** Groups and types whose agent is remembered; the longest unused is forgotten. @default 1,000 */
  readonly historySize?: number | undefined;
}

/** The pairs are in order of use. */
type AffinityState = {
  readonly last: string | null;
  readonly homes: readonly (readonly [kin: string, agentId: string])[];
};

/**
 * The agent that got the last task of the same group (of the same type, for tasks without group), so that caches and context stay warm.
 * While that one is busy or gone: the least loaded, and from then on the tasks stay with it. O(1) in the number of agents.
 */
export class AffinitySchedulingStrategy implements SchedulingStrategy<AffinityState> {
  readonly name: string = 'affinity';
  readonly #size: number;
  readonly #homes = new Map<string, string>();
  #last: string | undefined;

  constructor(options: AffinityOptions = {}) {
    this.#size = checkInteger(options.historySize ?? 1_000, 'historySize of affinity', 1);
  }

  select(task: PlacedTask, candidates: readonly Candidate[]): string | undefined {
    return this.selectFrom(task, candidatePool(candidates));
  }

  selectFrom(task: PlacedTask, pool: CandidatePool): string | undefined {
    const kin = kinOf(task);
    const chosen = this.#home(kin, pool) ?? pool.leastLoaded(this.#last);
    if (chosen === undefined) return undefined;
    this.#last = chosen.id;
    this.#remember(kin, chosen.id);
    return chosen.id;
  }

  explain(task: PlacedTask, pool: CandidatePool): Explanation | undefined {
    const kin = kinOf(task);
    const home = this.#home(kin, pool);
    if (home !== undefined) return explained(home, `had the last task of ${kin}`, pool);
    const chosen = pool.leastLoaded(this.#last);
    const before = this.#homes.get(kin);
    const away =
      before === undefined ? `no agent had ${kin} yet` : `${before}, which had ${kin}, has no free slot`;
    return chosen && explained(chosen, `${away}; least loaded: ${loadInWords(chosen)}`, pool);
  }

  snapshot(): AffinityState {
    return { last: this.#last ?? null, homes: [...this.#homes] };
  }

  restore(state: AffinityState): void {
    this.#last = state.last ?? undefined;
    this.#homes.clear();
    for (const [kin, agentId] of state.homes) this.#remember(kin, agentId);
  }

  #home(kin: string, pool: CandidatePool): Candidate | undefined {
    const id = this.#homes.get(kin);
    return id === undefined ? undefined : pool.get(id);
  }

  #remember(kin: string, agentId: string): void {
    this.#homes.delete(kin);
    this.#homes.set(kin, agentId);
    if (this.#homes.size <= this.#size) return;
    const [oldest] = this.#homes.keys();
    if (oldest !== undefined) this.#homes.delete(oldest);
  }
}

function kinOf(task: PlacedTask): string {
  return task.group === undefined ? `type ${task.type}` : `group ${task.group}`;
}

/** See {@link AffinitySchedulingStrategy}. */
export function affinity(options?: AffinityOptions): AffinitySchedulingStrategy {
  return new AffinitySchedulingStrategy(options);
}
