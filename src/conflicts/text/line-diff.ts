import type { Box, Comparison } from './comparison.ts';
import { matchExactly, matchRoughly } from './greedy-match.ts';
import { uniqueAnchors } from './unique-anchors.ts';

/** Lines `start … end` of the old text became lines `from … to` of the new one; ends are exclusive. */
export interface Change {
  readonly start: number;
  readonly end: number;
  readonly from: number;
  readonly to: number;
}

/** Beyond this many splits at unique lines a part is compared roughly, so that the whole is never quadratic. */
const MAX_SPLITS = 12;

/**
 * The changes from one list of lines to another, in order, with at least one common line between any two: the fewest edits where they are
 * few (Myers 1986); else the lines that are unique in both are matched first (patience diff, Cohen 2009), and what is between them on its
 * own. Insertions and deletions sit as far down as they can, so that the same edit has the same place whatever is around it.
 */
export function diffLines(old: readonly string[], now: readonly string[]): readonly Change[] {
  const comparison = compare(old, now);
  const boxes: { readonly box: Box; readonly depth: number }[] = [
    { box: { oldStart: 0, oldEnd: old.length, newStart: 0, newEnd: now.length }, depth: 0 },
  ];
  for (let next = boxes.pop(); next !== undefined; next = boxes.pop()) {
    const box = trim(comparison, next.box);
    if (box.oldStart === box.oldEnd || box.newStart === box.newEnd) continue;
    if (matchExactly(comparison, box)) continue;
    const anchors = next.depth < MAX_SPLITS ? uniqueAnchors(comparison, box) : [];
    if (anchors.length === 0) matchRoughly(comparison, box);
    else for (const part of split(comparison, box, anchors)) boxes.push({ box: part, depth: next.depth + 1 });
  }
  return slideDown(comparison, changesOf(comparison));
}

function compare(old: readonly string[], now: readonly string[]): Comparison {
  const numbers = new Map<string, number>();
  const number = (line: string): number => {
    const known = numbers.get(line);
    if (known !== undefined) return known;
    numbers.set(line, numbers.size);
    return numbers.size - 1;
  };
  return {
    old: Int32Array.from(old, number),
    new: Int32Array.from(now, number),
    partner: new Int32Array(old.length).fill(-1),
  };
}

/** Matches what both begin and end with; returns what is between. */
function trim(comparison: Comparison, box: Box): Box {
  const { old, new: now, partner } = comparison;
  let { oldStart, oldEnd, newStart, newEnd } = box;
  while (oldStart < oldEnd && newStart < newEnd && old[oldStart] === now[newStart])
    partner[oldStart++] = newStart++;
  while (oldStart < oldEnd && newStart < newEnd && old[oldEnd - 1] === now[newEnd - 1])
    partner[--oldEnd] = --newEnd;
  return { oldStart, oldEnd, newStart, newEnd };
}

/** Matches the anchors; returns the parts between them. */
function split(comparison: Comparison, box: Box, anchors: readonly (readonly [number, number])[]): Box[] {
  const parts: Box[] = [];
  let { oldStart, newStart } = box;
  for (const [oldAt, newAt] of anchors) {
    comparison.partner[oldAt] = newAt;
    parts.push({ oldStart, oldEnd: oldAt, newStart, newEnd: newAt });
    oldStart = oldAt + 1;
    newStart = newAt + 1;
  }
  parts.push({ oldStart, oldEnd: box.oldEnd, newStart, newEnd: box.newEnd });
  return parts;
}

function changesOf({ old, new: now, partner }: Comparison): Change[] {
  const changes: Change[] = [];
  let start = 0;
  let from = 0;
  for (let end = 0; end <= old.length; end++) {
    const to = end === old.length ? now.length : (partner[end] as number);
    if (to < 0) continue;
    if (start < end || from < to) changes.push({ start, end, from, to });
    start = end + 1;
    from = to + 1;
  }
  return changes;
}

/** Moves each pure insertion or deletion down while that changes nothing, and joins it with the change it meets. */
function slideDown({ old, new: now }: Comparison, changes: readonly Change[]): Change[] {
  const slid: Change[] = [];
  for (const change of changes.toReversed()) {
    let { start, end, from, to } = change;
    for (;;) {
      const next = slid.at(-1);
      if (next !== undefined && next.start === end && next.from === to) {
        slid.pop();
        ({ end, to } = next);
        continue;
      }
      const inserted = start === end && end < old.length && now[from] === old[end];
      const deleted = from === to && end < old.length && old[start] === old[end];
      if (!inserted && !deleted) break;
      start += 1;
      end += 1;
      from += 1;
      to += 1;
    }
    slid.push({ start, end, from, to });
  }
  return slid.toReversed();
}
