import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Plants one fault after the other in a copy of the tree and looks whether `.ci/run` turns red. Each copy keeps two small tests, so a run
 * is short. Run it by hand after a change of `.ci/run`, `closing-line.ts` or `vitest.config.ts`: `npm run check:ci [-- name…]`.
 */

const root = fileURLToPath(new URL('..', import.meta.url));

const SMALL_TEST = `import { expect, test } from 'vitest';\n\ntest('small', () => {\n  expect(1).toBe(1);\n});\n`;

interface Fault {
  readonly name: string;
  /** Files to write; `undefined` removes. */
  readonly files: Readonly<Record<string, string | undefined | ((text: string) => string)>>;
  /** What the last line must be. */
  readonly last: RegExp;
}

const red = /^\d+ passed, [1-9]\d* failed$/;
const planted = (body: string): string =>
  `import { expect, test } from 'vitest';\n\ntest('planted', () => {\n  ${body}\n});\n`;

const FAULTS: readonly Fault[] = [
  { name: 'nothing planted', files: {}, last: /^[1-9]\d* passed, 0 failed$/ },
  {
    name: 'a broken assertion',
    files: { 'test/unit/planted.test.ts': planted('expect(1).toBe(2);') },
    last: /^[1-9]\d* passed, 1 failed$/,
  },
  {
    name: 'an uncaught error',
    files: {
      'test/unit/planted.test.ts': planted(
        `queueMicrotask(() => {\n    throw new Error('uncaught');\n  });\n  expect(1).toBe(1);`,
      ),
    },
    last: red,
  },
  {
    name: 'an unhandled rejection',
    files: {
      'test/unit/planted.test.ts': planted(
        `void Promise.reject(new Error('unhandled'));\n  expect(1).toBe(1);`,
      ),
    },
    last: red,
  },
  {
    name: 'a skipped test',
    files: {
      'test/unit/planted.test.ts': planted('expect(1).toBe(1);').replace('test(', 'test.skip('),
      // The lint rule against it is switched off: the closing line alone must see it.
      '.oxlintrc.json': (text) =>
        text.replace('"vitest/no-disabled-tests": "error"', '"vitest/no-disabled-tests": "off"'),
    },
    last: /^[1-9]\d* passed, 1 failed$/,
  },
  {
    name: 'a test file that cannot be loaded',
    files: { 'test/unit/planted.test.ts': `throw new Error('not loaded');\n` },
    last: red,
  },
  { name: 'no test', files: { 'test/unit/small.test.ts': undefined }, last: red },
  { name: 'bad format', files: { 'scripts/planted.ts': 'export const  planted=1\n' }, last: red },
  {
    name: 'a floating promise',
    files: { 'scripts/planted.ts': `export function planted(): void {\n  Promise.resolve(1);\n}\n` },
    last: red,
  },
  {
    name: 'Date.now in src',
    files: { 'src/core/planted.ts': `export const planted = (): number => Date.now();\n` },
    last: red,
  },
  {
    name: 'a forbidden import',
    files: { 'src/core/planted.ts': `export type { PlacedTask } from '../scheduler/strategy.ts';\n` },
    last: red,
  },
  {
    name: 'a type error',
    files: { 'scripts/planted.ts': `export const planted: number = 'one';\n` },
    last: red,
  },
  {
    name: 'a pinned type that is not so',
    files: {
      'test/types/tsconfig.json': `{ "extends": "../../tsconfig.json", "include": ["."], "exclude": [] }\n`,
      'test/types/planted.test-d.ts': `import { expectTypeOf, test } from 'vitest';\n\ntest('planted', () => {\n  expectTypeOf(1).toEqualTypeOf<string>();\n});\n`,
      // Lint and type check don't look there: the tests alone must see it.
      'tsconfig.json': (text) => text.replace('"include"', '"exclude": ["test/types"],\n  "include"'),
      '.oxlintrc.json': (text) => text.replace('{', '{\n  "ignorePatterns": ["test/types/**"],'),
    },
    last: /^[1-9]\d* passed, 1 failed$/,
  },
  {
    name: 'a broken build',
    files: { 'tsup.config.ts': (text) => text.replace('src/index.ts', 'src/absent.ts') },
    last: red,
  },
  {
    name: 'an entry without file',
    files: { 'package.json': (text) => text.replace('./dist/testing.d.ts', './dist/absent.d.ts') },
    last: red,
  },
  {
    name: 'too large',
    files: { '.size-limit.mjs': (text) => text.replace(/limit: '[\d.]+ kB'/, "limit: '1 B'") },
    last: red,
  },
  {
    name: 'a failing install',
    files: {
      'package.json': (text) =>
        text.replace('"devDependencies": {', '"devDependencies": {"absent-from-lock": "1.0.0",'),
    },
    last: /^0 passed, 1 failed$/,
  },
];

function copyTree(): string {
  const copy = mkdtempSync(join(tmpdir(), 'agentmesh-ci-'));
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  });
  for (const file of files.split('\n')) {
    const other = file.startsWith('test/') && !file.startsWith('test/support/setup');
    if (file === '' || other || file.startsWith('bench/') || !existsSync(join(root, file))) continue;
    cpSync(join(root, file), join(copy, file));
  }
  write(copy, 'test/unit/small.test.ts', SMALL_TEST);
  write(copy, 'test/package/small.test.ts', SMALL_TEST);
  execFileSync('git', ['init', '-q'], { cwd: copy });
  return copy;
}

function write(copy: string, path: string, text: string): void {
  mkdirSync(dirname(join(copy, path)), { recursive: true });
  writeFileSync(join(copy, path), text);
}

function tryFault(fault: Fault): boolean {
  const copy = copyTree();
  try {
    for (const [path, change] of Object.entries(fault.files)) {
      if (change === undefined) rmSync(join(copy, path));
      else if (typeof change === 'string') write(copy, path, change);
      else {
        const before = readFileSync(join(copy, path), 'utf8');
        const after = change(before);
        if (after === before) throw new Error(`${fault.name}: nothing was planted in ${path}`);
        write(copy, path, after);
      }
    }
    // A terminal's PATH: without the Node of this run, so that the copy finds its own.
    const path = (process.env['PATH'] ?? '').split(':').filter((entry) => !entry.includes('node_modules'));
    const from = performance.now();
    const run = spawnSync('.ci/run', [], {
      cwd: copy,
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
      env: { ...process.env, PATH: path.join(':') },
    });
    const last = run.stdout.trimEnd().split('\n').at(-1) ?? '';
    const green = last.endsWith(' 0 failed');
    const seen = fault.last.test(last) && (run.status === 0) === green;
    const seconds = ((performance.now() - from) / 1_000).toFixed(0);
    console.log(`${seen ? 'ok ' : 'NOT'} ${fault.name}: "${last}", exit code ${run.status}, ${seconds} s`);
    if (!seen) console.log(run.stdout.slice(-4_000), run.stderr.slice(-2_000));
    return seen;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

const wanted = process.argv.slice(2);
const chosen = FAULTS.filter(
  (fault) => wanted.length === 0 || wanted.some((word) => fault.name.includes(word)),
);
const results = chosen.map(tryFault);
if (results.length === 0 || results.includes(false)) process.exitCode = 1;
