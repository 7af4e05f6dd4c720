import { execFile } from 'node:child_process';
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
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { codeBlocks } from '../support/code-blocks.ts';
import { startPostgres } from '../support/servers/postgres-server.ts';
import { startRedis } from '../support/servers/redis-server.ts';

/** The packed package, installed into an empty project: what a user gets. Needs `dist` (`npm run test:package` builds it) and the registry. */

const root = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);
const npm = (folder: string, ...args: string[]): Promise<{ stdout: string }> =>
  run('npm', [...args, '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'], { cwd: folder });

let project = '';

beforeAll(async () => {
  expect(existsSync(join(root, 'dist/index.js')), 'run `npm run build` first').toBe(true);
  project = mkdtempSync(join(tmpdir(), 'agentmesh-package-'));
  writeFileSync(join(project, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }');
  await npm(root, 'pack', '--ignore-scripts', '--pack-destination', project);
  const tarball = readdirSync(project).find((name) => name.endsWith('.tgz'));
  await npm(project, 'install', '--ignore-scripts', `./${tarball}`);
});

afterAll(() => {
  rmSync(project, { recursive: true, force: true });
});

function manifest(): { readonly devDependencies: Readonly<Record<string, string>> } {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as ReturnType<typeof manifest>;
}

/** A Node binary of this version from its npm package, kept in `.tmp` between runs. */
async function nodeOf(version: string): Promise<string> {
  if (version === process.versions.node) return process.execPath;
  const folder = join(root, '.tmp/node', version);
  const name = process.platform === 'linux' ? `node-linux-${process.arch}` : 'node';
  const binary = join(folder, 'node_modules', name, 'bin/node');
  if (!existsSync(binary)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{ "private": true }');
    await npm(folder, 'install', '--no-save', `${name}@${version}`);
  }
  const { stdout } = await run(binary, ['--version']);
  expect(stdout.trim()).toBe(`v${version}`);
  return binary;
}

describe('the installed package', () => {
  const [example] = codeBlocks(join(root, 'README.md')).filter((block) => block.marks.includes('run'));

  test('the first example of the README has at most 15 lines', () => {
    const lines = (example?.text ?? '').split('\n').filter((line) => line.trim() !== '');
    expect(lines.length).toBeGreaterThan(5);
    expect(lines.length).toBeLessThanOrEqual(15);
  });

  test.each([['22.12.0'], [process.versions.node]])(
    'the first example of the README runs on Node %s, prints what it says, and the process exits by itself',
    async (version) => {
      writeFileSync(join(project, 'example.js'), example?.text ?? '');
      const { stdout, stderr } = await run(await nodeOf(version), ['example.js'], {
        cwd: project,
        timeout: 20_000,
      });
      const said = [...(example?.text ?? '').matchAll(/\/\/ prints: (.*)$/gm)].map((found) => found[1]);
      expect(said.length).toBeGreaterThan(0);
      expect(stdout.trim().split('\n')).toEqual(said);
      expect(stderr).toBe('');
    },
  );

  describe('renews the lease of a session from a thread, so that a blocked event loop keeps it', () => {
    let redis: Awaited<ReturnType<typeof startRedis>>;
    let postgres: Awaited<ReturnType<typeof startPostgres>>;

    beforeAll(async () => {
      const { devDependencies } = manifest();
      const drivers = ['ioredis', 'pg'].map((name) => `${name}@${devDependencies[name]}`);
      await npm(project, 'install', '--no-save', '--ignore-scripts', ...drivers);
      redis = await startRedis();
      postgres = await startPostgres({ own: true });
      writeFileSync(join(project, 'blocked.js'), blocked);
    });
    afterAll(() => Promise.all([redis.stop(), postgres.stop()]));

    /** Holds a lock, blocks its loop for three leases, and says whether it still has it. The last argument says where the lease is renewed. */
    const blocked = `
      import { CoordinationManager } from 'agentmesh';
      const [kind, url, thread] = process.argv.slice(2);
      const backends = { redis: () => import('agentmesh/redis'), postgres: () => import('agentmesh/postgres') };
      const backend = (await backends[kind]())[kind]({ url, [kind === 'redis' ? 'mesh' : 'schema']: thread });
      const mesh = new CoordinationManager({ backend, env: {}, session: { leaseMs: 1_500, thread } });
      await mesh.initialize();
      const lock = await mesh.acquire('db');
      // The thread takes a moment to come up.
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4_500);
      await new Promise((resolve) => setTimeout(resolve, 500));
      console.log(lock.signal.aborted ? 'lost' : 'kept');
      await mesh.shutdown();
    `;

    test.each(
      ['22.12.0', process.versions.node].flatMap((version) =>
        (['redis', 'postgres'] as const).map((kind) => [kind, version] as const),
      ),
    )('%s, on Node %s; without the thread it is lost', async (kind, version) => {
      const node = await nodeOf(version);
      const url = kind === 'redis' ? redis.url : postgres.url;
      const outcomes = await Promise.all(
        ['worker', 'main'].map((thread) =>
          run(node, ['blocked.js', kind, url, thread], { cwd: project, timeout: 30_000 }),
        ),
      );
      expect(outcomes).toEqual([
        { stdout: 'kept\n', stderr: '' },
        { stdout: 'lost\n', stderr: '' },
      ]);
    });
  });

  const consumer = `
    import { CoordinationManager, defineStrategy, isCoordinationError, type TaskHandle } from 'agentmesh';
    import { createTestClock } from 'agentmesh/testing';
    interface Tasks extends Record<string, { input: unknown; output: unknown }> {
      edit: { input: { file: string }; output: number };
    }
    export const clock = createTestClock();
    export const strategy = defineStrategy({ name: 'first', select: (_, candidates) => candidates[0]?.id });
    export async function go(): Promise<number> {
      const mesh = new CoordinationManager<Tasks>({ maxRetries: 3 });
      await mesh.initialize();
      try {
        const handle: TaskHandle<number> = await mesh.submitTask({ type: 'edit', input: { file: 'a' } });
        // @ts-expect-error a mis-spelt option does not compile
        void new CoordinationManager({ maxRetires: 3 });
        return await handle.result();
      } catch (error) {
        if (isCoordinationError(error, 'TASK_FAILED')) return error.attempts;
        if (isCoordinationError(error, 'DEADLOCK')) return error.cycle.length;
        throw error;
      } finally {
        await mesh.shutdown();
      }
    }
  `;

  test.each([
    ['with @types/node', { lib: ['ES2024', 'ESNext.Disposable'], types: ['node'] }],
    ['with DOM types instead', { lib: ['ES2024', 'ESNext.Disposable', 'DOM'], types: [] }],
  ])('types check under NodeNext and strict, %s', async (_, options) => {
    const { devDependencies } = manifest();
    await npm(project, 'install', '--no-save', `@types/node@${devDependencies['@types/node']}`);
    writeFileSync(join(project, 'consumer.ts'), consumer);
    writeFileSync(
      join(project, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          ...options,
          module: 'NodeNext',
          moduleResolution: 'NodeNext',
          target: 'ES2023',
          strict: true,
          exactOptionalPropertyTypes: true,
          noEmit: true,
          skipLibCheck: false,
        },
        files: ['consumer.ts'],
      }),
    );
    const tsc = await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc')], {
      cwd: project,
    }).catch((error: { stdout: string }) => error);
    expect(tsc.stdout).toBe('');
  });

  test('the root bundle holds no driver and nothing of agentmesh/testing', async () => {
    const bundle = async (from: string): Promise<readonly string[]> => {
      const { metafile } = await build({
        stdin: { contents: `export * from '${from}';`, resolveDir: project },
        bundle: true,
        write: false,
        metafile: true,
        platform: 'node',
        format: 'esm',
        logLevel: 'silent',
      });
      return Object.keys(metafile.inputs);
    };
    const inputs = await bundle('agentmesh');
    expect(inputs.some((path) => path.includes('agentmesh/dist/index.js'))).toBe(true);
    expect(
      inputs.filter((path) =>
        /node_modules\/(pg|ioredis|@platformatic|fast-check)\/|dist\/testing\.js/.test(path),
      ),
    ).toEqual([]);
    expect(await bundle('agentmesh/testing')).not.toEqual([]);
  });

  test('it brings code and documentation, and nothing else', () => {
    const installed = join(project, 'node_modules/agentmesh');
    expect(readdirSync(installed).toSorted()).toEqual([
      'CHANGELOG.md',
      'CONTRIBUTING.md',
      'LICENSE',
      'README.md',
      'dist',
      'docs',
      'package.json',
    ]);
    const pages = readdirSync(join(installed, 'docs'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => relative(installed, join(parentPath, name)));
    expect(pages.length).toBeGreaterThan(20);
    expect(pages.filter((page) => !page.endsWith('.md'))).toEqual([]);
    const links = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', ...pages].flatMap((page) => {
      const text = readFileSync(join(installed, page), 'utf8').replaceAll(/```[\s\S]*?```/g, '');
      return [...text.matchAll(/\]\(([^)#\s]+)/g)].map(([, link = '']) => [page, link] as const);
    });
    const broken = links.filter(
      ([page, link]) => !/^https?:/.test(link) && !existsSync(join(installed, dirname(page), link)),
    );
    expect(broken).toEqual([]);
  });
});

