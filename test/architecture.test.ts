import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { REFERENCE } from '../scripts/generate-reference.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = (name: string): string => join(root, 'node_modules/.bin', name);
const folders: string[] = [];

/** A copy of the source with its tool configuration, to plant faults in. */
function copyOfTree(): string {
  const copy = mkdtempSync(join(tmpdir(), 'agentmesh-tree-'));
  folders.push(copy);
  for (const path of ['src', 'package.json', 'tsconfig.json', 'tsconfig.base.json'])
    cpSync(join(root, path), join(copy, path), { recursive: true });
  for (const path of ['.dependency-cruiser.cjs', '.oxlintrc.json'])
    cpSync(join(root, path), join(copy, path));
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

function plant(copy: string, path: string, text: string): void {
  mkdirSync(dirname(join(copy, path)), { recursive: true });
  writeFileSync(join(copy, path), text);
}

interface Cruise {
  readonly summary: {
    readonly totalCruised: number;
    readonly violations: readonly {
      readonly from: string;
      readonly rule: { readonly name: string };
    }[];
  };
}

function cruise(folder: string): Cruise['summary'] {
  const run = spawnSync(bin('node'), [bin('depcruise'), 'src', '--output-type', 'json'], {
    cwd: folder,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  return (JSON.parse(run.stdout) as Cruise).summary;
}

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

describe('import rules', () => {
  const { forbidden } = createRequire(import.meta.url)('../.dependency-cruiser.cjs') as {
    readonly forbidden: readonly { readonly name: string }[];
  };

  test('the tree keeps them, and the tool has really looked at it', () => {
    const { violations, totalCruised } = cruise(root);
    expect(violations.map((found) => `${found.rule.name}: ${found.from}`)).toEqual([]);
    expect(totalCruised).toBeGreaterThan(30);
  });

  /** One violation for each rule: file → text. Types count as imports. */
  const plants: Readonly<Record<string, { readonly file: string; readonly text: string }>> = {
    'no-circular': {
      file: 'src/core/planted-circle.ts',
      text: `import { b } from './planted-circle-b.ts';\nexport const a = (): number => b;\n`,
    },
    'core-imports-nothing': {
      file: 'src/core/planted-up.ts',
      text: `import type { PlacedTask } from '../scheduler/strategy.ts';\nexport type P = PlacedTask;\n`,
    },
    'feature-not-to-feature': {
      file: 'src/resources/planted-sideways.ts',
      text: `import type { PlacedTask } from '../scheduler/strategy.ts';\nexport type P = PlacedTask;\n`,
    },
    'backend-to-core-only': {
      file: 'src/backends/memory/planted-feature.ts',
      text: `import type { PlacedTask } from '../../scheduler/strategy.ts';\nexport type P = PlacedTask;\n`,
    },
    'testing-to-core-and-memory': {
      file: 'src/testing/planted-feature.ts',
      text: `import { planted } from '../metrics/planted.ts';\nexport const p = planted;\n`,
    },
    'nobody-imports-the-roof': {
      file: 'src/messaging/planted-roof.ts',
      text: `import { planted } from '../manager.ts';\nexport const p = planted;\n`,
    },
    'no-driver-outside-its-backend': {
      file: 'src/core/planted-driver.ts',
      text: `import type { Redis } from 'ioredis';\nexport type R = Redis;\n`,
    },
    'driver-by-type-only': {
      file: 'src/backends/redis/planted-driver.ts',
      text: `import { Redis } from 'ioredis';\nexport const r = Redis;\n`,
    },
  };

  test('each rule has a planted violation', () => {
    expect(Object.keys(plants).toSorted()).toEqual(forbidden.map((rule) => rule.name).toSorted());
  });

  test('each rule fires on its violation', () => {
    const copy = copyOfTree();
    for (const { file, text } of Object.values(plants)) plant(copy, file, text);
    plant(
      copy,
      'src/core/planted-circle-b.ts',
      `import { a } from './planted-circle.ts';\nexport const b = 1;\nexport const c = a;\n`,
    );
    plant(copy, 'src/metrics/planted.ts', `export const planted = 1;\n`);
    plant(copy, 'src/manager.ts', `export const planted = 1;\n`);
    const fired = cruise(copy).violations.map((found) => `${found.rule.name}: ${found.from}`);
    for (const [rule, { file }] of Object.entries(plants)) {
      const place = `${rule}: ${file.replace('.ts', '')}`; // a circle may be reported from either of its files
      expect(
        fired.some((found) => found.startsWith(place)),
        `${place} in ${fired.join(', ')}`,
      ).toBe(true);
    }
  });
});

describe('lint rules', () => {
  const forbiddenCalls = [
    'Date.now()',
    'Math.random()',
    'setTimeout(() => undefined, 1)',
    'setInterval(() => undefined, 1)',
    'setImmediate(() => undefined)',
    'performance.now()',
    'crypto.randomUUID()',
    'process.hrtime()',
  ];

  function lint(folder: string, paths: readonly string[]): string {
    const run = spawnSync(bin('oxlint'), ['--type-aware', '--format=unix', ...paths], {
      cwd: folder,
      encoding: 'utf8',
    });
    return run.stdout + run.stderr;
  }

  test('time, chance and identity are refused outside core/runtime', () => {
    const copy = copyOfTree();
    forbiddenCalls.forEach((call, i) =>
      plant(copy, `src/scheduler/planted-${i}.ts`, `export const planted = (): unknown => ${call};\n`),
    );
    plant(
      copy,
      'src/scheduler/planted-import.ts',
      `import { randomUUID } from 'node:crypto';\nexport const id = randomUUID;\n`,
    );
    const found = lint(copy, ['src/scheduler']);
    forbiddenCalls.forEach((_, i) => expect(found).toContain(`planted-${i}.ts`));
    expect(found).toContain('planted-import.ts');
  });

  test('they are allowed inside core/runtime', () => {
    const copy = copyOfTree();
    plant(copy, 'src/core/runtime/planted.ts', `export const planted = (): number => Date.now();\n`);
    expect(lint(copy, ['src/core/runtime'])).not.toContain('planted.ts');
  });

  test('a floating promise, a focused and a skipped test are found', () => {
    const copy = copyOfTree();
    plant(copy, 'src/core/planted-floating.ts', `export function f(): void {\n  Promise.resolve(1);\n}\n`);
    plant(
      copy,
      'test/planted.test.ts',
      `import { expect, test } from 'vitest';\ntest.only('a', () => expect(1).toBe(1));\ntest.skip('b', () => expect(1).toBe(1));\n`,
    );
    expect(lint(copy, ['src/core'])).toMatch(/planted-floating\.ts.*no-floating-promises/);
    const found = lint(copy, ['test']);
    expect(found).toMatch(/no-focused-tests/);
    expect(found).toMatch(/no-disabled-tests/);
  });
});

describe('the root bundle', () => {
  /** What a bundler would put into a user's program, bare specifiers included. */
  async function inputsOf(entry: string): Promise<readonly string[]> {
    const { build } = await import('esbuild');
    const result = await build({
      entryPoints: [entry],
      bundle: true,
      write: false,
      metafile: true,
      platform: 'node',
      format: 'esm',
      logLevel: 'silent',
    });
    return Object.keys(result.metafile.inputs);
  }
  const drivers = /node_modules\/(pg|pg-[a-z]+|ioredis|@platformatic|fast-check|preact|uplot)\//;

  test('holds no driver, no server backend and no dashboard', async () => {
    const inputs = await inputsOf(join(root, 'src/index.ts'));
    expect(inputs.length).toBeGreaterThan(30);
    expect(inputs.filter((path) => drivers.test(path))).toEqual([]);
    expect(inputs.filter((path) => /src\/(backends\/(?!memory\/)|dashboard|cli|testing)/.test(path))).toEqual(
      [],
    );
  });

  test('a driver in it would be seen', async () => {
    const copy = copyOfTree();
    plant(copy, 'src/planted.ts', `import { Redis } from 'ioredis';\nexport const r = Redis;\n`);
    const inputs = await inputsOf(join(copy, 'src/planted.ts'));
    expect(inputs.some((path) => drivers.test(path))).toBe(true);
  });
});

describe('the repository', () => {
  const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  })
    .split('\n')
    .filter((path) => path !== '' && existsSync(join(root, path)));

  test.each(['package-lock.json', 'bench/package-lock.json'])('%s has no registry address', (path) => {
    const lock = readFileSync(join(root, path), 'utf8');
    expect(lock).toContain('"integrity"');
    expect(lock).not.toContain('"resolved": "http');
  });

  test('no file has a path of this machine or an address of a registry', () => {
    const bad = tracked.filter((path) => {
      if (!/\.(ts|md|json|cjs|yml|html)$|^\.ci\//.test(path) || path === 'test/architecture.test.ts')
        return false;
      return /\/work\/(main|shared)|\/root\/|registry\.npm/.test(readFileSync(join(root, path), 'utf8'));
    });
    expect(bad).toEqual([]);
  });

  test('every test file belongs to a project of vitest.config.ts', () => {
    const homes =
      /^test\/([^/]+\.test\.ts|(unit|regressions|regressions-durable|property|conformance|contention|integration|waiting|timed|examples|package)\/.*\.test\.ts|types\/.*\.test-d\.ts)$/;
    const tests = tracked.filter((path) => /\.(test|test-d|spec)\.[cm]?[jt]sx?$/.test(path));
    expect(tests.length).toBeGreaterThan(5);
    expect(tests.filter((path) => !homes.test(path))).toEqual([]);
    // Vitest reports "no errors" for a folder without type tests.
    expect(tests.filter((path) => path.endsWith('.test-d.ts')).length).toBeGreaterThan(4);
  });

  test('there are no default exports, enums, decorators or folders for odds and ends in src', () => {
    const bad = tracked.filter((path) => {
      if (!path.startsWith('src/') || !path.endsWith('.ts')) return false;
      const text = readFileSync(join(root, path), 'utf8');
      return (
        /^export default|^(export )?(const )?enum |^\s*@[a-z]\w*\(/m.test(text) ||
        /(^|\/)(utils?|helpers?|common|misc)(\/|\.ts$)/.test(path)
      );
    });
    expect(bad).toEqual([]);
  });
});

describe('the reference', () => {
  test.each(Object.keys(REFERENCE))('%s is what the source says', (path) => {
    const file = join(root, path);
    expect(readFileSync(file, 'utf8')).toBe(REFERENCE[path]?.());
  });

  test('nothing else is in its folder', () => {
    expect(readdirSync(join(root, 'docs/reference')).toSorted()).toEqual(
      Object.keys(REFERENCE).map((path) => path.slice('docs/reference/'.length)),
    );
  });
});
