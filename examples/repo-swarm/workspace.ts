import { lstat, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Git } from './git.ts';
import { languageOf } from './languages.ts';
import { isInOrder } from './lint.ts';
import { marksOf } from './marks.ts';
import { CoordinationError } from './mesh.ts';
import type { Plan } from './plan.ts';

export const PLAN_PATH = '.swarm/plan.json';
const MAX_BYTES = 128 * 1024;

export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** What the planner sees of a repository. */
export interface Survey {
  /** Files the squad may edit. */
  readonly files: readonly SourceFile[];
  /** Other text in the repository: read, never edited. */
  readonly others: readonly SourceFile[];
  /** Every tracked path, in git's order. */
  readonly paths: readonly string[];
}

/** A clone on disk that agents edit. */
export class Workspace {
  readonly folder: string;
  readonly git: Git;
  #drafts = 0;

  constructor(folder: string, configFile: string) {
    this.folder = folder;
    this.git = new Git(folder, configFile);
  }

  /**
   * Clones the repository at `from`. Attributes are switched off, so files on disk hold the very bytes of git.
   * @throws INVALID_ARGUMENT when `from` holds no repository or no commit
   */
  static async clone(from: string, to: string, configFile: string): Promise<Workspace> {
    if (!existsSync(from)) {
      throw new CoordinationError('INVALID_ARGUMENT', `${from} does not exist`, {
        hint: 'Name the top folder of a clone with --repo.',
      });
    }
    if (!existsSync(join(from, '.git'))) {
      throw new CoordinationError('INVALID_ARGUMENT', `${from} is not a git repository: it has no .git`, {
        hint: 'Name the top folder of a clone with --repo.',
      });
    }
    const parent = new Git(dirname(to), configFile);
    await parent.run(['clone', '--quiet', '--local', '--no-checkout', '--', from, to]);
    const workspace = new Workspace(to, configFile);
    await mkdir(join(to, '.git', 'info'), { recursive: true });
    await writeFile(
      join(to, '.git', 'info', 'attributes'),
      '* -text -eol -filter -ident -working-tree-encoding\n',
    );
    await workspace.git.run(['rev-parse', '--verify', '--quiet', 'HEAD^{commit}']).catch(() => {
      throw new CoordinationError('INVALID_ARGUMENT', `${from} has no commit yet`, {
        hint: 'Commit something first.',
      });
    });
    await workspace.git.run(['reset', '--quiet', '--hard']);
    return workspace;
  }

  /** Reads every tracked file. Symbolic links, submodules and binary files are left alone. */
  async survey(): Promise<Survey> {
    const listed = await this.git.run(['ls-tree', '-r', '-z', 'HEAD']);
    const paths: string[] = [];
    const readable: SourceFile[] = [];
    for (const entry of listed.split('\0')) {
      const tab = entry.indexOf('\t');
      if (tab < 0) continue;
      const path = entry.slice(tab + 1);
      paths.push(path);
      const text = entry.startsWith('100') ? await this.#text(path) : undefined;
      if (text !== undefined) readable.push({ path, text });
    }
    const [files, others] = [true, false].map((wanted) =>
      readable.filter(({ path, text }) => isEligible(path, text) === wanted),
    ) as [SourceFile[], SourceFile[]];
    return { files, others, paths };
  }

  async read(path: string): Promise<string> {
    try {
      return await readFile(join(this.folder, path), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''; // an index file before its first entry
      throw error;
    }
  }

  /** Replaces a file in one step, so that nobody ever reads half of it. Keeps its permissions. */
  async write(path: string, text: string): Promise<void> {
    const target = join(this.folder, path);
    const mode = await stat(target).then(
      (found) => found.mode & 0o777,
      () => 0o644,
    );
    const draft = join(this.folder, '.git', `draft-${this.#drafts++}`);
    await writeFile(draft, text, { mode });
    await rename(draft, target);
  }

  /** The first commit of the run. */
  async commitPlan(plan: Plan): Promise<void> {
    await mkdir(join(this.folder, dirname(PLAN_PATH)), { recursive: true });
    await writeFile(join(this.folder, PLAN_PATH), `${JSON.stringify(plan, undefined, 2)}\n`);
    await this.commit([PLAN_PATH], `Plan ${plan.tasks.length} edits\n\nSeed ${plan.seed}.`);
  }

  /** Commits what stands in these files now; false when nothing of it is new. */
  async commit(paths: readonly string[], message: string, signal?: AbortSignal): Promise<boolean> {
    const stop = signal === undefined ? {} : { signal };
    const list = `${paths.filter((path) => existsSync(join(this.folder, path))).join('\0')}\0`;
    await this.git.run(['add', '--force', '--pathspec-from-file=-', '--pathspec-file-nul'], {
      ...stop,
      input: list,
    });
    const staged = await this.git.run(['diff', '--cached', '--name-only'], stop);
    if (staged === '') return false;
    await this.git.run(['commit', '--quiet', '--file=-'], { ...stop, input: message });
    return true;
  }

  /** Names the content of HEAD: equal trees, equal files. */
  async tree(): Promise<string> {
    return (await this.git.run(['rev-parse', 'HEAD^{tree}'])).trim();
  }

  /** Commits since the plan's. */
  async countCommits(): Promise<number> {
    const plan = (await this.git.run(['log', '-1', '--format=%H', '--', PLAN_PATH])).trim();
    return Number(await this.git.run(['rev-list', '--count', `${plan}..HEAD`]));
  }

  async #text(path: string): Promise<string | undefined> {
    const full = join(this.folder, path);
    const found = await lstat(full).catch(() => undefined);
    if (found?.isFile() !== true || found.size > 8 * MAX_BYTES) return undefined;
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readFile(full));
    } catch {
      return undefined;
    }
  }
}

/** A plain text file in a known language, small enough, that nobody has marked before and that can be written back unchanged. */
function isEligible(path: string, text: string): boolean {
  const language = languageOf(path);
  if (language === undefined || text === '' || text.length > MAX_BYTES) return false;
  if (/\p{Cc}/u.test(path) || path.startsWith('.swarm/')) return false;
  if (text.includes('\0') || text.startsWith('\uFEFF')) return false;
  return marksOf(path, text).length === 0 && isInOrder(path, text);
}
