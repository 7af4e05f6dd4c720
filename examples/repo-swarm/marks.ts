import { parseObject, printObject } from './json-text.ts';
import { comment, languageOf } from './languages.ts';
import { bare, byCodeUnit, endedLines, endingOf } from './lines.ts';

/** The key that carries the marks in a JSON file; always its last. */
export const JSON_MARKS = 'x-swarm-marks';
const MARK = /^(?:\/\/|#|<!--) swarm:mark ([0-9a-f]{4}-t\d+\.\d+)(?: -->)?$/;

/**
 * Leaves the mark of one task in one file: a comment line at the very end, or an entry of a key in JSON. The lines are kept sorted, so
 * marks may come in any order; they begin with four digits of a hash, so two that come at the same time rarely sit side by side and a
 * three-way merge can keep both.
 */
export function addMark(path: string, text: string, mark: string): string {
  return languageOf(path)?.family === 'json' ? addJsonMark(text, mark) : addLineMark(path, text, mark);
}

/** The marks of a file, in the order they stand there. */
export function marksOf(path: string, text: string): readonly string[] {
  if (languageOf(path)?.family === 'json') return jsonMarks(text);
  return endedLines(text).flatMap((line) => MARK.exec(bare(line))?.[1] ?? []);
}

function addLineMark(path: string, text: string, mark: string): string {
  const lines = endedLines(text);
  const line = comment(path, `swarm:mark ${mark}`);
  let at = lines.length;
  while (at > 0 && MARK.test(bare(lines[at - 1] as string)) && bare(lines[at - 1] as string) > line) at -= 1;
  if (at > 0 && bare(lines[at - 1] as string) === line) return lines.join('');
  return lines.toSpliced(at, 0, line + endingOf(text)).join('');
}

function addJsonMark(text: string, mark: string): string {
  const object = parseObject(text);
  if (object === undefined) throw new SyntaxError('not a JSON object with one member a line');
  const { indent, members } = object;
  const ending = endingOf(text);
  const marks = [...new Set([...jsonMarks(text), mark])].sort(byCodeUnit);
  const entries = marks.map((entry) => `${indent}${indent}"${entry}"`).join(`,${ending}`);
  const member = { key: JSON_MARKS, raw: `"${JSON_MARKS}": [${ending}${entries}${ending}${indent}]` };
  const others = members.filter(({ key }) => key !== JSON_MARKS);
  return printObject({ ...object, members: [...others, member] }, ending);
}

function jsonMarks(text: string): readonly string[] {
  const value = (JSON.parse(text) as Record<string, unknown>)[JSON_MARKS];
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : [];
}
