import type { TallyCounts } from './tally.ts';

/** A share of the counted calls at which the circuit opens, once enough were counted. */
export interface RatioRule {
  /** Above 0, at most 1. */
  readonly ratio: number;
  readonly minCalls: number;
}

/** Why the calls in the window open the circuit; `undefined` when they don't. Pure. */
export function tripReason(
  counts: TallyCounts,
  failing: RatioRule | undefined,
  slow: RatioRule | undefined,
): string | undefined {
  const { calls } = counts;
  if (failing !== undefined && calls >= failing.minCalls && counts.failures >= failing.ratio * calls) {
    return `${counts.failures} of ${calls} calls failed`;
  }
  if (slow !== undefined && calls >= slow.minCalls && counts.slow >= slow.ratio * calls) {
    return `${counts.slow} of ${calls} calls were slow`;
  }
  return undefined;
}
