import { afterEach, expect, test } from 'vitest';
import { type CoordinationError, CoordinationManager, type Lease } from '../../src/index.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function start() {
  const clock = createTestClock();
  const mesh = await CoordinationManager.start({ clock, seed: 5, env: {} });
  ends.push(async () => {
    const down = mesh.shutdown();
    await clock.advance(60_000);
    await down;
  });
  const resolve = async (resource: string, agents: readonly string[], winner: string) => {
    const { id } = await mesh.reportConflict('resource', resource, agents);
    const facts = { agentPriorities: new Map([[winner, 5]]) };
    const resolution = await mesh.conflicts.resolveConflict(id, 'priority', facts);
    await clock.settle();
    return resolution;
  };
  return { mesh, clock, resolve };
}

const codeOf = (error: CoordinationError): string => error.code;

test('a conflict over a resource that nobody has locked locks it for nobody', async () => {
  const { mesh, resolve } = await start();
  expect((await resolve('shared-file', ['agent1', 'agent2'], 'agent1')).winner).toBe('agent1');
  expect(mesh.locks.getAllocations()).toEqual(new Map());
  await expect(mesh.acquireResource('shared-file', 'agent2', { timeoutMs: 10 })).resolves.toBeDefined();
});

test('a lock that the loser holds goes to the winner, who holds it already keeps it', async () => {
  const { mesh, resolve } = await start();
  const lease = await mesh.acquireResource('f', 'agent2');
  lease.signal.addEventListener('abort', () => void lease.release());
  await resolve('f', ['agent1', 'agent2'], 'agent1');
  expect(mesh.locks.getAllocations()).toEqual(new Map([['f', 'agent1']]));
  expect(lease.signal.aborted).toBe(true);
  await resolve('f', ['agent1', 'agent3'], 'agent1');
  expect(mesh.locks.getAllocations()).toEqual(new Map([['f', 'agent1']]));
});

test('the units of a semaphore are taken from nobody, by a resolution or by moveLock', async () => {
  const { mesh, resolve } = await start();
  const leases: Lease[] = [];
  for (const owner of ['agent1', 'agent2', 'agent3'])
    leases.push(await mesh.acquire({ semaphore: 'gpu', of: 3 }, { owner }));
  expect((await resolve('gpu', ['agent1', 'agent2', 'agent3'], 'agent2')).winner).toBe('agent2');
  expect(await mesh.locks.moveLock('gpu', 'agent2', { graceMs: 50 }).catch(codeOf)).toBe('INVALID_ARGUMENT');
  expect(leases.map(({ signal }) => signal.aborted)).toEqual([false, false, false]);
});

test('moveLock to an agent that left takes nothing from the holder', async () => {
  const { mesh } = await start();
  mesh.registerAgent({ id: 'gone', handler: () => 1 });
  await mesh.unregisterAgent('gone');
  const lease = await mesh.acquireResource('f', 'agent1');
  expect(await mesh.locks.moveLock('f', 'gone').catch(codeOf)).toBe('UNKNOWN_AGENT');
  expect(lease.signal.aborted).toBe(false);
});
