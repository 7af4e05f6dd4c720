import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { matchExactly } from '../../src/conflicts/text/greedy-match.ts';
import { diffLines } from '../../src/conflicts/text/line-diff.ts';
import { mergeText } from '../../src/conflicts/text/merge-text.ts';
import { uniqueAnchors } from '../../src/conflicts/text/unique-anchors.ts';

/** Lines `start … start + length` of a base of distinct lines are replaced by `count` new ones. */
interface Edit {
  readonly start: number;
  readonly length: number;
  readonly count: number;
}

const SIZE = 24;
const BASE: readonly string[] = Array.from({ length: SIZE }, (_, i) => `line ${i}`);

const editOf: fc.Arbitrary<Edit> = fc
  .record({ start: fc.nat(SIZE), length: fc.nat(3), count: fc.nat(3) })
  .map(({ start, length, count }) => ({ start, length: Math.min(length, SIZE - start), count }))
  .filter(({ length, count }) => length + count > 0);

/** Edits of one side with at least one line between any two, as a diff reports them. */
const editsOf: fc.Arbitrary<readonly Edit[]> = fc.array(editOf, { maxLength: 5 }).map((edits) => {
  const apart: Edit[] = [];
  for (const edit of edits.toSorted((a, b) => a.start - b.start)) {
    const last = apart.at(-1);
    if (last === undefined || edit.start > last.start + last.length) apart.push(edit);
  }
  return apart;
});

const newLines = (side: string, { start, count }: Edit): readonly string[] =>
  Array.from({ length: count }, (_, i) => `${side} ${start}.${i}`);

function applyEdits(side: string, edits: readonly Edit[]): string[] {
  const lines = [...BASE];
  for (const edit of edits.toReversed()) lines.splice(edit.start, edit.length, ...newLines(side, edit));
  return lines;
}

/** Two edits of different sides collide: they overlap, or touch and don't both replace lines one for one. */
function collide(a: Edit, b: Edit): boolean {
  const [aEnd, bEnd] = [a.start + a.length, b.start + b.length];
  if (a.start < bEnd && b.start < aEnd) return true;
  const touch = a.start === bEnd || b.start === aEnd;
  return touch && (a.count !== a.length || b.count !== b.length);
}

const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');

