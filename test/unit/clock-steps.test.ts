import { afterEach, expect, test } from 'vitest';
import { CoordinationManager, memory } from '../../src/index.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** The wall clock of a machine is set, by hand, by NTP, after a suspend; time that is counted goes on. */

const HOUR = 3_600_000;
const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** A mesh whose wall clock may step, and whose backend's clock may differ from it by an hour. */
async function start(shared = false) {
  const base = createTestClock();
  let shift = 0;
  const clock = { ...base, wall: () => base.wall() + shift };
  const backend = memory({ shared });
  if (shared) backend.start({ clock: base } as never);
  const mesh = await CoordinationManager.start({ clock, seed: 5, env: {}, backend });
  ends.push(async () => {
    const down = mesh.shutdown();
    await base.advance(60_000);
    await down;
  });
  return { mesh, clock: base, step: (ms: number) => (shift += ms), wall: () => clock.wall() };
}

test.each([-HOUR, HOUR])('T8, G3: the clock was set by %i ms: runAt is when it says', async (ms) => {
  const { mesh, clock, step, wall } = await start();
  mesh.registerAgent({ id: 'a', handler: () => wall() });
  step(ms);
  const runAt = new Date(wall() + 400);
  const task = await mesh.submitTask({ type: 'x', runAt });
  await clock.advance(399);
  expect((await task.status()).status).toBe('pending');
  await clock.advance(2);
  expect((await task.result()) as number).toBeGreaterThanOrEqual(runAt.getTime());
});

test('G3: a step while tasks wait moves neither their time nor deadlines, time limits, leases and waits', async () => {
  const { mesh, clock, step } = await start();
  mesh.registerAgent({
    id: 'a',
    maxConcurrentTasks: 9,
    handler: ({ task, signal }) => task.input ?? until(signal),
  });
  const outcomes: string[] = [];
  const note = (name: string, promise: Promise<unknown>): void =>
    void promise.then(
      () => outcomes.push(`${name} done`),
      (error: { code: string }) => outcomes.push(`${name} ${error.code}`),
    );
  note('delayed', mesh.runTask({ type: 'x', input: 1, delayMs: 1_000 }));
  note('limited', mesh.runTask({ type: 'x', timeoutMs: 2_000, retry: false }));
  note('dead', mesh.runTask({ type: 'y', capabilities: ['none'], deadline: new Date(clock.wall() + 3_000) }));
  const lease = await mesh.acquire('r', { leaseMs: 4_000, renew: false });
  lease.signal.addEventListener('abort', () => outcomes.push('lease over'));
  note('waiting', mesh.acquire('r', { timeoutMs: 2_500 }));
  note('asking', mesh.request('a', 'nobody', 1, { timeoutMs: 3_500 }));
  step(-HOUR);
  await clock.advance(900);
  expect(outcomes).toEqual([]);
  step(3 * HOUR);
  await clock.advance(50);
  expect(outcomes).toEqual([]);
  await clock.advance(4_000);
  expect(outcomes).toEqual([
    'delayed done',
    'limited TASK_FAILED',
    'waiting LOCK_TIMEOUT',
    'dead TASK_FAILED',
    'asking REPLY_TIMEOUT',
    'lease over',
  ]);
});

test('G3: between processes the clock of the backend counts: one that is set wrong here changes nothing', async () => {
  const { mesh, clock, step, wall } = await start(true);
  step(HOUR);
  mesh.registerAgent({ id: 'a', handler: () => 'done' });
  const at = await mesh.submitTask({ type: 'x', runAt: new Date(wall() + 500) });
  const late = await mesh.submitTask({ type: 'y', capabilities: ['none'], deadline: new Date(wall() + 500) });
  const outcome = late.result().catch((error: { code: string }) => error.code);
  await clock.advance(499);
  expect([(await at.status()).status, (await late.status()).status]).toEqual(['pending', 'ready']);
  await clock.advance(1_100);
  expect(await at.result()).toBe('done');
  expect(await outcome).toBe('TASK_FAILED');
});

test('T8: a delay counts from the call, however long the loop was busy before it', async () => {
  const { mesh, clock } = await start();
  mesh.registerAgent({ id: 'a', handler: () => clock.mono() });
  void mesh.submitTask({ type: 'x' });
  // In the same turn of the loop: no timer and no promise had its turn since.
  clock.tick(80);
  const from = clock.mono();
  const delayed = mesh.submitTask({ type: 'x', delayMs: 50 });
  // A sweep that comes for something else finds nothing due.
  await mesh.performMaintenance();
  await clock.advance(200);
  expect((await (await delayed).result()) as number).toBeGreaterThanOrEqual(from + 50);
});

function until(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error));
  });
}
