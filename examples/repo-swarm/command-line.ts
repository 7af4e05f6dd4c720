import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { UsageError } from '../run-main.ts';

export const HELP = `Usage: npm run demo -- [options]

A squad of agents makes some 240 edits in a clone of a git repository: one at a time, without
coordination, and coordinated. A separate process then counts what each clone really holds.
The repository itself is only read.

Options
  --repo PATH   repository to clone (default: this project)
  --seed N      seed of the plan, a whole number from 0 (default: 7)
  --tasks N     number of edit tasks, 100 to 5000 (default: 240)
  --json        print one JSON object as the last line, nothing else on standard output
  --keep        keep the clones and print where they are
  --no-report   don't write report.html
  -h, --help    show this text

Exit code: 0 all promises kept, 1 one broken or an error, 2 wrong usage, 130 interrupted.
`;

export interface DemoOptions {
  readonly repo: string;
  readonly seed: number;
  readonly tasks: number;
  readonly json: boolean;
  readonly keep: boolean;
  readonly report: boolean;
}

/** @returns 'help' when help was asked for @throws UsageError */
export function parseCommandLine(args: readonly string[]): DemoOptions | 'help' {
  const { repo, seed, tasks, json, keep, help, 'no-report': noReport } = parse(args);
  if (help === true) return 'help';
  if (seed !== undefined && !/^\d{1,15}$/.test(seed)) {
    throw new UsageError(`--seed must be a whole number from 0, got ${JSON.stringify(seed)}`);
  }
  if (tasks !== undefined && !(/^\d+$/.test(tasks) && Number(tasks) >= 100 && Number(tasks) <= 5_000)) {
    throw new UsageError(`--tasks must be a whole number from 100 to 5000, got ${JSON.stringify(tasks)}`);
  }
  if (repo === '') throw new UsageError('--repo needs a path');
  return {
    repo:
      repo === undefined
        ? fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
        : resolve(repo),
    seed: Number(seed ?? 7),
    tasks: Number(tasks ?? 240),
    json: json === true,
    keep: keep === true,
    report: noReport !== true,
  };
}

function parse(args: readonly string[]): {
  readonly repo?: string;
  readonly seed?: string;
  readonly tasks?: string;
  readonly json?: boolean;
  readonly keep?: boolean;
  readonly help?: boolean;
  readonly 'no-report'?: boolean;
} {
  try {
    return parseArgs({
      args: [...args],
      options: {
        repo: { type: 'string' },
        seed: { type: 'string' },
        tasks: { type: 'string' },
        json: { type: 'boolean' },
        keep: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        'no-report': { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