describe('mergeText', () => {
  test('disjoint edits are all kept, colliding ones are reported, equal deletions count once: as computed line by line', () => {
    let clean = 0;
    let runs = 0;
    fc.assert(
      fc.property(editsOf, editsOf, (ours, theirs) => {
        runs += 1;
        const merged = mergeText(text(BASE), text(applyEdits('o', ours)), text(applyEdits('t', theirs)));
        const same = (a: Edit, b: Edit): boolean =>
          a.start === b.start && a.length === b.length && a.count === 0 && b.count === 0;
        const collides = (edit: Edit, others: readonly Edit[]): boolean =>
          others.some((other) => collide(edit, other) && !same(edit, other));
        const isClean = !ours.some((edit) => collides(edit, theirs));
        expect(merged.conflicts.length === 0).toBe(isClean);
        if (isClean) {
          clean += 1;
          expect(merged.text).toBe(text(expectedMerge(ours, theirs)));
        }
        const found = merged.text.split('\n');
        // What collides with nothing is kept even beside a conflict.
        for (const [side, edits, others] of [
          ['o', ours, theirs],
          ['t', theirs, ours],
        ] as const) {
          for (const edit of edits) {
            if (others.some((other) => collide(edit, other))) continue;
            for (const line of newLines(side, edit))
              expect(found.filter((other) => other === line)).toHaveLength(1);
            for (const line of BASE.slice(edit.start, edit.start + edit.length))
              expect(found).not.toContain(line);
          }
        }
      }),
    );
    // Runs that never meet the hard cases prove nothing; a replay of a few needn't.
    if (runs < 500) return;
    expect(clean / runs).toBeGreaterThan(0.1);
    expect(clean / runs).toBeLessThan(0.9);
  });

  test('merging commutes, and merging with the base or with itself gives the other side', () => {
    const textOf = fc
      .array(fc.constantFrom('a', 'b', 'c', '', '\r', '}'), { maxLength: 12 })
      .chain((lines) => fc.constantFrom('\n', '\r\n').map((end) => lines.join(end)))
      .chain((lines) => fc.constantFrom(lines, `${lines}\n`, `${lines}\r\n`));
    fc.assert(
      fc.property(textOf, textOf, textOf, (base, ours, theirs) => {
        const one = mergeText(base, ours, theirs);
        const other = mergeText(base, theirs, ours);
        expect(other.conflicts).toEqual(one.conflicts.map((c) => ({ ...c, ours: c.theirs, theirs: c.ours })));
        if (one.conflicts.length === 0) expect(other.text).toBe(one.text);
        expect(mergeText(base, ours, base)).toEqual({ text: ours, conflicts: [] });
        expect(mergeText(base, base, theirs)).toEqual({ text: theirs, conflicts: [] });
        expect(mergeText(base, ours, ours)).toEqual({ text: ours, conflicts: [] });
      }),
    );
  });

  test('changing every line end, or the last one, never collides with an edit and is kept beside it', () => {
    fc.assert(
      fc.property(editsOf, fc.constantFrom('\n', '\r\n'), fc.boolean(), (edits, ending, ended) => {
        const other = ending === '\n' ? '\r\n' : '\n';
        const written = (lines: readonly string[], end: string, last: boolean): string =>
          lines.join(end) + (last ? end : '');
        const base = written(BASE, ending, ended);
        const converted = written(BASE, other, !ended);
        const edited = applyEdits('o', edits);
        expect(mergeText(base, written(edited, ending, ended), converted)).toEqual({
          text: written(edited, other, !ended),
          conflicts: [],
        });
      }),
    );
  });

  test('any Unicode is merged without a throw; conflicts are regions of the base, in order, that both changed', () => {
    const anyText = fc
      .string({ unit: 'binary', maxLength: 40 })
      .chain((start) =>
        fc
          .array(fc.constantFrom(start, '\n', '\r\n', 'x', '\u2028', '\ud800'), { maxLength: 10 })
          .map((parts) => parts.join('')),
      );
    fc.assert(
      fc.property(anyText, anyText, anyText, (base, ours, theirs) => {
        const { conflicts, text: merged } = mergeText(base, ours, theirs);
        let last = -1;
        for (const conflict of conflicts) {
          expect(conflict.start).toBeGreaterThanOrEqual(last);
          expect(conflict.base).toHaveLength(conflict.end - conflict.start);
          expect(conflict.ours).not.toEqual(conflict.theirs);
          expect(conflict.ours).not.toEqual(conflict.base);
          expect(conflict.theirs).not.toEqual(conflict.base);
          last = conflict.end;
        }
        expect(
          merged.split('\n').filter((line) => line.startsWith('<<<<<<< ')).length,
        ).toBeGreaterThanOrEqual(conflicts.length);
      }),
    );
  });
});

/** Every base line with what was put before it, unless it was taken out. */
function expectedMerge(ours: readonly Edit[], theirs: readonly Edit[]): readonly string[] {
  const edits = [
    ...ours.map((edit) => ({ ...edit, lines: newLines('o', edit) })),
    ...theirs.map((edit) => ({ ...edit, lines: newLines('t', edit) })),
  ].toSorted((a, b) => a.start - b.start || a.length - b.length);
  return [...BASE, undefined].flatMap((line, i) => {
    const added = edits.filter((edit) => edit.start === i).flatMap((edit) => edit.lines);
    const removed = edits.some((edit) => edit.start <= i && i < edit.start + edit.length);
    return removed || line === undefined ? added : [...added, line];
  });
}

