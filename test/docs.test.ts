import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CodeBlock, codeBlocks } from './support/code-blocks.ts';

/**
 * Code blocks of the documentation marked `run` are run, each in a process of its own; every `// prints: …` in them is compared with
 * what they print. Blocks marked `tests` register tests with node:test, which must all pass. Blocks of TypeScript without a mark must at
 * least type-check.
 */

const root = fileURLToPath(new URL('..', import.meta.url));
/** What the package exports → where its source is. */
const MODULES = {
  agentmesh: 'src/index.ts',
  'agentmesh/testing': 'src/testing/index.ts',
  'agentmesh/postgres': 'src/backends/postgres/index.ts',
  'agentmesh/redis': 'src/backends/redis/index.ts',
} as const;
const pages = [
  'README.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
].toSorted();
const blocks = pages.flatMap((page) => codeBlocks(join(root, page)));
const placeOf = (block: CodeBlock): string => `${relative(root, block.file)}:${block.line}`;

/** In the tree, so that imports resolve as they do for our own code. */
let folder = '';
beforeAll(async () => {
  mkdirSync(join(root, '.tmp'), { recursive: true });
  folder = mkdtempSync(join(root, '.tmp/docs-'));
  // Bundled once: an example then starts in a tenth of the time.
  await build({
    entryPoints: Object.fromEntries(
      Object.entries(MODULES).map(([name, path]) => [name.replaceAll('/', '-'), join(root, path)]),
    ),
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    logLevel: 'silent',
  });
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** The block with its imports of the package turned to its modules: bundled, to be run, or as they are, to be checked. */
function sourceOf(block: CodeBlock, form: 'bundled' | 'source'): string {
  return Object.entries(MODULES).reduce((text, [name, path]) => {
    const module = form === 'bundled' ? `./${name.replaceAll('/', '-')}.mjs` : `../../${path}`;
    return text.replaceAll(`from '${name}'`, `from '${module}'`);
  }, block.text);
}

describe('code that is marked to run', () => {
  const runnable = blocks.filter((block) => block.marks.includes('run'));

  test('there is some', () => {
    expect(runnable.length).toBeGreaterThan(5);
  });

  test.concurrent.each(runnable.map((block) => [placeOf(block), block] as const))(
    '%s prints what it says and ends by itself',
    async (place, block) => {
      const file = join(folder, `${place.replaceAll(/\W/g, '-')}.ts`);
      writeFileSync(file, sourceOf(block, 'bundled'));
      const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 15_000 });
      const said = [...block.text.matchAll(/\/\/ prints: (.*)$/gm)].map((found) => found[1]);
      expect(said.length).toBeGreaterThan(0);
      expect(stdout.trim().split('\n')).toEqual(said);
    },
  );
});

describe('code that is marked as tests', () => {
  const suites = blocks.filter((block) => block.marks.includes('tests'));

  test('there is some', () => {
    expect(suites.length).toBeGreaterThan(0);
  });

  test.each(suites.map((block) => [placeOf(block), block] as const))(
    '%s: its tests pass',
    async (place, block) => {
      const file = join(folder, `${place.replaceAll(/\W/g, '-')}.ts`);
      writeFileSync(file, sourceOf(block, 'bundled'));
      const { stdout } = await promisify(execFile)(process.execPath, ['--test-reporter=tap', file], {
        timeout: 60_000,
        maxBuffer: 2 ** 26,
      });
      const count = (what: string): number => Number(new RegExp(`^# ${what} (\\d+)$`, 'm').exec(stdout)?.[1]);
      expect(count('fail')).toBe(0);
      expect(count('skipped')).toBe(0);
      expect(count('pass')).toBeGreaterThan(100);
    },
    90_000,
  );
});

test('all TypeScript in the documentation type-checks', async () => {
  const modules = blocks.filter((block) => block.language === 'ts' || block.marks.includes('run'));
  expect(modules.length).toBeGreaterThan(5);
  const files = modules.map((block, i) => {
    const file = join(folder, `check-${i}.ts`);
    writeFileSync(file, `${sourceOf(block, 'source')}\nexport {};\n`);
    return file;
  });
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile) as {
    config: object;
  };
  const options = { noUnusedLocals: false, noUnusedParameters: false };
  const parsed = ts.parseJsonConfigFileContent({ ...config, include: [], files }, ts.sys, root, options);
  const program = ts.createProgram(files, parsed.options);
  // Only what is in the documentation is checked here: the source is, by `npm run typecheck`.
  const found = [
    ...parsed.errors,
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...files.flatMap((file) => {
      const source = program.getSourceFile(file);
      return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    }),
  ];
  const text = ts.formatDiagnostics(found, {
    getCurrentDirectory: () => root,
    getCanonicalFileName: (name) => name,
    getNewLine: () => '\n',
  });
  const places = text.replaceAll(/\S*check-(\d+)\.ts/g, (_, i: string) => {
    const block = modules[Number(i)];
    return block === undefined ? i : placeOf(block);
  });
  expect(places).toBe('');
}, 60_000);

test('every link of the documentation leads somewhere', () => {
  const broken = [...pages, 'CONTRIBUTING.md', 'CHANGELOG.md'].flatMap((page) => {
    const text = readFileSync(join(root, page), 'utf8').replaceAll(/```[\s\S]*?```/g, '');
    return [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
      .map((found) => found[1] ?? '')
      .filter((link) => !/^https?:/.test(link) && !existsSync(join(root, dirname(page), link)))
      .map((link) => `${page}: ${link}`);
  });
  expect(broken).toEqual([]);
});
