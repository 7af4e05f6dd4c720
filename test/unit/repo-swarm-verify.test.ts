import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { applyEdit } from '../../examples/repo-swarm/kinds/index.ts';
import { makePlan, markAt, type EditTask, type Plan } from '../../examples/repo-swarm/plan.ts';
import { verifyClone, type Verification } from '../../examples/repo-swarm/verification.ts';
import { Workspace } from '../../examples/repo-swarm/workspace.ts';
import { createRepository, oddFiles, type TestRepository } from '../support/swarm-repository.ts';

const SCRIPT = fileURLToPath(new URL('../../examples/repo-swarm/verify.mjs', import.meta.url));
let repository: TestRepository;
let workspace: Workspace;
let plan: Plan;
let done: string;

/** A clone in which every planned edit has been made, one after another. */
beforeAll(async () => {
  repository = createRepository(oddFiles());
  workspace = await Workspace.clone(repository.folder, `${repository.scratch}/clone`, repository.config);
  plan = makePlan(await workspace.survey(), 3);
  await workspace.commitPlan(plan);
  for (const task of plan.tasks) await makeEdit(task);
  await workspace.commit([...new Set(plan.tasks.flatMap(({ paths }) => paths))], 'all edits');
  done = (await workspace.git.run(['rev-parse', 'HEAD'])).trim();
});
afterEach(() => workspace.git.run(['reset', '--quiet', '--hard', done]));
afterAll(() => repository[Symbol.dispose]());

async function makeEdit(task: EditTask): Promise<void> {
  for (const [i, path] of task.paths.entries()) {
    const source =
      task.source === undefined
        ? {}
        : { source: { path: task.source, text: await workspace.read(task.source) } };
    const edit = { path, options: task.options, ...source };
    await workspace.write(path, applyEdit(task.kind, await workspace.read(path), edit, markAt(task, i)));
  }
}

/** Changes one file, commits it and has HEAD checked. */
async function after(path: string, change: (text: string) => string): Promise<Verification> {
  const text = await workspace.read(path);
  const changed = change(text);
  expect(changed, 'the planted fault must change something').not.toBe(text);
  await workspace.write(path, changed);
  await workspace.commit([path], 'a planted fault');
  return verifyClone(workspace.folder, new AbortController().signal);
}

function taskOf(kind: string): EditTask & { readonly path: string } {
  const task = plan.tasks.find((one) => one.kind === kind);
  if (task === undefined) throw new Error(`no ${kind} in the plan`);
  return { ...task, path: task.paths[0] ?? '' };
}

function lineWith(words: string): RegExp {
  return new RegExp(`^.*${words.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}.*\\n`, 'm');
}

