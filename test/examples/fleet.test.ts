import { execFile } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, inject, test, vi } from 'vitest';
import pg from 'pg';
import { parseCommandLine } from '../../examples/fleet/command-line.ts';
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

/** Puts an effect of the run that is under way into its ledger once more. */
async function happenTwice(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await vi.waitUntil(
    async () => {
      const { rows } = await client.query<{ name: string }>(
        `select left(tablename, -8) as name from pg_tables where tablename like '%\\_ledger\\_refused'`,
      );
      const [ledger] = rows;
      if (ledger === undefined) return false;
      const { rowCount } = await client.query(
        `insert into ${ledger.name} select * from ${ledger.name} limit 1`,
      );
      return rowCount === 1;
    },
    { timeout: 30_000 },
  );
  await client.end();
}

test('a run that fails keeps what it was counted from, and says where', async () => {
  const url = inject('postgresUrl');
  const plan = ['--workers', '2', '--tasks', '64', '--task-ms', '100', '--lease-ms', '500', '--json'];
  const chaos = ['--kill-every', '400', '--kills', '1', '--pauses', '0'];
  const run = promisify(execFile)(process.execPath, [DEMO, '--url', url, ...plan, ...chaos]);
  const ended = run.catch((error: { code: number; stdout: string; stderr: string }) => error);
  await happenTwice(url);
  const failed = (await ended) as { code: number; stdout: string; stderr: string };
  expect(failed).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('✗ effects that happened twice: 1') as string,
  });
  const [, file = ''] = /history of the tasks, is in (.*)\n/.exec(failed.stderr) ?? [];
  const { summary, ledger, history } = JSON.parse(readFileSync(file, 'utf8')) as Record<
    string,
    { length: number }
  >;
  rmSync(dirname(file), { recursive: true });
  expect(summary).toMatchObject(JSON.parse(failed.stdout) as object);
  expect(ledger).toHaveLength(65);
  expect(history?.length).toBeGreaterThanOrEqual(3 * 64);
});

describe('the command line', () => {
  test.each([
    ['--tasks 100', '--tasks 2000, or --kills 1 --pauses 0'],
    ['--tasks 1999', '--tasks 2000, or --kills 20 --pauses 4'],
    ['--task-ms 0 --kills 1 --pauses 0', '--kills 0 --pauses 0'],
    ['--kill-every 5000 --kills 6 --pauses 0', '--tasks 2400, or --kills 4 --pauses 1'],
  ])(
    '%s: more kills and pauses than there is time for are refused, and what would do is named',
    (text, advice) => {
      const parse = () => parseCommandLine(text.split(' '));
      expect(parse).toThrow(
        expect.objectContaining({ message: expect.stringContaining(advice) as string }) as Error,
      );
    },
  );

  test.each(['', '--tasks 100 --kills 1 --pauses 0', '--tasks 2400 --kill-every 5000 --kills 6 --pauses 0'])(
    '%s: is taken',
    (text) => {
      expect(parseCommandLine(text === '' ? [] : text.split(' '))).toMatchObject({ workers: 4 });
    },
  );
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