describe('diffLines', () => {
  const expectDiff = (old: readonly string[], now: readonly string[]): number => {
    const changes = diffLines(old, now);
    const rebuilt: string[] = [];
    let at = 0;
    for (const { start, end, from, to } of changes) {
      expect(start > at || rebuilt.length === 0).toBe(true);
      for (; at < start; at++) rebuilt.push(old[at] as string);
      expect(rebuilt).toHaveLength(from);
      rebuilt.push(...now.slice(from, to));
      at = end;
    }
    rebuilt.push(...old.slice(at));
    expect(rebuilt).toEqual(now);
    return changes.length;
  };

  test('the changes turn the old lines into the new ones, with a common line between any two', () => {
    const linesOf = fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { maxLength: 30 });
    fc.assert(
      fc.property(linesOf, linesOf, (old, now) => {
        expectDiff(old, now);
        expect(diffLines(old, old)).toEqual([]);
      }),
    );
  });

  test('one insertion among repeated lines is one change, as far down as it can be', () => {
    const linesOf = fc.array(fc.constantFrom('a', 'b'), { maxLength: 20 });
    fc.assert(
      fc.property(linesOf, fc.nat(20), fc.constantFrom('a', 'b'), (old, at, line) => {
        const now = old.toSpliced(at, 0, line);
        const [change, ...others] = diffLines(old, now);
        expect(others).toEqual([]);
        expect(change).toMatchObject({ start: change?.end, to: (change?.from ?? 0) + 1 });
        expect(old[change?.start as number]).not.toBe(now[change?.from as number]);
      }),
    );
  });

  /** A whole text against another, with nothing matched yet. */
  const whole = (old: readonly number[], now: readonly number[]) => ({
    comparison: {
      old: Int32Array.from(old),
      new: Int32Array.from(now),
      partner: new Int32Array(old.length).fill(-1),
    },
    box: { oldStart: 0, oldEnd: old.length, newStart: 0, newEnd: now.length },
  });

  /** Length of the longest common subsequence, by dynamic programming. */
  function longestCommon(old: readonly number[], now: readonly number[]): number {
    let row = Array<number>(now.length + 1).fill(0);
    for (const line of old) {
      const next = [0];
      for (const [j, other] of now.entries())
        next.push(
          line === other ? (row[j] as number) + 1 : Math.max(row[j + 1] as number, next[j] as number),
        );
      row = next;
    }
    return row.at(-1) as number;
  }

  test('without unique lines as many lines as possible are matched', () => {
    const linesOf = fc.array(fc.nat(2), { maxLength: 25 });
    fc.assert(
      fc.property(linesOf, linesOf, (old, now) => {
        const { comparison, box } = whole(old, now);
        matchExactly(comparison, box);
        const matched = [...comparison.partner].flatMap((to, from) => (to < 0 ? [] : [[from, to] as const]));
        expect(matched.every(([from, to]) => old[from] === now[to])).toBe(true);
        expect(matched.every(([, to], i) => to > (matched[i - 1]?.[1] ?? -1))).toBe(true);
        expect(matched).toHaveLength(longestCommon(old, now));
      }),
    );
  });

  test('of lines that are unique in both, as many as possible are anchors', () => {
    const linesOf = fc.shuffledSubarray([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const repeated = fc.array(fc.constant(0), { maxLength: 3 });
    fc.assert(
      fc.property(linesOf, linesOf, repeated, (old, now, zeros) => {
        const { comparison, box } = whole([0, ...old, ...zeros], [...zeros, 0, ...now, 0]);
        const anchors = uniqueAnchors(comparison, box);
        expect(anchors.every(([from, to]) => comparison.old[from] === comparison.new[to])).toBe(true);
        expect(
          anchors.every(
            ([from, to], i) =>
              i === 0 || (from > (anchors[i - 1]?.[0] as number) && to > (anchors[i - 1]?.[1] as number)),
          ),
        ).toBe(true);
        expect(anchors).toHaveLength(longestCommon(old, now));
      }),
    );
  });

  test('an edit that both sides made is merged once, whatever else one of them did before it', () => {
    const linesOf = fc.array(fc.constantFrom('a', 'b'), { minLength: 1, maxLength: 10 });
    const otherLines = fc.array(fc.constantFrom('x', 'y'), { maxLength: 3 });
    fc.assert(
      fc.property(linesOf, fc.nat(10), fc.nat(2), linesOf, otherLines, (base, at, taken, added, before) => {
        const first = ['first', 'kept'];
        const both = base.toSpliced(at, taken, ...added.slice(0, 2));
        const merged = mergeText(
          text([...first, ...base]),
          text([...first, ...both]),
          text([...before, 'kept', ...both]),
        );
        expect(merged).toEqual({ text: text([...before, 'kept', ...both]), conflicts: [] });
      }),
    );
  });
});
