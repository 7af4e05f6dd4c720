import type { Draft } from './drafts.ts';
import { TODO } from './kinds/todo-index.ts';
import { languageOf } from './languages.ts';
import { bare, byCodeUnit, splitLines } from './lines.ts';
import type { SourceFile, Survey } from './workspace.ts';

const DECLARED =
  /^(?:export )?(?:async )?(?:function|const|let|class|interface|type) ([A-Za-z_]\w*[a-z][A-Z]\w*)/gm;
const WORD = /[A-Za-z_$][\w$]*/g;
const MAX_PATHS = 5;

/**
 * Symbols that can be renamed in any order with any other edit: declared once, used in at most five files, and never part of a string, a
 * path, a member access, a heading or a TODO line, because other edits read those.
 * @param vocabulary texts that the squad itself writes
 */
export function findRenames(survey: Survey, vocabulary: readonly string[]): readonly Draft[] {
  const declared = declarations(survey.files);
  const used = new Map<string, Set<string>>();
  const words = new Set<string>();
  const spoilt = new Set(wordsOf([...vocabulary, ...survey.paths].join(' ')));
  for (const file of [...survey.files, ...survey.others]) {
    const editable = survey.files.includes(file) && isProse(file.path);
    for (const line of splitLines(file.text)) {
      const fragile = editable ? new Set(fragileWords(bare(line))) : undefined;
      for (const word of wordsOf(line)) {
        words.add(word);
        if (!declared.has(word)) continue;
        if (fragile === undefined || fragile.has(word)) spoilt.add(word);
        else used.set(word, (used.get(word) ?? new Set()).add(file.path));
      }
    }
  }
  return [...used].flatMap(([from, users]) => {
    const home = declared.get(from) ?? '';
    const to = `${from}Next`;
    if (home === '' || spoilt.has(from) || users.size > MAX_PATHS || words.has(to)) return [];
    const paths = [home, ...[...users].filter((path) => path !== home).sort(byCodeUnit)];
    return [{ kind: 'symbol-rename', paths, options: { from, to } }];
  });
}

/** The file of each declaration; '' when there are several. */
function declarations(files: readonly SourceFile[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const { path, text } of files) {
    if (languageOf(path)?.family !== 'code') continue;
    for (const [, name = ''] of text.matchAll(DECLARED)) found.set(name, found.has(name) ? '' : path);
  }
  return found;
}

function isProse(path: string): boolean {
  const family = languageOf(path)?.family;
  return family === 'code' || family === 'markdown';
}

/** Words of a line that somebody may read as more than a name. */
function fragileWords(line: string): readonly string[] {
  if (line.startsWith('#') || TODO.test(line)) return wordsOf(line);
  const quoted = line.match(/(['"])(?:(?!\1).)*\1/g) ?? [];
  const joined = line.match(/[./@#-][A-Za-z_$][\w$]*|[A-Za-z_$][\w$]*[/@#-]/g) ?? [];
  return wordsOf([...quoted, ...joined].join(' '));
}

function wordsOf(text: string): readonly string[] {
  return text.match(WORD) ?? [];
}
