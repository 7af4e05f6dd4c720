import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Summary } from '../../examples/repo-swarm/summary.ts';
import { SUMMARY_KEYS } from '../support/summary-keys.ts';
import { createRepository, oddFiles, type TestRepository } from '../support/swarm-repository.ts';

const DEMO = fileURLToPath(new URL('../../examples/repo-swarm/index.ts', import.meta.url));
let repository: TestRepository;
beforeAll(() => {
  repository = createRepository(oddFiles());
});
afterAll(() => repository[Symbol.dispose]());

/** A folder for reports and temporary files of one run. */
function scratch(name: string): {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  left(): readonly string[];
} {
  const cwd = join(repository.scratch, name);
  const temporary = join(cwd, 'tmp');
  mkdirSync(temporary, { recursive: true });
  return {
    cwd,
    env: { ...process.env, TMPDIR: temporary, NO_COLOR: '1' },
    left: () => readdirSync(temporary),
  };
}

describe('npm run demo', () => {
  test('on an odd repository: nothing lost, tree as in the serial run, every mechanism used', {
    timeout: 60_000,
  }, () => {
    const { cwd, env, left } = scratch('whole');
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [DEMO, '--repo', repository.folder, '--seed', '5', '--tasks', '120', '--json'],
      { cwd, env, encoding: 'utf8' },
    );
    expect(stderr).toContain('✓ coordinated: 0 of');
    expect(status, stderr).toBe(0);
    const summary = JSON.parse(stdout) as Summary;
    expect(Object.keys(summary)).toEqual(SUMMARY_KEYS);
    const { tasks, locks, deadlocks, conflicts, breaker } = summary;
    expect(summary).toMatchObject({
      repo: repository.folder,
      seed: 5,
      edits: { lost: 0 },
      serial: { treeEqual: true },
    });
    expect(summary.agents).toBeGreaterThanOrEqual(6);
    expect(tasks).toMatchObject({ completed: tasks.total, dead: 0 });
    expect(summary.edits.found).toBe(summary.edits.expected);
    expect(summary.baseline.lost).toBeGreaterThan(0);
    expect(summary.serial.durationMs / summary.durationMs).toBeGreaterThanOrEqual(2);
    const counters = [locks, deadlocks, conflicts, breaker].flatMap((group) => Object.values(group));
    expect(
      [...counters, summary.steals, summary.messages, tasks.failed].every((count) => count > 0),
      stdout,
    ).toBe(true);
    expect(readFileSync(join(cwd, 'report.html'), 'utf8')).toContain('Agents over time');
    expect(left()).toEqual([]);
  });

  test('refuses what it cannot use: exit code 1 with a coded error, 2 for wrong usage', () => {
    const { cwd, env, left } = scratch('refused');
    const run = (...args: string[]): { status: number | null; stderr: string } =>
      spawnSync(process.execPath, [DEMO, ...args], { cwd, env, encoding: 'utf8' });
    expect(run('--repo', cwd)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('INVALID_ARGUMENT: '),
    });
    expect(run('--nonsense')).toMatchObject({ status: 2, stderr: expect.stringContaining('--help') });
    expect(run('--help')).toMatchObject({ status: 0, stderr: '' });
    expect(existsSync(join(cwd, 'report.html'))).toBe(false);
    expect(left()).toEqual([]);
  });

  test('^C stops it: exit code 130, and nothing stays behind', { timeout: 20_000 }, async () => {
    const { cwd, env, left } = scratch('stopped');
    const child = spawn(process.execPath, [DEMO, '--repo', repository.folder], { cwd, env });
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const working = new Promise<void>((resolve) => {
      let said = '';
      child.stdout.on('data', (data: Buffer) => {
        said += data.toString('utf8');
        if (said.includes('edits ·')) resolve();
      });
    });
    await Promise.race([working, ended]);
    expect(left()).toHaveLength(1);
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    expect(left()).toEqual([]);
    expect(existsSync(join(cwd, 'report.html'))).toBe(false);
  });
});
