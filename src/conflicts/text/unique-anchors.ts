import type { Box, Comparison } from './comparison.ts';

/** The longest list of pairs (old line, new line), growing in both, of lines that occur once in either part. */
export function uniqueAnchors(comparison: Comparison, box: Box): readonly (readonly [number, number])[] {
  const { old, new: now } = comparison;
  /** Place in the new part; −1 when it occurs there more than once. */
  const places = new Map<number, number>();
  for (let i = box.newStart; i < box.newEnd; i++) {
    const line = now[i] as number;
    places.set(line, places.has(line) ? -1 : i);
  }
  const counts = new Map<number, number>();
  for (let i = box.oldStart; i < box.oldEnd; i++) {
    const line = old[i] as number;
    if (places.has(line)) counts.set(line, (counts.get(line) ?? 0) + 1);
  }
  const pairs: (readonly [number, number])[] = [];
  for (let i = box.oldStart; i < box.oldEnd; i++) {
    const line = old[i] as number;
    const place = places.get(line) ?? -1;
    if (place >= 0 && counts.get(line) === 1) pairs.push([i, place]);
  }
  return longestGrowing(pairs);
}

/** Patience sorting: a pair goes on the leftmost pile whose top is larger and remembers the top of the pile before (Fredman 1975). */
function longestGrowing(
  pairs: readonly (readonly [number, number])[],
): readonly (readonly [number, number])[] {
  const tops: number[] = [];
  const before = new Int32Array(pairs.length).fill(-1);
  for (const [i, [, place]] of pairs.entries()) {
    let low = 0;
    let high = tops.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((pairs[tops[middle] as number]?.[1] as number) < place) low = middle + 1;
      else high = middle;
    }
    if (low > 0) before[i] = tops[low - 1] as number;
    tops[low] = i;
  }
  const longest: (readonly [number, number])[] = [];
  for (let i = tops.at(-1) ?? -1; i >= 0; i = before[i] as number)
    longest.push(pairs[i] as readonly [number, number]);
  return longest.toReversed();
}
