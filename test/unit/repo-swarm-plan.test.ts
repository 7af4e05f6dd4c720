import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makePlan, markAt, type Plan } from '../../examples/repo-swarm/plan.ts';
import { Workspace, type Survey } from '../../examples/repo-swarm/workspace.ts';
import { KINDS } from '../../examples/repo-swarm/kinds/index.ts';
import { createRepository, linkFile, oddFiles, type TestRepository } from '../support/swarm-repository.ts';

let repository: TestRepository;
let survey: Survey;
let plan: Plan;
beforeAll(async () => {
  repository = createRepository(oddFiles());
  linkFile(repository, 'link.ts', 'crlf.ts');
  repository.commit('a symbolic link');
  const workspace = await Workspace.clone(
    repository.folder,
    `${repository.scratch}/clone`,
    repository.config,
  );
  survey = await workspace.survey();
  plan = makePlan(survey, 3);
});
afterAll(() => repository[Symbol.dispose]());

describe('the plan of the repository swarm', () => {
  test('leaves binary files, other encodings, byte order marks and symbolic links alone', () => {
    const eligible = survey.files.map(({ path }) => path);
    expect(eligible).toContain('ünïcödé 文件.md');
    expect(eligible).toContain('no newline.ts');
    expect(eligible).toHaveLength(15);
    for (const path of ['binary.ts', 'latin1.md', 'bom.ts', 'data.bin', 'link.ts'])
      expect(eligible).not.toContain(path);
  });

  test('files on disk hold the bytes of git, whatever the attributes say', () => {
    expect(survey.files.find(({ path }) => path === 'src/module-0.ts')?.text).not.toContain('\r');
    expect(survey.files.find(({ path }) => path === 'crlf.ts')?.text.split('\r\n')).toHaveLength(4);
  });

  test('has at least 200 edits, half of them on a dozen hot files, a quarter optimistic', () => {
    const hot = plan.tasks.filter(({ paths }) => paths.some((path) => plan.hotPaths.includes(path)));
    expect(plan.tasks.length).toBeGreaterThanOrEqual(200);
    expect(plan.hotPaths.length).toBe(12);
    expect(hot.length / plan.tasks.length).toBeGreaterThanOrEqual(0.5);
    const optimistic = plan.tasks.filter(({ mode }) => mode === 'optimistic');
    expect(optimistic.length / plan.tasks.length).toBeGreaterThanOrEqual(0.25);
    expect(optimistic.every(({ paths }) => paths.length === 1)).toBe(true);
  });

  test('has every kind that the repository offers', () => {
    expect(new Set(plan.tasks.map(({ kind }) => kind))).toEqual(new Set(KINDS.keys()));
  });

  test('gives each (task, path) a mark of its own', () => {
    const marks = plan.tasks.flatMap((task) => task.paths.map((_, i) => markAt(task, i)));
    expect(new Set(marks).size).toBe(marks.length);
  });

  test('crosses pairs of tasks over the same two files', () => {
    expect(plan.crossed.length).toBeGreaterThan(0);
    for (const [one, other] of plan.crossed) {
      const [a, b] = [one, other].map((id) => plan.tasks.find((task) => task.id === id));
      expect(a?.paths.length).toBe(2);
      expect(a?.paths).toEqual(b?.paths.toReversed());
      expect([a?.mode, b?.mode]).toEqual(['lock', 'lock']);
    }
  });

  test('is the same for the same seed and another for another', () => {
    expect(makePlan(survey, 3)).toEqual(plan);
    expect(makePlan(survey, 4)).not.toEqual(plan);
  });

  test('renames nothing that a string, a heading, a TODO line or another file mentions', () => {
    const files = [
      'export const plainName = 1;\n',
      'export const inString = 1;\nconst s = "inString";\n',
      'export const inTodo = 1; // TODO inTodo\n',
      'export const asMember = 1;\nx.asMember;\n',
      'export const inOther = 1;\n',
      'export const declaredTwice = 1;\n',
      'export const declaredTwice = 2;\n',
      'export const inHeading = 1;\n',
      ...Array.from({ length: 6 }, (_, i) => `export const filler = ${i}; plainName;\n`),
    ].map((text, i) => ({ path: `f${i}.ts`, text }));
    const own = {
      files: [...files.slice(0, 11), { path: 'README.md', text: '# inHeading\n' }],
      others: [{ path: 'x.py', text: 'inOther' }],
      paths: files.map(({ path }) => path),
    };
    const renames = makePlan(own, 1).tasks.filter(({ kind }) => kind === 'symbol-rename');
    expect(new Set(renames.map(({ options }) => options['from']))).toEqual(new Set(['plainName']));
    expect(renames[0]?.paths).toEqual(['f0.ts', 'f10.ts', 'f8.ts', 'f9.ts']);
  });

  test('writes an index under a name that is free', () => {
    const indexes = (names: readonly string[]): readonly string[] =>
      makePlan({ ...survey, paths: [...survey.paths, ...names] }, 1)
        .tasks.filter(({ kind }) => kind === 'todo-index')
        .flatMap(({ paths }) => paths);
    expect(indexes([])).toContain('TODO.md');
    expect(new Set(indexes(['todo.MD']))).toEqual(new Set(['TODO-INDEX.md']));
  });
});

describe('repositories that will not do', () => {
  test('fewer than 12 eligible files: INVALID_ARGUMENT', async () => {
    using small = createRepository({ 'a.ts': 'export {};\n', 'b.bin': 'x' });
    const workspace = await Workspace.clone(small.folder, `${small.scratch}/clone`, small.config);
    const few = await workspace.survey();
    expect(() => makePlan(few, 1)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => makePlan(few, 1)).toThrow('has 1 files that can be edited, and the squad needs 12');
  });

  test('no such folder: INVALID_ARGUMENT, and not said to be no repository', async () => {
    using some = createRepository();
    const attempt = Workspace.clone(`${some.scratch}/nowhere`, `${some.scratch}/clone`, some.config);
    await expect(attempt).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/nowhere does not exist$/),
    });
  });

  test('no .git: INVALID_ARGUMENT', async () => {
    using some = createRepository();
    const attempt = Workspace.clone(some.scratch, `${some.scratch}/clone`, some.config);
    await expect(attempt).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('no .git'),
    });
  });

  test('no commit: INVALID_ARGUMENT', async () => {
    using empty = createRepository();
    const attempt = Workspace.clone(empty.folder, `${empty.scratch}/clone`, empty.config);
    await expect(attempt).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('no commit'),
    });
  });

  test('a shallow clone does', async () => {
    using shallow = createRepository(oddFiles());
    shallow.write('more.ts', 'export {};\n');
    shallow.commit();
    shallow.git('clone', '--quiet', '--depth=1', `file://${shallow.folder}`, `${shallow.scratch}/shallow`);
    const workspace = await Workspace.clone(
      `${shallow.scratch}/shallow`,
      `${shallow.scratch}/clone`,
      shallow.config,
    );
    expect((await workspace.survey()).files).toHaveLength(16);
  });
});
