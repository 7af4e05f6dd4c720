import { parseArgs } from 'node:util';
import { UsageError } from '../run-main.ts';
import { CONCURRENCY } from './world.ts';

export type BackendName = 'postgres' | 'redis';

export interface FleetOptions {
  readonly backend: BackendName;
  /** Without: a private, durable server is started. */
  readonly url: string | undefined;
  readonly workers: number;
  readonly tasks: number;
  readonly taskMs: number;
  readonly leaseMs: number;
  readonly killEveryMs: number;
  readonly kills: number;
  readonly pauses: number;
  readonly json: boolean;
}

export const HELP = `Usage: npm run demo:fleet -- [options]

Runs tasks on a fleet of worker processes, kills one with SIGKILL again and again, pauses some past their lease,
and counts from the ledger of effects what was lost and what happened twice. Then the same without fencing.

  --backend postgres|redis  where coordination state and ledger are kept (default postgres)
  --url URL                 a server of yours; without, a private durable one is started
  --workers N               worker processes, 4 tasks at a time each (default 4)
  --tasks N                 tasks (default 2000; fewer leave no time for as many kills and pauses)
  --task-ms MS              how long a task takes (default 200)
  --lease-ms MS             lease of a worker (default 2000)
  --kill-every MS           between two kills (default 1000)
  --kills N                 kills that must count: the worker had tasks running (default 20)
  --pauses N                SIGSTOPs past the lease (default 5)
  --json                    the summary as one line of JSON; everything else goes to standard error
  --help                    this text
`;

/** @throws UsageError */
export function parseCommandLine(args: readonly string[]): FleetOptions | 'help' {
  const text = { type: 'string' } as const;
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        backend: text,
        url: text,
        workers: text,
        tasks: text,
        'task-ms': text,
        'lease-ms': text,
        'kill-every': text,
        kills: text,
        pauses: text,
        json: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  if (values.help === true) return 'help';
  const { backend = 'postgres', url } = values;
  if (backend !== 'postgres' && backend !== 'redis')
    throw new UsageError(`Expected --backend to be postgres or redis, got ${backend}`);
  const number = (name: keyof typeof values, otherwise: number, least: number): number => {
    const given = values[name];
    const value = given === undefined ? otherwise : Number(given);
    if (Number.isInteger(value) && value >= least) return value;
    throw new UsageError(
      `Expected --${name} to be a whole number of at least ${least}, got ${String(given)}`,
    );
  };
  const options: FleetOptions = {
    backend,
    url,
    workers: number('workers', 4, 2),
    tasks: number('tasks', 2_000, 1),
    taskMs: number('task-ms', 200, 0),
    leaseMs: number('lease-ms', 2_000, 200),
    killEveryMs: number('kill-every', 1_000, 100),
    kills: number('kills', 20, 0),
    pauses: number('pauses', 5, 0),
    json: values.json === true,
  };
  refuseHurry(options);
  return options;
}

/** Kills and pauses take turns, one every so often while there is work: what can't pass need not be begun. */
function refuseHurry({ workers, tasks, taskMs, killEveryMs, kills, pauses }: FleetOptions): void {
  const workMs = (tasks * taskMs) / (workers * CONCURRENCY);
  const most = Math.floor(workMs / killEveryMs);
  if (kills + pauses <= most) return;
  const needed = Math.ceil(((kills + pauses) * killEveryMs * workers * CONCURRENCY) / Math.max(1, taskMs));
  const fewer = Math.floor(most / 5);
  throw new UsageError(
    `${tasks} tasks of ${taskMs} ms are over in about ${(workMs / 1_000).toFixed(1)} s on ${workers} workers: no time for ${kills} kills and ${pauses} pauses, one every ${killEveryMs} ms. Give --tasks ${needed}, or --kills ${most - fewer} --pauses ${fewer}.`,
  );
}
