import { loadLevel } from './agent-index.ts';
import type { Candidate, CandidatePool } from './strategy.ts';

/**
 * A pool over a plain list in order of registration, so that a strategy which asks a pool can be asked with `select` as well:
 * `select: (task, candidates, context) => mine.selectFrom(task, candidatePool(candidates), context)`. Each question looks at the whole list.
 */
export function candidatePool(candidates: readonly Candidate[]): CandidatePool {
  return new CandidateList(candidates);
}

class CandidateList implements CandidatePool {
  readonly #candidates: readonly Candidate[];

  constructor(candidates: readonly Candidate[]) {
    this.#candidates = candidates;
  }

  get size(): number {
    return this.#candidates.length;
  }

  get(id: string): Candidate | undefined {
    return this.#candidates.find((candidate) => candidate.id === id);
  }

  next(id: string | undefined): Candidate | undefined {
    return this.#candidates[(this.#indexOf(id) + 1) % this.#candidates.length];
  }

  leastLoaded(after?: string): Candidate | undefined {
    const { length } = this.#candidates;
    const start = this.#indexOf(after) + 1;
    let best: Candidate | undefined;
    let bestLevel = Number.POSITIVE_INFINITY;
    for (let i = 0; i < length; i++) {
      const candidate = this.#candidates[(start + i) % length] as Candidate;
      const level = loadLevel(candidate.running + candidate.queued, candidate.slots);
      if (level >= bestLevel) continue;
      best = candidate;
      bestLevel = level;
    }
    return best;
  }

  [Symbol.iterator](): IterableIterator<Candidate> {
    return this.#candidates[Symbol.iterator]();
  }

  #indexOf(id: string | undefined): number {
    return id === undefined ? -1 : this.#candidates.findIndex((candidate) => candidate.id === id);
  }
}
