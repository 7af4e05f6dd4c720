import type { Box, Comparison } from './comparison.ts';

/** Edits that are looked for at once: bounds time to lines × this, and memory to its square. */
const MAX_EDITS = 256;
/** A diagonal that can't be reached within the box. */
const OUTSIDE = -1;

/** Matches as many lines of a box as possible, by the fewest edits (Myers 1986). False, and nothing is matched, beyond 256 edits. */
export function matchExactly(comparison: Comparison, box: Box): boolean {
  const rows = search(comparison, box);
  const edits = rows.length - 1;
  const end = furthest(rows[edits] as Int32Array, edits);
  if (usedOld(rows, end) < box.oldEnd - box.oldStart || usedNew(rows, end) < box.newEnd - box.newStart)
    return false;
  walkBack(comparison, box, rows, end);
  return true;
}

/**
 * Matches lines of a box in linear time: each 256 edits it keeps the way that got furthest and goes on from there. Not always the most
 * lines, but always a valid matching.
 */
export function matchRoughly(comparison: Comparison, box: Box): void {
  let { oldStart, newStart } = box;
  while (oldStart < box.oldEnd && newStart < box.newEnd) {
    const rest = { ...box, oldStart, newStart };
    const rows = search(comparison, rest);
    const end = furthest(rows.at(-1) as Int32Array, rows.length - 1);
    walkBack(comparison, rest, rows, end);
    oldStart += usedOld(rows, end);
    newStart += usedNew(rows, end);
  }
}

function usedOld(rows: readonly Int32Array[], end: number): number {
  return (rows.at(-1) as Int32Array)[end] as number;
}

function usedNew(rows: readonly Int32Array[], end: number): number {
  return usedOld(rows, end) - diagonal(rows.length - 1, end);
}

/** Row d: for each diagonal reachable with d edits, how far one gets in the old lines. The last row has the end, or is row 256. */
function search({ old, new: now }: Comparison, box: Box): readonly Int32Array[] {
  const width = box.oldEnd - box.oldStart;
  const height = box.newEnd - box.newStart;
  const rows: Int32Array[] = [];
  for (let edits = 0; edits <= MAX_EDITS; edits++) {
    const row = new Int32Array(edits + 1);
    rows.push(row);
    for (let i = 0; i <= edits; i++) {
      let x = entry(rows, edits, i, width, height);
      row[i] = x;
      if (x === OUTSIDE) continue;
      let y = x - diagonal(edits, i);
      while (x < width && y < height && old[box.oldStart + x] === now[box.newStart + y]) {
        x += 1;
        y += 1;
      }
      row[i] = x;
      if (x === width && y === height) return rows;
    }
  }
  return rows;
}

/** Old lines minus new lines used: place `i` of row `edits` is this diagonal. */
function diagonal(edits: number, i: number): number {
  return 2 * i - edits;
}

/** Where a diagonal is entered by the last edit: an old line dropped (from the place before) or a new one taken, whichever is further. */
function entry(rows: readonly Int32Array[], edits: number, i: number, width: number, height: number): number {
  if (edits === 0) return 0;
  const dropped = dropOf(rows, edits, i, width);
  const taken = takeOf(rows, edits, i, height);
  return Math.max(dropped, taken);
}

function dropOf(rows: readonly Int32Array[], edits: number, i: number, width: number): number {
  const x = i === 0 ? OUTSIDE : ((rows[edits - 1] as Int32Array)[i - 1] as number);
  return x === OUTSIDE || x >= width ? OUTSIDE : x + 1;
}

function takeOf(rows: readonly Int32Array[], edits: number, i: number, height: number): number {
  const x = i === edits ? OUTSIDE : ((rows[edits - 1] as Int32Array)[i] as number);
  return x === OUTSIDE || x - diagonal(edits, i) > height ? OUTSIDE : x;
}

/** The place of a row that used most lines of both. */
function furthest(row: Int32Array, edits: number): number {
  let best = 0;
  let most = -1;
  for (let i = 0; i <= edits; i++) {
    const x = row[i] as number;
    const used = x === OUTSIDE ? OUTSIDE : 2 * x - diagonal(edits, i);
    if (used > most) {
      most = used;
      best = i;
    }
  }
  return best;
}

/** Follows the edits back to the start and matches the equal lines between them. */
function walkBack({ partner }: Comparison, box: Box, rows: readonly Int32Array[], end: number): void {
  const width = box.oldEnd - box.oldStart;
  const height = box.newEnd - box.newStart;
  for (let edits = rows.length - 1, i = end; edits >= 0; edits--) {
    const from = entry(rows, edits, i, width, height);
    const shift = box.newStart - diagonal(edits, i);
    for (let x = from; x < ((rows[edits] as Int32Array)[i] as number); x++)
      partner[box.oldStart + x] = shift + x;
    if (edits > 0 && dropOf(rows, edits, i, width) === from) i -= 1;
  }
}
