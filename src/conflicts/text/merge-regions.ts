import type { Change } from './line-diff.ts';

/** Lines `start … end` of the base and what each side made of them; one side may have left them alone. */
export interface Region {
  readonly start: number;
  readonly end: number;
  readonly ours: readonly Change[];
  readonly theirs: readonly Change[];
}

interface OpenRegion extends Region {
  end: number;
  readonly ours: Change[];
  readonly theirs: Change[];
}

type Side = 'ours' | 'theirs';

/**
 * Groups the changes of both sides into regions that have nothing to do with each other. Two changes belong together when they overlap, and
 * when they touch, unless both replace lines one for one: else it would be a guess where the one ends and the other begins.
 */
export function mergeRegions(ours: readonly Change[], theirs: readonly Change[]): readonly Region[] {
  const regions: OpenRegion[] = [];
  for (let o = 0, t = 0; o < ours.length || t < theirs.length; ) {
    const side: Side = comesFirst(ours[o], theirs[t]) ? 'ours' : 'theirs';
    const change = (side === 'ours' ? ours[o++] : theirs[t++]) as Change;
    let region = regions.at(-1);
    if (region === undefined || !collides(region, change, side)) {
      region = { start: change.start, end: change.end, ours: [], theirs: [] };
      regions.push(region);
    }
    region[side].push(change);
    region.end = Math.max(region.end, change.end);
  }
  return regions;
}

/** By place; an insertion before a change of the line that follows it. */
function comesFirst(ours: Change | undefined, theirs: Change | undefined): boolean {
  if (ours === undefined || theirs === undefined) return ours !== undefined;
  return ours.start < theirs.start || (ours.start === theirs.start && ours.end <= theirs.end);
}

function collides(region: Region, change: Change, side: Side): boolean {
  if (change.start !== region.end) return change.start < region.end;
  // Changes of one side never touch each other: it is one of the other side that ends here.
  const last = (side === 'ours' ? region.theirs : region.ours).at(-1);
  return last !== undefined && !(oneForOne(last) && oneForOne(change));
}

function oneForOne({ start, end, from, to }: Change): boolean {
  return to - from === end - start;
}
