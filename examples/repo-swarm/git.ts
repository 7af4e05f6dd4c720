import { execFile } from 'node:child_process';
import { CoordinationError } from './mesh.ts';

/** Runs git in one folder, deaf to the user's settings: hooks, signing, line-ending conversion and templates stay out of the demo. */
export class Git {
  readonly folder: string;
  readonly #config: string;

  constructor(folder: string, configFile: string) {
    this.folder = folder;
    this.#config = configFile;
  }

  /** The output of one command. @throws INVALID_ARGUMENT with what git said */
  run(
    args: readonly string[],
    options: { readonly input?: string; readonly signal?: AbortSignal } = {},
  ): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = execFile(
        'git',
        args,
        {
          cwd: this.folder,
          env: gitEnvironment(this.#config),
          maxBuffer: 256 * 1024 * 1024,
          ...(options.signal === undefined ? {} : { signal: options.signal }),
        },
        (error, stdout, stderr) => {
          if (error === null) resolve(stdout);
          else if (options.signal?.aborted === true) reject(options.signal.reason as Error);
          else reject(gitError(args, stderr.trim() || error.message, error));
        },
      );
      child.stdin?.on('error', () => undefined); // git may end before it has read everything
      child.stdin?.end(options.input ?? '');
    });
  }
}

/** The text of the one settings file git sees. `trusted` may belong to another user: whoever runs the demo named it. */
export function gitConfig(trusted: string): string {
  const quoted = trusted.replaceAll(/["\\]/g, '\\$&');
  return `[safe]
\tdirectory = "${quoted}"
\tdirectory = "${quoted}/.git"
[user]
\tname = repo-swarm
\temail = repo-swarm@example.invalid
[core]
\tautocrlf = false
\thooksPath = /dev/null
\tquotePath = false
[commit]
\tgpgSign = false
[gc]
\tauto = 0
[advice]
\tdetachedHead = false
[init]
\ttemplateDir =
`;
}

function gitEnvironment(configFile: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('GIT_'));
  return {
    ...Object.fromEntries(own),
    GIT_CONFIG_GLOBAL: configFile,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_LITERAL_PATHSPECS: '1',
    LC_ALL: 'C',
  };
}

function gitError(args: readonly string[], said: string, cause: Error): CoordinationError {
  if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
    return new CoordinationError('INVALID_ARGUMENT', 'git was not found', {
      cause,
      hint: 'Install git and put it on the path.',
    });
  }
  return new CoordinationError('INVALID_ARGUMENT', `git ${args[0] ?? ''} failed: ${said}`, { cause });
}
