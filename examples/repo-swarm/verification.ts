import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** What `verify.mjs` says of a clone. */
export interface Verification {
  readonly ok: boolean;
  readonly tree: string;
  readonly expected: number;
  readonly found: number;
  readonly lost: number;
  readonly damagedLines: number;
  readonly foreignChanges: number;
  readonly lostByPath: Readonly<Record<string, number>>;
  readonly examples: {
    readonly lost: readonly { readonly task: string; readonly path: string; readonly why: string }[];
    readonly damaged: readonly { readonly path: string; readonly line: string }[];
    readonly foreign: readonly string[];
  };
}

/** Has HEAD of a clone checked by a process that shares no code with the squad. */
export function verifyClone(folder: string, signal: AbortSignal): Promise<Verification> {
  return runVerifier([folder], signal);
}

/** The same for some tasks and the files on disk. */
export function checkWorktree(
  folder: string,
  tasks: readonly string[],
  signal: AbortSignal,
): Promise<Verification> {
  return runVerifier([folder, '--worktree', '--tasks', tasks.join(',')], signal);
}

function runVerifier(args: readonly string[], signal: AbortSignal): Promise<Verification> {
  const script = fileURLToPath(new URL('verify.mjs', import.meta.url));
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [script, ...args], { signal, maxBuffer: 2 ** 24 }, (error, stdout, stderr) => {
      if (error === null || error.code === 1) resolve(JSON.parse(stdout) as Verification);
      else
        reject(signal.aborted ? (signal.reason as Error) : new Error(`verify.mjs failed: ${stderr.trim()}`));
    });
  });
}
