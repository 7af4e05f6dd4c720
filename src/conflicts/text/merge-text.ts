import { invalid } from '../../core/check.ts';
import { describe } from '../../core/errors.ts';
import { diffLines, type Change } from './line-diff.ts';
import { mergeRegions, type Region } from './merge-regions.ts';
import { endingOf, joinLines, splitLines, type Ending } from './text-lines.ts';

/** A place where both sides changed the same lines in different ways. Lines are without their ends. */
export interface MergeConflict {
  /** First line of the base, from 0. */
  readonly start: number;
  /** The line after the last one; equal to `start` when both inserted. */
  readonly end: number;
  readonly base: readonly string[];
  readonly ours: readonly string[];
  readonly theirs: readonly string[];
}

export interface MergedText {
  /** With conflicts: marked by `<<<<<<<`, `|||||||`, `=======` and `>>>>>>>` lines. */
  readonly text: string;
  /** Empty when the merge is clean. */
  readonly conflicts: readonly MergeConflict[];
}

/** Names of the sides in conflict marks. */
export interface MergeLabels {
  /** @default 'ours' */
  readonly ours?: string;
  /** @default 'theirs' */
  readonly theirs?: string;
}

/** The three texts as lines, and how the result's lines are to end. */
interface Texts {
  readonly base: readonly string[];
  readonly ours: readonly string[];
  readonly theirs: readonly string[];
  readonly ending: string;
  readonly ended: boolean;
}

/**
 * Merges two texts that were made from the same base, line by line (diff3, Khanna, Kunal & Pierce 2007). Edits of different lines are both
 * kept, equal edits once; so are edits that touch, if both replace lines one for one. How lines end, and whether the last one does, is merged
 * apart from their content, so that changing every line end doesn't collide with an edit.
 * @throws INVALID_ARGUMENT when something isn't a string.
 */
export function mergeText(base: string, ours: string, theirs: string, labels: MergeLabels = {}): MergedText {
  for (const text of [base, ours, theirs])
    if (typeof text !== 'string') throw invalid(`Expected a text to merge, got ${describe(text)}`);
  if (theirs === base || ours === theirs) return { text: ours, conflicts: [] };
  if (ours === base) return { text: theirs, conflicts: [] };
  return mergeChanged(readTexts(base, ours, theirs), labels);
}

function mergeChanged(texts: Texts, labels: MergeLabels): MergedText {
  const merged: string[] = [];
  const conflicts: MergeConflict[] = [];
  let done = 0;
  const append = (lines: readonly string[], start: number, end: number): void => {
    for (let i = start; i < end; i++) merged.push(lines[i] as string);
  };
  const { base } = texts;
  for (const region of mergeRegions(diffLines(base, texts.ours), diffLines(base, texts.theirs))) {
    append(base, done, region.start);
    done = region.end;
    const both = mergeRegion(region, texts);
    if (both.conflict !== undefined) conflicts.push(both.conflict);
    const lines = both.conflict === undefined ? both.lines : marked(both.conflict, labels);
    append(lines, 0, lines.length);
  }
  append(base, done, base.length);
  return { text: joinLines(merged, texts.ending, texts.ended), conflicts };
}

function readTexts(base: string, ours: string, theirs: string): Texts {
  const endings = [base, ours, theirs].map(endingOf) as [Ending, Ending, Ending];
  const ending = endings.includes('mixed') ? undefined : pick(...endings);
  // Where no one line end is right for all, a carriage return is a character of its line like any other.
  const split = (text: string, own: Ending): ReturnType<typeof splitLines> =>
    splitLines(text, ending === undefined || own === undefined ? '\n' : own);
  const b = split(base, endings[0]);
  const o = split(ours, endings[1]);
  const t = split(theirs, endings[2]);
  return {
    base: b.lines,
    ours: o.lines,
    theirs: t.lines,
    ending: ending ?? '\n',
    ended: pick(b.ended, o.ended, t.ended) ?? true,
  };
}

/** The value that a three-way merge keeps; `undefined` counts as not changed, and is the answer when both changed it differently. */
function pick<T>(base: T | undefined, ours: T | undefined, theirs: T | undefined): T | undefined {
  if (ours === undefined || ours === base) return theirs ?? ours ?? base;
  return theirs === undefined || theirs === base || theirs === ours ? ours : undefined;
}

function mergeRegion(
  region: Region,
  { base, ours, theirs }: Texts,
): { readonly lines: readonly string[]; readonly conflict?: MergeConflict } {
  const { start, end } = region;
  const left = applied(region.ours, base, ours, start, end);
  const right = applied(region.theirs, base, theirs, start, end);
  if (region.theirs.length === 0) return { lines: left };
  if (region.ours.length === 0) return { lines: right };
  if (left.length === right.length && left.every((line, i) => line === right[i])) return { lines: left };
  return {
    lines: left,
    conflict: { start, end, base: base.slice(start, end), ours: left, theirs: right },
  };
}

/** Lines `start … end` of the base as one side has them. */
function applied(
  changes: readonly Change[],
  base: readonly string[],
  side: readonly string[],
  start: number,
  end: number,
): readonly string[] {
  const lines: string[] = [];
  let at = start;
  for (const change of changes) {
    while (at < change.start) lines.push(base[at++] as string);
    for (let i = change.from; i < change.to; i++) lines.push(side[i] as string);
    at = change.end;
  }
  while (at < end) lines.push(base[at++] as string);
  return lines;
}

function marked(conflict: MergeConflict, labels: MergeLabels): readonly string[] {
  return [
    `<<<<<<< ${labels.ours ?? 'ours'}`,
    ...conflict.ours,
    '||||||| base',
    ...conflict.base,
    '=======',
    ...conflict.theirs,
    `>>>>>>> ${labels.theirs ?? 'theirs'}`,
  ];
}
