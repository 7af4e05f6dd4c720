import { type Candidate, type Explanation, MAX_ALTERNATIVES } from '../strategy.ts';

/** Words for a choice; the alternatives are the others in `order`, least loaded first by default. */
export function explained(
  chosen: Candidate | undefined,
  reason: string,
  others: Iterable<Candidate>,
  order: (a: Candidate, b: Candidate) => number = byLoad,
): Explanation | undefined {
  if (chosen === undefined) return undefined;
  const ids = new Set([...others].sort(order).map((other) => other.id));
  ids.delete(chosen.id);
  return { agent: chosen.id, reason, alternatives: [...ids].slice(0, MAX_ALTERNATIVES) };
}

/** `2 of 4 slots taken`. */
export function loadInWords({ running, queued, slots }: Candidate): string {
  const taken = running + queued;
  return slots === Number.POSITIVE_INFINITY ? `${taken} tasks, no limit` : `${taken} of ${slots} slots taken`;
}

function byLoad(a: Candidate, b: Candidate): number {
  return a.load - b.load;
}