test('npm pack builds first: in a clean clone it packs dist', async () => {
  const clone = mkdtempSync(join(tmpdir(), 'agentmesh-clone-'));
  try {
    const sources = ['src', 'package.json', 'tsconfig.json', 'tsconfig.base.json', 'tsup.config.ts'];
    for (const path of [...sources, 'docs', 'README.md', 'LICENSE', 'CHANGELOG.md', 'CONTRIBUTING.md'])
      cpSync(join(root, path), join(clone, path), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(clone, 'node_modules'));
    const { stdout } = await npm(clone, 'pack', '--json');
    // Nothing but the answer: who packs by a script reads it.
    const [{ files }] = JSON.parse(stdout) as readonly [
      { readonly files: readonly { readonly path: string }[] },
    ];
    const packed = files.map(({ path }) => path);
    for (const entry of ['index', 'testing', 'postgres', 'redis'])
      for (const ending of ['js', 'd.ts']) expect(packed).toContain(`dist/${entry}.${ending}`);
    for (const thread of ['pulse-postgres', 'pulse-redis']) expect(packed).toContain(`dist/${thread}.js`);
    expect(packed).toContain('docs/guide/operations.md');
    expect(packed.filter((path) => !/^(dist|docs)\//.test(path)).toSorted()).toEqual([
      'CHANGELOG.md',
      'CONTRIBUTING.md',
      'LICENSE',
      'README.md',
      'package.json',
    ]);
  } finally {
    rmSync(clone, { recursive: true, force: true });
  }
});
