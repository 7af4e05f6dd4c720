import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, inject, test } from 'vitest';
import type { FleetSummary } from '../../examples/fleet/summary.ts';

const DEMO = fileURLToPath(new URL('../../examples/fleet/index.ts', import.meta.url));

/** The demo in small, on a server of this run; its checks of the number of kills and of recovery times are for the whole one. */
async function demo(backend: 'postgres' | 'redis', url: string): Promise<FleetSummary> {
  const args = ['--tasks', '300', '--task-ms', '100', '--lease-ms', '1000', '--kill-every', '300'];
  const plan = ['--kills', '2', '--pauses', '1', '--json'];
  const run = promisify(execFile)(process.execPath, [
    DEMO,
    '--backend',
    backend,
    '--url',
    url,
    ...args,
    ...plan,
  ]);
  const { stdout } = await run.catch((error: { readonly stdout: string }) => error);
  return JSON.parse(stdout) as FleetSummary;
}

test.each([
  ['postgres', () => inject('postgresUrl')],
  ['redis', () => inject('redisUrl')],
] as const)(
  'T1 T4 T6: workers that are killed and paused lose nothing and do nothing twice on %s',
  async (backend, url) => {
    const { done, dead, lost, duplicates, kills, pauses, control } = await demo(backend, url());
    expect({ done, dead, lost, duplicates }).toEqual({ done: 300, dead: 0, lost: 0, duplicates: 0 });
    expect(kills).toBeGreaterThan(0);
    expect(pauses).toBe(1);
    expect(control.duplicates).toBeGreaterThan(0);
  },
);
