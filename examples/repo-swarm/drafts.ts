import { basename, dirname, join } from 'node:path/posix';
import { importRuns } from './kinds/import-order.ts';
import { HEADER_TAGS } from './kinds/licence-header.ts';
import { headings } from './kinds/table-of-contents.ts';
import { languageOf } from './languages.ts';
import { endedLines } from './lines.ts';
import { findRenames } from './renames.ts';
import type { SourceFile, Survey } from './workspace.ts';

/** An edit that would make sense; the planner chooses among them. */
export interface Draft {
  readonly kind: string;
  /** Files it writes, in the order it comes to them. */
  readonly paths: readonly string[];
  /** A file it only reads. */
  readonly source?: string;
  readonly options: Readonly<Record<string, string>>;
}

/** Every edit the repository offers. */
export function findDrafts(survey: Survey): readonly Draft[] {
  const project = readProject(survey);
  const todo = freeName(survey, '', ['TODO.md', 'TODO-INDEX.md']);
  return [
    ...survey.files.flatMap((file) => [
      ...ownDrafts(file, project),
      ...(todo !== undefined && languageOf(file.path)?.family === 'code'
        ? [{ kind: 'todo-index', paths: [todo], source: file.path, options: {} }]
        : []),
      ...indexDrafts(survey, file.path),
    ]),
    ...findRenames(survey, Object.values(project)),
  ];
}

/** Edits of one file that need no other. */
function ownDrafts(file: SourceFile, project: Project): readonly Draft[] {
  const of = (kind: string, options: Draft['options'] = {}): Draft => ({ kind, paths: [file.path], options });
  const family = languageOf(file.path)?.family;
  const lines = endedLines(file.text);
  const drafts = [of('line-endings')];
  if (family === 'json') drafts.push(of('json-key-order'));
  else drafts.push(...headerLines(file, project).map((line) => of('licence-header', { line })));
  if (family === 'code' && importRuns(lines).length > 0) drafts.push(of('import-order'));
  if (
    family === 'markdown' &&
    headings(lines).length > 2 &&
    headings(lines).some(({ level }) => level === 1)
  ) {
    drafts.push(of('table-of-contents'));
  }
  return drafts;
}

interface Project {
  readonly name: string;
  readonly licence: string;
}

function readProject(survey: Survey): Project {
  const text = [...survey.files, ...survey.others].find(({ path }) => path === 'package.json')?.text ?? '{}';
  let fields: { name?: unknown; license?: unknown } = {};
  try {
    fields = JSON.parse(text) as typeof fields;
  } catch {
    // a broken package.json names nothing
  }
  const plain = (value: unknown, otherwise: string): string =>
    typeof value === 'string' && /^[\w.+@/-]{1,80}$/.test(value) ? value : otherwise;
  return { name: plain(fields?.name, 'project'), licence: plain(fields?.license, 'NOASSERTION') };
}

/** SPDX lines the file lacks. Front matter has to stay first, so a file that begins with it gets none. */
function headerLines(file: SourceFile, project: Project): readonly string[] {
  if (/^---\r?\n/.test(file.text) && languageOf(file.path)?.family === 'markdown') return [];
  const values: Readonly<Record<string, string>> = {
    'SPDX-FileContributor': 'repo-swarm',
    'SPDX-FileCopyrightText': `The ${project.name} authors`,
    'SPDX-FileType': languageOf(file.path)?.family === 'markdown' ? 'DOCUMENTATION' : 'SOURCE',
    'SPDX-License-Identifier': project.licence,
  };
  return HEADER_TAGS.filter((tag) => !file.text.includes(`${tag}:`)).map(
    (tag) => `${tag}: ${values[tag] ?? ''}`,
  );
}

function indexDrafts(survey: Survey, source: string): readonly Draft[] {
  const path = freeName(survey, dirname(source), ['FILES.md', 'FILE-INDEX.md']);
  return path === undefined ? [] : [{ kind: 'folder-index', paths: [path], source, options: {} }];
}

/** The first of the names that nothing in the folder has, whatever the case. */
function freeName(survey: Survey, folder: string, names: readonly string[]): string | undefined {
  return names
    .map((name) => (folder === '.' || folder === '' ? name : join(folder, name)))
    .find((path) => !takenNames(survey).has(path.toLowerCase()));
}

const taken = new WeakMap<Survey, ReadonlySet<string>>();
function takenNames(survey: Survey): ReadonlySet<string> {
  let names = taken.get(survey);
  if (names === undefined) {
    names = new Set(survey.paths.map((path) => join(dirname(path), basename(path)).toLowerCase()));
    taken.set(survey, names);
  }
  return names;
}
