import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';

/** Defect 20, as far as timers go: periodic work that was left behind kept the process from ever exiting. */

/** Module text that exports `every(ms, fn)`: calls `fn` again and again. */
export type Implementation = string;

/** Rejects when a process that started periodic work and has nothing else to do does not exit by itself within 2 s. */
export async function scenario(implementation: Implementation): Promise<void> {
  const program = `${implementation}\nevery(100, () => undefined); every(250, () => undefined); every(60_000, () => undefined);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'ignore' });
  const late = setTimeout(() => child.kill('SIGKILL'), 2_000);
  const [code] = (await once(child, 'exit')) as [number | null];
  clearTimeout(late);
  if (code !== 0) throw new Error('the process did not exit by itself');
}

const naive: Implementation = 'const every = (ms, fn) => setInterval(fn, ms);';

const clock = new URL('../../src/core/runtime/runtime.ts', import.meta.url).href;
const ours: Implementation = `
  import { systemClock } from ${JSON.stringify(clock)};
  const every = (ms, fn) => systemClock().after(ms, () => { fn(); every(ms, fn); });`;

test('defect 20: native intervals fail', async () => {
  await expect(scenario(naive)).rejects.toThrow('did not exit');
});

test('defect 20: the shared clock passes', async () => {
  await expect(scenario(ours)).resolves.toBeUndefined();
});
