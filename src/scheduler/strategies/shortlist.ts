import type { Candidate, CandidatePool } from '../strategy.ts';

/**
 * The candidates that a strategy with a price for each look considers: all of a small pool, else `sample` of them, where the last
 * decision left off, with the least loaded and those `favourites` that can take the task. So a decision costs the same in a pool of ten
 * and of a thousand, and everybody's turn comes.
 */
export function shortlist(
  pool: CandidatePool,
  sample: number,
  after: string | undefined,
  favourites: readonly { readonly id: string }[],
  into: Candidate[],
): Candidate[] {
  into.length = 0;
  const first = pool.next(after);
  for (let next = first; next !== undefined && into.length < sample; ) {
    into.push(next);
    next = pool.next(next.id);
    if (next?.id === first?.id) return into;
  }
  const idle = pool.leastLoaded(after);
  if (idle !== undefined && !into.includes(idle)) into.push(idle);
  for (const { id } of favourites) {
    const favourite = pool.get(id);
    if (favourite !== undefined && !into.includes(favourite)) into.push(favourite);
  }
  return into;
}
