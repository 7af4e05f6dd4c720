import { describe, expect, test } from 'vitest';
import { diffLines } from '../../src/conflicts/text/line-diff.ts';
import { mergeText } from '../../src/conflicts/text/merge-text.ts';
import { isCoordinationError } from '../../src/core/errors.ts';
import { createRandom } from '../../src/core/runtime/random.ts';

/** ms; the best of a few tries, because others use the machine too. */
function fastestOf(tries: number, run: () => unknown): number {
  const times = Array.from({ length: tries }, () => {
    const started = performance.now();
    run();
    return performance.now() - started;
  });
  return Math.min(...times);
}

const clean = (text: string) => ({ text, conflicts: [] });

describe('mergeText', () => {
  test.each([
    ['edits of neighbouring lines', 'a\nb\nc\n', 'A\nb\nc\n', 'a\nB\nc\n', 'A\nB\nc\n'],
    ['insertions at both ends', 'a\nb\n', 'top\na\nb\n', 'a\nb\nend\n', 'top\na\nb\nend\n'],
    ['a deletion and an edit apart', 'a\nb\nc\n', 'b\nc\n', 'a\nb\nC\n', 'b\nC\n'],
    ['the same edit beside another', 'a\nb\nc\nd\n', 'A\nb\nc\nd\n', 'A\nb\nc\nD\n', 'A\nb\nc\nD\n'],
    ['one side empties the file', 'a\n', '', 'a\n', ''],
    ['both fill an empty file alike', '', 'x\n', 'x\n', 'x\n'],
    ['no final newline, an edit above', 'a\nb\nc', 'A\nb\nc', 'a\nb\nc\n', 'A\nb\nc\n'],
    ['the final newline taken away, a line added', 'a\nb\n', 'a\nb', 'a\nb\nc\n', 'a\nb\nc'],
    ['CRLF on one side, an edit on the other', 'a\nb\n', 'a\r\nb\r\n', 'a\nB\n', 'a\r\nB\r\n'],
    ['CRLF everywhere', 'a\r\nb\r\nc\r\n', 'A\r\nb\r\nc\r\n', 'a\r\nb\r\nC\r\n', 'A\r\nb\r\nC\r\n'],
    ['mixed line ends stay as they are', 'a\r\nb\nc\n', 'A\r\nb\nc\n', 'a\r\nb\nC\n', 'A\r\nb\nC\n'],
    [
      'lines called like object members',
      '__proto__\nconstructor\nx\n',
      'a\nconstructor\nx\n',
      '__proto__\nconstructor\ny\n',
      'a\nconstructor\ny\n',
    ],
  ])('%s: both are kept', (_title, base, ours, theirs, expected) => {
    expect(mergeText(base, ours, theirs)).toEqual(clean(expected));
    expect(mergeText(base, theirs, ours)).toEqual(clean(expected));
  });

  test('different edits of one line are a conflict with its region, marked in the text', () => {
    expect(mergeText('a\nb\nc\n', 'a\nX\nc\n', 'a\nY\nZ\nc\n', { ours: 'agent1', theirs: 'agent2' })).toEqual(
      {
        text: 'a\n<<<<<<< agent1\nX\n||||||| base\nb\n=======\nY\nZ\n>>>>>>> agent2\nc\n',
        conflicts: [{ start: 1, end: 2, base: ['b'], ours: ['X'], theirs: ['Y', 'Z'] }],
      },
    );
  });

  test.each([
    ['two insertions at one place', 'a\nb\n', 'a\nX\nb\n', 'a\nY\nb\n'],
    ['an insertion beside a deletion', 'a\nb\nc\n', 'a\nc\n', 'a\nb\nX\nc\n'],
    ['a deletion of an edited line', 'a\nb\nc\n', 'a\nc\n', 'a\nB\nc\n'],
    ['two first contents', '', 'x\n', 'y\n'],
    ['line ends changed in part', 'a\nb\n', 'a\r\nb\n', 'A\nb\n'],
  ])('%s: a conflict, because the result would be a guess', (_title, base, ours, theirs) => {
    expect(mergeText(base, ours, theirs).conflicts).toHaveLength(1);
  });

  test.each([
    ['distinct lines', (i: number) => `line ${i}`],
    [
      'code, half of it braces and blank lines',
      (i: number) => ['}', '', `line ${i}`, `call(${i})`][i % 4] as string,
    ],
  ])('20,000 lines with 100 edits a side merge well below a second: %s', (_title, lineAt) => {
    const base = Array.from({ length: 20_000 }, (_, i) => lineAt(i));
    const edited = (offset: number): string =>
      base.map((line, i) => (i % 200 === offset ? `edit ${i}` : line)).join('\n');
    const sides = [base.join('\n'), edited(50), edited(150)] as const;
    expect(fastestOf(3, () => mergeText(...sides))).toBeLessThan(1_000);
    const { text, conflicts } = mergeText(...sides);
    expect(conflicts).toEqual([]);
    const expected = base.map((line, i) => (i % 200 === 50 || i % 200 === 150 ? `edit ${i}` : line));
    expect(text).toBe(expected.join('\n'));
  });

  test('20,000 lines rewritten by both sides are one conflict, found without quadratic time', () => {
    const rewritten = (word: string): string =>
      Array.from({ length: 20_000 }, (_, i) => `${word} ${i}`).join('\n');
    const sides = [rewritten('base'), rewritten('ours'), rewritten('theirs')] as const;
    expect(mergeText(...sides).conflicts).toHaveLength(1);
    expect(fastestOf(3, () => mergeText(...sides))).toBeLessThan(2_000);
  });

  test('20,000 equal lines with one edit a side merge', () => {
    const base = Array<string>(20_000).fill('same');
    const [ours, theirs] = [base.with(5, 'ours'), base.with(15_000, 'theirs')];
    expect(mergeText(base.join('\n'), ours.join('\n'), theirs.join('\n'))).toEqual(
      clean(ours.with(15_000, 'theirs').join('\n')),
    );
  });

  test('200,000 lines do not overflow the stack', () => {
    const base = Array.from({ length: 200_000 }, (_, i) => `${i}`).join('\n');
    expect(mergeText(base, `top\n${base}`, `${base}\nend`)).toEqual(clean(`top\n${base}\nend`));
    expect(mergeText('', base, `${base}\nend`).conflicts).toHaveLength(1);
  });

  test.each([[undefined], [null], [7], [['a']], [Buffer.from('a')]])('%s is no text', (value) => {
    for (const texts of [
      [value, 'a', 'b'],
      ['a', value, 'b'],
      ['a', 'b', value],
    ] as unknown as [string, string, string][]) {
      let thrown: unknown;
      try {
        mergeText(...texts);
      } catch (error) {
        thrown = error;
      }
      expect(isCoordinationError(thrown, 'INVALID_ARGUMENT')).toBe(true);
    }
  });
});

describe('diffLines', () => {
  test('beyond the limit of edits the changes still turn the old lines into the new ones', () => {
    const random = createRandom(11);
    for (let round = 0; round < 20; round++) {
      const lines = (): string[] => Array.from({ length: 900 }, () => (random.next() < 0.5 ? '0' : '1'));
      const [old, now] = [lines(), lines()];
      const rebuilt: string[] = [];
      let at = 0;
      for (const { start, end, from, to } of diffLines(old, now)) {
        expect(start > at || at === 0).toBe(true);
        rebuilt.push(...old.slice(at, start), ...now.slice(from, to));
        at = end;
      }
      expect([...rebuilt, ...old.slice(at)]).toEqual(now);
    }
  });
});
