#!/usr/bin/env node
// Counts which planned edits a clone really holds. Shares no code with the squad and asks nobody but git: what is expected comes from the
// plan as it was committed, what is found from HEAD. An edit counts when its file has exactly one such mark AND shows the edit's effect.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const HELP = `usage: node verify.mjs <clone> [--worktree] [--tasks id,id,…]

Prints one JSON object: expected, found and lost edits, damaged lines, and the first examples of each.
  --worktree   looks at the files on disk instead of HEAD
  --tasks      looks at these tasks only
Exit code 0: everything is there; 1: something is missing or damaged; 2: it could not be checked.`;
const PLAN = '.swarm/plan.json';
const SHOWN = 20;
/** Without what a surrounding git, as in a hook, would impose. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('GIT_')),
);

function parse(args) {
  const options = { folder: '', worktree: false, tasks: undefined };
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--worktree') options.worktree = true;
    else if (args[i] === '--tasks') options.tasks = new Set((args[++i] ?? '').split(','));
    else if (args[i].startsWith('-') || options.folder !== '') throw new Error(HELP);
    else options.folder = args[i];
  }
  if (options.folder === '') throw new Error(HELP);
  return options;
}

function verify({ folder, worktree, tasks: only }) {
  const planned = git(folder, ['log', '-1', '--format=%H', '--', PLAN]).trim();
  if (planned === '') throw new Error(`${folder} has no commit with ${PLAN}`);
  const plan = JSON.parse(git(folder, ['show', `${planned}:${PLAN}`]));
  const tasks = plan.tasks.filter((task) => only === undefined || only.has(task.id));
  const paths = [
    ...new Set(tasks.flatMap((task) => [...task.paths, ...(task.source === undefined ? [] : [task.source])])),
  ];
  const before = readCommit(folder, planned, paths);
  const after = worktree ? readDisk(folder, paths) : readCommit(folder, 'HEAD', paths);

  const missing = [];
  let expected = 0;
  for (const task of tasks) {
    for (const [i, path] of task.paths.entries()) {
      expected += 1;
      const why = problem(task, `${task.mark}.${i + 1}`, path, before, after);
      if (why !== undefined) missing.push({ task: task.id, path, why });
    }
  }
  const whole = only === undefined;
  const damaged = whole ? paths.flatMap((path) => damage(path, plan.tasks, before, after)) : [];
  const foreign =
    whole && !worktree
      ? foreignChanges(folder, planned, new Set(plan.tasks.flatMap((task) => task.paths)))
      : [];
  return {
    ok: missing.length + damaged.length + foreign.length === 0,
    plan: planned,
    tree: git(folder, ['rev-parse', 'HEAD^{tree}']).trim(),
    tasks: tasks.length,
    expected,
    found: expected - missing.length,
    lost: missing.length,
    damagedLines: damaged.length,
    foreignChanges: foreign.length,
    lostByPath: Object.fromEntries(
      Object.entries(Object.groupBy(missing, ({ path }) => path)).map(([path, list]) => [path, list.length]),
    ),
    examples: {
      lost: missing.slice(0, SHOWN),
      damaged: damaged.slice(0, SHOWN),
      foreign: foreign.slice(0, SHOWN),
    },
  };
}

/** Why this edit isn't there, or undefined. */
function problem(task, mark, path, before, after) {
  const text = after.get(path);
  if (text === undefined) return 'the file is missing';
  const marks = path.endsWith('.json') ? jsonMarks(text) : lineMarks(text);
  const count = marks.filter((found) => found === mark).length;
  if (count !== 1) return `${count} marks instead of 1`;
  const check = EFFECTS[task.kind];
  if (check === undefined) throw new Error(`the plan names a kind that is unknown here: ${task.kind}`);
  return check({ task, path, text, original: before.get(path) ?? '', source: after.get(task.source) ?? '' })
    ? undefined
    : 'the effect does not hold';
}

function lineMarks(text) {
  return text
    .split(/\r?\n/)
    .flatMap((line) => /^(?:\/\/|#|<!--) swarm:mark (\S+)(?: -->)?$/.exec(line)?.[1] ?? []);
}

function jsonMarks(text) {
  const marks = parseJson(text)?.['x-swarm-marks'];
  return Array.isArray(marks) ? marks : [];
}

/** What must hold after an edit of each kind. */
const EFFECTS = {
  'licence-header': ({ task, text }) => {
    const lines = text.split(/\r?\n/);
    const wanted = task.options.line;
    const head = lines.slice(lines[0].startsWith('#!') ? 1 : 0);
    const end = head.findIndex((line) => !/^(?:\/\/|#|<!--) SPDX-/.test(line));
    return head.slice(0, end).filter((line) => line.includes(wanted)).length === 1;
  },
  'import-order': ({ text }) =>
    importRuns(text).runs.every((run) =>
      run.every((statement, i) => i === 0 || run[i - 1].specifier <= statement.specifier),
    ),
  'json-key-order': ({ text }) => {
    const keys = Object.keys(parseJson(text) ?? { b: 0, a: 0 }).filter((key) => key !== 'x-swarm-marks');
    return keys.every((key, i) => i === 0 || keys[i - 1] < key);
  },
  'line-endings': ({ text }) => !text.includes('\r\n') && text.endsWith('\n'),
  'todo-index': ({ task, text, source }) => {
    const sections = text
      .split(/^## /m)
      .slice(1)
      .filter((section) => section.split('\n')[0] === task.source);
    const entries = (sections[0] ?? '').split('\n').filter((line) => line.startsWith('- '));
    const todos = source.split(/\r?\n/).filter((line) => /\b(?:TODO|FIXME)\b/.test(line));
    if (sections.length !== 1) return false;
    if (todos.length === 0) return entries.length === 1 && entries[0] === '- nothing left to do';
    return (
      entries.length === todos.length &&
      entries.every((entry) => todos.some((todo) => todo.includes(entry.slice(2))))
    );
  },
  'table-of-contents': ({ text }) => {
    const listed =
      /^<!-- swarm:toc -->\r?\n([\s\S]*?)^<!-- \/swarm:toc -->/m
        .exec(text)?.[1]
        ?.match(/^ *- \[.*\]\(#.*\)/gm) ?? [];
    const titles = listed.map((line) => /\[(.*)\]\(#/.exec(line)[1].replaceAll(/\\([[\]])/g, '$1'));
    const wanted = headingTitles(text);
    return (
      wanted.length > 0 && titles.length === wanted.length && titles.every((title, i) => title === wanted[i])
    );
  },
  'symbol-rename': ({ task, text, original }) => {
    const { from, to } = task.options;
    return words(text, from) === 0 && words(text, to) === words(original, from);
  },
  'folder-index': ({ task, text }) => {
    const link = `(<./${basename(task.source).replaceAll(/[<>\\]/g, '\\$&')}>)`;
    return text.split('\n').filter((line) => line.startsWith('- ') && line.includes(link)).length === 1;
  },
};

function words(text, name) {
  return (text.match(/[A-Za-z_$][\w$]*/g) ?? []).filter((word) => word === name).length;
}

function headingTitles(text) {
  const titles = [];
  let fence = '';
  for (const line of text.split(/\r?\n/)) {
    const mark = /^ {0,3}(`{3,}|~{3,})/.exec(line)?.[1] ?? '';
    if (fence !== '') fence = mark.startsWith(fence) ? '' : fence;
    else if (mark !== '') fence = mark;
    else if (/^#{2,3}[ \t]/.test(line))
      titles.push(line.replace(/^#+[ \t]+/, '').replace(/(?:[ \t]+#+)?[ \t]*$/, ''));
  }
  return titles;
}

/** The import statements in the head of a module, in runs of neighbours, and the numbers of the lines they take. */
function importRuns(text) {
  const lines = text.split(/\r?\n/);
  const runs = [[]];
  const taken = new Set();
  let comment = false;
  for (let at = lines[0].startsWith('#!') ? 1 : 0; at < lines.length; at++) {
    const line = lines[at].trim();
    if (comment || line.startsWith('/*')) {
      const end = lines[at].indexOf('*/', comment ? 0 : lines[at].indexOf('/*') + 2);
      comment = end < 0;
      runs.push([]);
      if (!comment && lines[at].slice(end + 2).trim() !== '') break;
    } else if (/^import[ {]/.test(lines[at])) {
      let end = at;
      while (
        end < lines.length - 1 &&
        end < at + 59 &&
        !/['"][^'"]+['"](?:\s*with\s*\{[^}]*\})?;?[ \t]*(?:\/\/.*)?$/.test(lines[end])
      )
        end += 1;
      const statement = lines.slice(at, end + 1).join(' ');
      const specifier = /\sfrom\s*['"]([^'"]+)['"]/.exec(statement)?.[1];
      if (specifier === undefined) {
        if (!/^import\s*['"]/.test(statement)) break;
        runs.push([]);
      } else {
        runs.at(-1).push({ specifier });
        for (let i = at; i <= end; i++) taken.add(i);
      }
      at = end;
    } else if (line === '' || line.startsWith('//') || /^(['"])use \w+\1;?$/.test(line)) runs.push([]);
    else break;
  }
  return { runs, taken };
}

/** Original lines that no task may change and that are gone, or out of order. */
function damage(path, tasks, before, after) {
  const original = before.get(path);
  if (original === undefined) return [];
  const mine = tasks.filter((task) => task.paths.includes(path));
  const renames = mine.filter((task) => task.kind === 'symbol-rename').map((task) => task.options);
  const text = renames.reduce(
    (all, { from, to }) => all.replaceAll(new RegExp(`(?<![\\w$])${from}(?![\\w$])`, 'g'), to),
    original,
  );
  const now = after.get(path) ?? '';
  const gone = [];
  if (!mine.some((task) => task.kind === 'line-endings') && crlf(now) < crlf(original))
    gone.push({ path, line: '(CRLF line endings)' });
  const clean = (line) => (path.endsWith('.json') ? line.replace(/,$/, '') : line);
  const imports = mine.some((task) => task.kind === 'import-order') ? importRuns(text).taken : new Set();
  const kept = text
    .replace(/\r?\n$/, '')
    .split(/\r?\n/)
    .map(clean);
  const found = now.split(/\r?\n/).map(clean);
  const counts = new Map();
  for (const line of found) counts.set(line, (counts.get(line) ?? 0) + 1);
  let inOrder = !mine.some((task) => task.kind === 'json-key-order');
  let position = 0;
  for (const [at, line] of kept.entries()) {
    const left = counts.get(line) ?? 0;
    counts.set(line, left - 1);
    if (left <= 0) gone.push({ path, line });
    else if (inOrder && !imports.has(at)) {
      const next = found.indexOf(line, position);
      if (next < 0) gone.push({ path, line: `${line} (out of order)` });
      inOrder = next >= 0; // the first one says it all
      position = next + 1;
    }
  }
  return gone;
}

function crlf(text) {
  return text.split('\r\n').length - 1;
}

/** Files that changed although no task names them, and files that were removed or changed their permissions or type. */
function foreignChanges(folder, planned, mine) {
  const fields = git(folder, ['diff', '--raw', '--no-renames', '--no-abbrev', '-z', planned, 'HEAD']).split(
    '\0',
  );
  const foreign = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const [oldMode, newMode, , , status] = fields[i].slice(1).split(' ');
    const path = fields[i + 1];
    if (!mine.has(path) || status === 'D' || (status !== 'A' && oldMode !== newMode))
      foreign.push(`${status} ${path}`);
  }
  return foreign;
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readDisk(folder, paths) {
  const files = new Map();
  for (const path of paths) {
    try {
      files.set(path, readFileSync(join(folder, path), 'utf8'));
    } catch {
      // a missing file is reported with the edits it lacks
    }
  }
  return files;
}

/** The text of files in one commit; those it lacks are left out. */
function readCommit(folder, commit, paths) {
  const input = paths.map((path) => `${commit}:${path}\n`).join('');
  const output = gitRaw(folder, ['cat-file', '--batch'], input);
  const files = new Map();
  let at = 0;
  for (const path of paths) {
    const end = output.indexOf(10, at);
    const size = /^[0-9a-f]+ blob (\d+)$/.exec(output.toString('utf8', at, end))?.[1];
    at = end + 1;
    if (size === undefined) continue;
    files.set(path, output.toString('utf8', at, at + Number(size)));
    at += Number(size) + 1;
  }
  return files;
}

function git(folder, args) {
  return gitRaw(folder, args).toString('utf8');
}

function gitRaw(folder, args, input = '') {
  const { status, stdout, stderr, error } = spawnSync('git', ['-c', 'core.quotePath=false', ...args], {
    cwd: folder,
    input,
    maxBuffer: 2 ** 30,
    env: { ...environment, GIT_LITERAL_PATHSPECS: '1', LC_ALL: 'C' },
  });
  if (status !== 0)
    throw new Error(
      `git ${args[0]} failed in ${folder}: ${error?.message ?? stderr.toString('utf8').trim()}`,
    );
  return stdout;
}

try {
  const options = parse(process.argv.slice(2));
  const result = verify(options);
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exitCode = result.ok ? 0 : 1;
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
