import { bare, byCodeUnit, splitLines } from '../lines.ts';
import { marksOf } from '../marks.ts';
import { comment } from '../languages.ts';
import type { EditKind } from './kind.ts';

/** A line that leaves something to do. */
export const TODO = /\b(?:TODO|FIXME)\b.*/;

export const todoIndex: EditKind = {
  name: 'todo-index',
  capability: 'docs',
  effect: 'the index has a section for the source file with each of its TODO lines',
  apply(text, { path, source }) {
    if (source === undefined) throw new TypeError('a TODO index entry needs its source file');
    const sections = new Map(parseSections(text)).set(source.path, todoLines(source.text));
    const body = [...sections]
      .sort(([a], [b]) => byCodeUnit(a, b))
      .map(([file, entries]) => `\n## ${file}\n\n${entries.map((entry) => `${entry}\n`).join('')}`);
    const marks = marksOf(path, text).map((mark) => `${comment(path, `swarm:mark ${mark}`)}\n`);
    return `# TODO index\n${body.join('')}\n${marks.join('')}`;
  },
};

/** Without line numbers and sorted, so that no other edit of the source changes the answer. */
function todoLines(text: string): readonly string[] {
  const found = splitLines(text).flatMap((line) => TODO.exec(bare(line))?.[0] ?? []);
  const entries = found.map(
    (todo) =>
      `- ${todo
        .replaceAll(/\s*(?:\*\/|-->).*$/g, '')
        .trim()
        .slice(0, 160)}`,
  );
  return entries.length > 0 ? entries.sort(byCodeUnit) : ['- nothing left to do'];
}

function parseSections(text: string): [string, readonly string[]][] {
  return text
    .split(/^## /m)
    .slice(1)
    .map((section) => {
      const [file = '', ...rest] = section.split('\n');
      return [file, rest.filter((line) => line.startsWith('- '))];
    });
}
