import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

/** Defect 20: `shutdown()` left 3 timers and 22 listeners: the process never exited. */

const run = promisify(execFile);

/** Rejects when a process that runs this code and then has nothing left to do doesn't end by itself within the time. */
export async function scenario(code: string): Promise<void> {
  await run(process.execPath, ['--input-type=module', '-e', code], {
    timeout: 8_000,
    cwd: import.meta.dirname,
  });
}

const naive = `
  const timers = [setInterval(() => {}, 1000)];
  const shutdown = () => {};
  shutdown(timers);
`;

const ours = `
  import { CoordinationManager } from '../../src/index.ts';
  const mesh = await CoordinationManager.start({ workStealing: { stealInterval: 50 } });
  mesh.registerAgent({ id: 'a', maxConcurrentTasks: 4, handler: ({ task }) => { if (task.input % 7 === 0) throw new Error('no'); } });
  await mesh.submitTasks(Array.from({ length: 100 }, (_, i) => ({ type: 't', input: i, timeoutMs: 60000 })));
  await mesh.submitTask({ type: 't', delayMs: 3600000 });
  mesh.subscribe('b', () => {});
  await mesh.sendMessage('a', 'b', 1);
  await mesh.acquireResource('r', 'b');
  void mesh.acquireResource('r', 'c').catch(() => {});
  void mesh.request('a', 'nobody', 1).catch(() => {});
  mesh.breaker('x').forceState('open');
  await mesh.shutdown();
`;

test('defect 20: the naive process has to be killed', async () => {
  await expect(
    run(process.execPath, ['--input-type=module', '-e', naive], { timeout: 1_000 }),
  ).rejects.toMatchObject({ killed: true });
});

test('defect 20: after shutdown the process exits by itself', async () => {
  await expect(scenario(ours)).resolves.toBeUndefined();
}, 20_000);
