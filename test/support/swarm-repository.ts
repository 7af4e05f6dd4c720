import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gitConfig } from '../../examples/repo-swarm/git.ts';

const ENVIRONMENT = {
  PATH: process.env['PATH'],
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'test',
  GIT_AUTHOR_EMAIL: 'test@example.invalid',
  GIT_COMMITTER_NAME: 'test',
  GIT_COMMITTER_EMAIL: 'test@example.invalid',
};

/** A git repository in a temporary folder, removed when disposed. */
export interface TestRepository extends Disposable {
  readonly folder: string;
  /** A folder beside the repository. */
  readonly scratch: string;
  /** The settings file that the demo gives git. */
  readonly config: string;
  git(...args: string[]): string;
  write(path: string, content: string | Uint8Array): void;
  commit(message?: string): void;
}

export function createRepository(files: Readonly<Record<string, string | Uint8Array>> = {}): TestRepository {
  const scratch = mkdtempSync(join(tmpdir(), 'swarm-test-'));
  const folder = join(scratch, 'repo');
  mkdirSync(folder);
  const config = join(scratch, 'gitconfig');
  writeFileSync(config, gitConfig(folder));
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: folder, env: ENVIRONMENT, encoding: 'utf8' });
  const write = (path: string, content: string | Uint8Array): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  };
  const commit = (message = 'files'): void => {
    git('add', '--all', '--force');
    git('commit', '--quiet', '--allow-empty', '--message', message);
  };
  git('init', '--quiet');
  // What is committed is what was written; the attributes in the files speak to clones.
  mkdirSync(join(folder, '.git', 'info'), { recursive: true });
  writeFileSync(join(folder, '.git', 'info', 'attributes'), '* -text -ident -filter\n');
  for (const [path, content] of Object.entries(files)) write(path, content);
  if (Object.keys(files).length > 0) commit();
  return {
    folder,
    scratch,
    config,
    git,
    write,
    commit,
    [Symbol.dispose]: () => rmSync(scratch, { recursive: true }),
  };
}

/** Files of every sort that the squad edits, and of sorts it must leave alone. */
export function oddFiles(): Record<string, string | Uint8Array> {
  const files: Record<string, string | Uint8Array> = {
    'package.json': '{\n  "name": "odd",\n  "license": "MIT",\n  "a": [1, 2]\n}\n',
    'crlf.ts':
      "import { b } from './b.ts';\r\nimport { a } from './a.ts';\r\nexport const crlfThing = a + b; // TODO split\r\n",
    'no newline.ts': 'export const lastLine = 1;',
    'ünïcödé 文件.md': '# Títle\n\n## Öne\n\n## Two\n\ntext\n',
    'docs/-dash.md': '# Dash\n\n## A\n\n## B\n',
    'binary.ts': new Uint8Array([0x2f, 0x2f, 0, 1, 2]),
    'latin1.md': new Uint8Array([0x23, 0x20, 0xe9, 0x0a]),
    'bom.ts': '\uFEFFexport const bomThing = 1;\n',
    'data.bin': new Uint8Array([0xff, 0x00, 0xfe]),
    '.gitattributes': '*.ts text eol=crlf ident\n*.md filter=nothing\n',
    '.gitignore': '*.md\n',
  };
  for (let i = 0; i < 10; i++) {
    files[`src/module-${i}.ts`] =
      `import { z } from './z.ts';\nimport { y } from './y.ts';\n\nexport function moduleThing${i}(): number {\n  return privateThing${i}(z, y);\n}\n\nfunction privateThing${i}(a: number, b: number): number {\n  return a + b; // TODO check ${i}\n}\n`;
  }
  return files;
}

export function linkFile(repository: TestRepository, path: string, target: string): void {
  symlinkSync(target, join(repository.folder, path));
}
