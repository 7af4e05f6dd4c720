import type { FleetOptions } from './command-line.ts';
import type { FleetRun } from './run.ts';

/** What `--json` prints. */
export interface FleetSummary extends FleetRun {
  readonly backend: string;
  readonly tasks: number;
  readonly control: { readonly duplicates: number };
}

/** What must hold, and whether it does. */
export function checksOf(
  summary: FleetSummary,
  options: Pick<FleetOptions, 'kills' | 'pauses' | 'leaseMs'>,
): readonly { readonly what: string; readonly kept: boolean }[] {
  const { done, dead, lost, duplicates, fencedOff, tasks, kills, pauses, recoveryMs, control } = summary;
  const within = options.leaseMs + 1_000;
  return [
    { what: `every task done: ${done} of ${tasks}, ${dead} dead`, kept: done === tasks && dead === 0 },
    { what: `effects lost: ${lost}`, kept: lost === 0 },
    { what: `effects that happened twice: ${duplicates}`, kept: duplicates === 0 },
    { what: `late effects refused: ${fencedOff}`, kept: options.pauses === 0 || fencedOff > 0 },
    { what: `kills of working workers: ${kills} of ${options.kills}`, kept: kills >= options.kills },
    { what: `pauses past the lease: ${pauses} of ${options.pauses}`, kept: pauses >= options.pauses },
    {
      what: `tasks of a killed worker running again: p50 ${recoveryMs.p50} ms, at most ${recoveryMs.max} ms (lease + 1 s: ${within} ms)`,
      kept: recoveryMs.max <= within,
    },
    {
      what: `without fencing, effects that happened twice: ${control.duplicates}`,
      kept: options.pauses === 0 || control.duplicates > 0,
    },
  ];
}
