import { parseArgs } from 'node:util';
import type { BackendName } from './world.ts';

export interface ChaosOptions {
  readonly backends: readonly BackendName[];
  readonly seed: string;
  readonly full: boolean;
  readonly json: boolean;
  readonly leaseMs: number;
  /** Rounds of faults on each backend; absent: by the size. */
  readonly rounds: number | undefined;
  readonly only: 'storm' | 'deadlocks' | 'everysec' | undefined;
}

export const HELP = `Usage: npm run test:chaos -- [options]

Kills, pauses and partitions worker processes and their servers, loses replies, sets clocks, and checks at quiet points, from the
store and from what the processes wrote down themselves, that every promise held. Then deadlocks between processes.

  --backend postgres|redis  only this one (default both)
  --seed TEXT               repeats the plan of a run (default a new one, printed)
  --full                    larger
  --lease-ms MS             lease of a worker (default 1000)
  --rounds N                rounds of faults on each backend
  --only storm|deadlocks|everysec
  --json                    the result as one line of JSON; everything else goes to standard error
  --help                    this text
`;

/** The command line can't be understood. */
export class UsageError extends Error {}

/** @throws UsageError */
export function parseCommandLine(args: readonly string[]): ChaosOptions | 'help' {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  let values;
  try {
    const options = { backend: text, seed: text, full: flag, 'lease-ms': text, rounds: text, only: text };
    ({ values } = parseArgs({ args: [...args], options: { ...options, json: flag, help: flag } }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  if (values.help === true) return 'help';
  const { backend, only } = values;
  if (backend !== undefined && backend !== 'postgres' && backend !== 'redis')
    throw new UsageError(`Expected --backend to be postgres or redis, got ${backend}`);
  if (only !== undefined && only !== 'storm' && only !== 'deadlocks' && only !== 'everysec')
    throw new UsageError(`Expected --only to be storm, deadlocks or everysec, got ${only}`);
  const whole = (name: 'lease-ms' | 'rounds', least: number): number | undefined => {
    const given = values[name];
    if (given === undefined) return undefined;
    const value = Number(given);
    if (Number.isInteger(value) && value >= least) return value;
    throw new UsageError(`Expected --${name} to be a whole number of at least ${least}, got ${given}`);
  };
  return {
    backends: backend === undefined ? ['postgres', 'redis'] : [backend],
    seed: values.seed ?? String(Date.now() % 2 ** 31),
    full: values.full === true,
    json: values.json === true,
    leaseMs: whole('lease-ms', 300) ?? 1_000,
    rounds: whole('rounds', 1),
    only,
  };
}
