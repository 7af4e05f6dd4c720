import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, inject, test } from 'vitest';
import pg from 'pg';
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

test.each([
  ['redis', 'nonsense', 'INVALID_OPTION'],
  ['redis', 'redis://127.0.0.1:1', 'BACKEND_UNAVAILABLE'],
  ['postgres', 'redis://127.0.0.1:1', 'INVALID_OPTION'],
  ['postgres', 'postgres://127.0.0.1:1/x', 'BACKEND_UNAVAILABLE'],
] as const)('%s at %s: says what is wrong, and ends', async (backend, url, code) => {
  const args = [DEMO, '--backend', backend, '--url', url];
  const run = promisify(execFile)(process.execPath, args, { timeout: 30_000, killSignal: 'SIGKILL' });
  const failed = await run.catch((error: { readonly code: number; readonly stderr: string }) => error);
  expect(failed).toMatchObject({ code: 1, stderr: expect.stringMatching(`^${code}: `) as string });
});

test('nothing of the demo is left in the database', async () => {
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  const { rows } = await client.query(
    "select nspname as name from pg_namespace where nspname ~ '^fleet_' union all select relname from pg_class where relname ~ '^fleet_.*_ledger'",
  );
  await client.end();
  expect(rows).toEqual([]);
});