describe('verify.mjs', () => {
  test('finds every edit of a finished clone and no damage', async () => {
    const found = await verifyClone(workspace.folder, new AbortController().signal);
    const expected = plan.tasks.reduce((sum, { paths }) => sum + paths.length, 0);
    expect(found).toMatchObject({
      ok: true,
      expected,
      found: expected,
      lost: 0,
      damagedLines: 0,
      foreignChanges: 0,
    });
    expect(found.tree).toBe(await workspace.tree());
  });

  test('uses node builtins and git only', () => {
    const imports = [...readFileSync(SCRIPT, 'utf8').matchAll(/(?:from|import\()\s*'([^']+)'/g)].map(
      (match) => match[1],
    );
    expect(imports.length).toBeGreaterThan(0);
    expect(imports.every((name) => name?.startsWith('node:'))).toBe(true);
  });

  test('misses an edit whose mark is gone', async () => {
    const task = taskOf('symbol-rename');
    const result = await after(task.path, (text) => text.replace(lineWith(markAt(task, 0)), ''));
    expect(result).toMatchObject({ ok: false, lost: 1, lostByPath: { [task.path]: 1 } });
    expect(result.examples.lost).toEqual([{ task: task.id, path: task.path, why: '0 marks instead of 1' }]);
  });

  test('does not count a mark that stands twice', async () => {
    const task = taskOf('import-order');
    const result = await after(task.path, (text) => text.replace(lineWith(markAt(task, 0)), '$&$&'));
    expect(result).toMatchObject({ ok: false, lost: 1 });
    expect(result.examples.lost[0]?.why).toBe('2 marks instead of 1');
  });

  test('misses the mark of a JSON file', async () => {
    const task = taskOf('json-key-order');
    const result = await after(task.path, (text) => text.replace(`"${markAt(task, 0)}"`, '"other"'));
    expect(result.lost).toBe(1);
  });

  const undone: Record<string, (text: string, task: EditTask) => string> = {
    'licence-header': (text, task) => text.replace(lineWith(task.options['line'] ?? ''), ''),
    'import-order': (text) => text.replace(/^(import .*y\.ts.*\n)(import .*z\.ts.*\n)/m, '$2$1'),
    'json-key-order': (text) => text.replace(/^\{\n( {2}"a": .*)\n( {2}"license": .*)/, '{\n$2\n$1'),
    'line-endings': (text) => text.replace('\n', '\r\n'),
    'todo-index': (text, task) => text.replace(`## ${task.source}\n`, '## elsewhere.ts\n'),
    'table-of-contents': (text) => text.replace(/^- \[.*\]\(#.*\n/m, ''),
    'symbol-rename': (text, { options }) => text.replace(options['to'] ?? '', options['from'] ?? ''),
    'folder-index': (text, task) => text.replace(lineWith(`(<./${task.source?.split('/').at(-1)}>)`), ''),
  };
  for (const [kind, undo] of Object.entries(undone)) {
    test(`misses an edit whose effect does not hold: ${kind}`, async () => {
      const task = taskOf(kind);
      const result = await after(task.path, (text) => undo(text, task));
      expect(result.ok).toBe(false);
      expect(result.examples.lost).toContainEqual({
        task: task.id,
        path: task.path,
        why: 'the effect does not hold',
      });
    });
  }

  test('sees an original line that vanished, and one that moved', async () => {
    const path = 'src/module-3.ts';
    const gone = await after(path, (text) => text.replace(/^}\n/m, ''));
    expect(gone).toMatchObject({ ok: false, lost: 0 });
    expect(gone.examples.damaged).toContainEqual({ path, line: '}' });
    await workspace.git.run(['reset', '--quiet', '--hard', done]);
    const moved = await after(path, (text) => text.replace(/^(export function.*\n)(.*\n)/m, '$2$1'));
    expect(moved).toMatchObject({ ok: false, lost: 0 });
    expect(moved.examples.damaged).toEqual([{ path, line: expect.stringContaining('(out of order)') }]);
  });

  test('sees a change of a file that no task names, a removed file and changed permissions', async () => {
    writeFileSync(join(workspace.folder, 'data.bin'), 'x');
    await workspace.commit(['data.bin'], 'foreign');
    const foreign = await verifyClone(workspace.folder, new AbortController().signal);
    expect(foreign).toMatchObject({
      ok: false,
      lost: 0,
      foreignChanges: 1,
      examples: { foreign: ['M data.bin'] },
    });
    chmodSync(join(workspace.folder, 'src/module-1.ts'), 0o755);
    await workspace.commit(['src/module-1.ts'], 'permissions');
    const mode = await verifyClone(workspace.folder, new AbortController().signal);
    expect(mode.examples.foreign).toContain('M src/module-1.ts');
    rmSync(join(workspace.folder, 'src/module-2.ts'));
    await workspace.git.run(['commit', '--quiet', '--all', '-m', 'removed']);
    const removed = await verifyClone(workspace.folder, new AbortController().signal);
    expect(removed.examples.foreign).toContain('D src/module-2.ts');
    expect(removed.examples.lost.some(({ why }) => why === 'the file is missing')).toBe(true);
  });

  test('looks at HEAD, or at the files on disk for the tasks asked for', async () => {
    const task = taskOf('symbol-rename');
    await workspace.write(task.path, 'nothing left\n');
    const run = (...args: string[]): { code: number | null; out: { lost: number; expected: number } } => {
      const { status, stdout } = spawnSync(process.execPath, [SCRIPT, workspace.folder, ...args], {
        encoding: 'utf8',
      });
      return { code: status, out: JSON.parse(stdout) as { lost: number; expected: number } };
    };
    expect(run()).toMatchObject({ code: 0, out: { lost: 0 } });
    expect(run('--worktree', '--tasks', task.id)).toMatchObject({
      code: 1,
      out: { lost: 1, expected: task.paths.length },
    });
  });

  test('says so when it cannot check: exit code 2', () => {
    const run = (...args: string[]): { code: number | null; said: string } => {
      const { status, stderr } = spawnSync(process.execPath, [SCRIPT, ...args], { encoding: 'utf8' });
      return { code: status, said: stderr };
    };
    expect(run()).toMatchObject({ code: 2, said: expect.stringContaining('usage') });
    expect(run('--unknown')).toMatchObject({ code: 2 });
    expect(run(repository.folder)).toMatchObject({
      code: 2,
      said: expect.stringContaining('no commit with .swarm/plan.json'),
    });
    expect(run(repository.scratch)).toMatchObject({
      code: 2,
      said: expect.stringContaining('git log failed'),
    });
  });

  test('is not led astray by the variables of a surrounding git', () => {
    const out = execFileSync(process.execPath, [SCRIPT, workspace.folder], {
      encoding: 'utf8',
      env: { ...process.env, GIT_DIR: repository.scratch, GIT_INDEX_FILE: '/nowhere' },
    });
    expect(JSON.parse(out)).toMatchObject({ ok: true });
  });
});
