import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

/** What keeps a process alive, asked of processes that have nothing else to do. */

const run = promisify(execFile);

/** What a process that runs this code prints until it ends by itself, and its exit code. */
async function outcome(code: string): Promise<string> {
  const whole = `
    import { CoordinationManager, memory } from '../../src/index.ts';
    process.on('exit', (exit) => console.log('exit', exit));
    ${code}
  `;
  const options = { timeout: 10_000, cwd: import.meta.dirname };
  try {
    return (await run(process.execPath, ['--input-type=module', '-e', whole], options)).stdout;
  } catch (error) {
    const { killed, stdout } = error as { readonly killed: boolean; readonly stdout: string };
    return killed ? `${stdout}killed` : stdout;
  }
}

describe('the process lives', () => {
  test('while a result is awaited that only the deadline can bring', async () => {
    const code = `
      const mesh = await CoordinationManager.start();
      const task = await mesh.submitTask({ type: 'x', deadline: new Date(Date.now() + 200) });
      await task.result().catch((error) => console.log(error.code));
      await mesh.shutdown();
    `;
    expect(await outcome(code)).toBe('TASK_FAILED\nexit 0\n');
  }, 15_000);

  test('for a delayed task, also when a sweep for another one came before it', async () => {
    const code = `
      const mesh = await CoordinationManager.start();
      mesh.registerAgent({ id: 'a', handler: ({ task }) => console.log(task.input) });
      await mesh.submitTask({ type: 'x', input: 'early', delayMs: 20 });
      await mesh.submitTask({ type: 'x', input: 'late', delayMs: 250 });
    `;
    expect(await outcome(code)).toBe('early\nlate\nexit 0\n');
  }, 15_000);
});

describe('the process ends', () => {
  test('by itself, when nobody awaits a task with a deadline, or it was awaited and has ended', async () => {
    const code = `
      const mesh = await CoordinationManager.start();
      mesh.registerAgent({ id: 'a', handler: () => 'done' });
      const soon = new Date(Date.now() + 3_600_000);
      console.log(await mesh.runTask({ type: 'x', deadline: soon }));
      await mesh.submitTask({ type: 'x', capabilities: ['nobody has'], deadline: soon });
    `;
    expect(await outcome(code)).toBe('done\nexit 0\n');
  }, 15_000);

  test('with exit code 13 when what is awaited has no end that is known', async () => {
    const code = `
      const mesh = await CoordinationManager.start({ backend: memory({ shared: true }) });
      await mesh.runTask({ type: 'x', capabilities: ['nobody has'] });
    `;
    expect(await outcome(code)).toBe('exit 13\n');
  }, 15_000);
});
