import { expect, test } from 'vitest';
import { MemoryLockStore } from '../../src/backends/memory/lock-store.ts';
import { createMemoryCore, MAX_IN_FLIGHT } from '../../src/backends/memory/memory-core.ts';
import { createOperations } from '../../src/core/operations.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { ResourceManager } from '../../src/resources/resource-manager.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { remoteLocks } from '../support/locks/remote-locks.ts';

/** Two processes on one store across a network, where nobody is told of anything. */
function createProcesses() {
  const clock = createTestClock();
  const core = createMemoryCore({ clock });
  const store = new MemoryLockStore(core);
  const open = (boot: string): ResourceManager => {
    const runtime = createRuntime({ clock, random: createRandom(boot) });
    const { session } = core.sessions.open({ boot, leaseMs: 1e9, writer: 1, report: REPORT });
    return new ResourceManager({}, undefined, undefined, {
      runtime,
      store: remoteLocks(store, async (_label, call) => call()),
      operations: createOperations(session, runtime, { maxInFlight: MAX_IN_FLIGHT }),
    });
  };
  return { clock, here: open('here'), there: open('there') };
}

test('L2: a write is refused once a newer token was seen, though its own lock still counts as held here', async () => {
  const { clock, here, there } = createProcesses();
  const old = await here.acquire('file', { owner: 'ann' });
  expect(await old.fenced(() => 'first')).toBe('first');
  // Taken back from elsewhere, and this process has not heard of it.
  await there.forceRelease('file', { graceMs: 0 });
  const fresh = await here.acquire('file', { owner: 'bob' });
  expect(old.signal.aborted).toBe(false);
  expect(fresh.token).toBeGreaterThan(old.token);

  let written = false;
  await fresh.fenced(() => undefined);
  await expect(
    old.fenced(() => {
      written = true;
    }),
  ).rejects.toMatchObject({ code: 'STALE_FENCE' });
  expect(written).toBe(false);
  expect(await fresh.fenced(() => 'goes on')).toBe('goes on');
  await clock.settle();
});

test('L2: a write that a newer token overtook while it ran is refused, though its own lock still counts as held here', async () => {
  const { here, there } = createProcesses();
  const old = await here.acquire('file', { owner: 'ann' });
  const slow = Promise.withResolvers<string>();
  const write = old.fenced(() => slow.promise);
  await there.forceRelease('file', { graceMs: 0 });
  const fresh = await here.acquire('file', { owner: 'bob' });
  await fresh.fenced(() => undefined);
  expect(old.signal.aborted).toBe(false);
  slow.resolve('old');
  await expect(write).rejects.toMatchObject({ code: 'STALE_FENCE' });
});
