/** What the choice of a victim looks at. */
export interface VictimCandidate {
  readonly node: string;
  readonly agent?: string | undefined;
  readonly priority: number;
  /** Times in a row that it was a victim before. */
  readonly defeats: number;
  /** µs; larger is younger. */
  readonly since: number;
  readonly locks: number;
}

/** Defeats from which they count before anything else, so that nobody loses more than 5 times in a row (D5). */
const SPARED_AFTER = 4;

/**
 * Orders victims, the best first: lowest priority, then fewest earlier defeats, then youngest, then fewest locks; the id last, so that two
 * processes with one picture choose the same. Whoever lost four times in a row comes after everybody who didn't.
 */
export function compareVictims(a: VictimCandidate, b: VictimCandidate): number {
  return (
    spared(a) - spared(b) ||
    a.priority - b.priority ||
    a.defeats - b.defeats ||
    b.since - a.since ||
    a.locks - b.locks ||
    (a.node < b.node ? -1 : 1)
  );
}

/** Whether it has lost so often in a row that others are to lose first. */
export function isSpared({ defeats }: VictimCandidate): boolean {
  return defeats >= SPARED_AFTER;
}

function spared({ defeats }: VictimCandidate): number {
  return defeats >= SPARED_AFTER ? defeats : 0;
}
