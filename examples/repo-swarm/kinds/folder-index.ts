import { basename, dirname } from 'node:path/posix';
import { JSON_MARKS, marksOf } from '../marks.ts';
import { comment, languageOf } from '../languages.ts';
import { bare, byCodeUnit, splitLines } from '../lines.ts';
import type { EditKind } from './kind.ts';

export const folderIndex: EditKind = {
  name: 'folder-index',
  capability: 'docs',
  effect: 'the index of the folder has exactly one line for the source file',
  apply(text, { path, source }) {
    if (source === undefined) throw new TypeError('a folder index entry needs its source file');
    const line = entryOf(source.path, source.text);
    const others = splitLines(text)
      .map(bare)
      .filter((one) => one.startsWith('- ') && linkOf(one) !== linkOf(line));
    const marks = marksOf(path, text).map((mark) => `${comment(path, `swarm:mark ${mark}`)}\n`);
    const entries = [...others, line].sort(byCodeUnit).map((entry) => `${entry}\n`);
    const folder = dirname(path) === '.' ? 'this repository' : `\`${dirname(path)}\``;
    return `# Files of ${folder}\n\n${entries.join('')}\n${marks.join('')}`;
  },
};

/** The link of a file in the index of its own folder. */
export function entryLink(source: string): string {
  return `(<./${basename(source).replaceAll(/[<>\\]/g, '\\$&')}>)`;
}

/** Says only what no other edit changes: a heading, a number of exports or of keys. */
function entryOf(path: string, text: string): string {
  const language = languageOf(path);
  const name = basename(path).replaceAll(/[[\]\\]/g, '\\$&');
  return `- [${name}]${entryLink(path)} · ${[language?.name ?? 'Text', ...factOf(language?.family, text)].join(' · ')}`;
}

function factOf(family: string | undefined, text: string): readonly string[] {
  if (family === 'code') return [count((text.match(/^export\b/gm) ?? []).length, 'export')];
  if (family === 'markdown') return /^# (.+?)\s*$/m.exec(text)?.slice(1, 2) ?? [];
  if (family !== 'json') return [];
  return [count(Object.keys(JSON.parse(text) as object).filter((key) => key !== JSON_MARKS).length, 'key')];
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function linkOf(line: string): string {
  return /\(<.*?>\)/.exec(line)?.[0] ?? '';
}
