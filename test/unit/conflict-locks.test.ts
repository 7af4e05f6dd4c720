import { describe, expect, test } from 'vitest';
import { CoordinationError, type CoordinationManager, type Lease, memory } from '../../src/index.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { startMesh } from '../support/started-mesh.ts';

async function start() {
  const { mesh, clock } = await startMesh();
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

async function attempt(mesh: CoordinationManager, resource: string, [winner, ...losers]: readonly string[]) {
  const { id } = await mesh.reportConflict('resource', resource, [...losers, winner as string]);
  const facts = { agentPriorities: new Map([[winner as string, 5]]) };
  const error = await mesh.conflicts.resolveConflict(id, 'priority', facts).then(
    () => undefined,
    (refusal: CoordinationError) => refusal,
  );
  const isOpen = mesh.conflicts.getActiveConflicts().some((conflict) => conflict.id === id);
  return { error, isOpen, cause: (error?.cause as CoordinationError | undefined)?.code };
}

test('a winner that left can not be given the lock: the conflict stays open and says why, nothing is taken', async () => {
  const { mesh, clock } = await start();
  const resolved: unknown[] = [];
  mesh.events.on('conflict:resolved', (payload) => void resolved.push(payload));
  mesh.registerAgent({ id: 'gone', handler: () => 1 });
  await mesh.unregisterAgent('gone');
  const lease = await mesh.acquireResource('f', 'agent1');
  expect(await attempt(mesh, 'f', ['gone', 'agent1'])).toMatchObject({
    error: { code: 'CONFLICT_UNRESOLVED' },
    isOpen: true,
    cause: 'UNKNOWN_AGENT',
  });
  await clock.advance(60_000);
  expect(lease.signal.aborted).toBe(false);
  expect(resolved).toEqual([]);
  expect(mesh.conflicts.getStats()).toMatchObject({ active: 1, resolved: 0, failed: 1 });
});

test('a lock that winner and loser share can not be moved: both keep it and the conflict stays open', async () => {
  const { mesh, clock } = await start();
  const leases = [
    await mesh.acquire({ resource: 'f', mode: 'shared' }, { owner: 'agent1' }),
    await mesh.acquire({ resource: 'f', mode: 'shared' }, { owner: 'agent2' }),
  ];
  expect(await attempt(mesh, 'f', ['agent1', 'agent2'])).toMatchObject({
    error: { code: 'CONFLICT_UNRESOLVED' },
    isOpen: true,
    cause: 'INVALID_ARGUMENT',
  });
  await clock.advance(60_000);
  expect(leases.map(({ signal }) => signal.aborted)).toEqual([false, false]);
});

test('a lock that losers share goes to the winner when they are out', async () => {
  const { mesh, clock, resolve } = await start();
  const leases = [
    await mesh.acquire({ resource: 'f', mode: 'shared' }, { owner: 'agent2' }),
    await mesh.acquire({ resource: 'f', mode: 'shared' }, { owner: 'agent3' }),
  ];
  await resolve('f', ['agent1', 'agent2', 'agent3'], 'agent1');
  expect(leases.map(({ signal }) => signal.aborted)).toEqual([true, true]);
  await clock.advance(30_001);
  expect(mesh.locks.getAllocations()).toEqual(new Map([['f', 'agent1']]));
});

test('a lock that a task of the loser holds goes to the winner once that task has let go', async () => {
  const { mesh, clock, resolve } = await start();
  mesh.registerAgent({
    id: 'agent2',
    handler: ({ withLock }) =>
      withLock('f', (lease) => new Promise((done) => lease.signal.addEventListener('abort', () => done(1)))),
  });
  const task = await mesh.submitTask({ type: 'x' });
  task.result().catch(() => undefined);
  await clock.settle();
  expect(mesh.locks.getAllocations().size).toBe(1);
  await resolve('f', ['agent1', 'agent2'], 'agent1');
  expect(mesh.locks.getAllocations()).toEqual(new Map([['f', 'agent1']]));
});

test('a lock that none of the losers holds is not moved: whoever holds it keeps it, and the conflict is resolved', async () => {
  const { mesh, clock, resolve } = await start();
  const lease = await mesh.acquireResource('f', 'outsider');
  const waiting = mesh.acquireResource('f', 'agent2').then((granted) => granted.owner);
  expect((await resolve('f', ['agent1', 'agent2'], 'agent1')).winner).toBe('agent1');
  await clock.advance(29_000);
  expect(lease.signal.aborted).toBe(false);
  await lease.release();
  expect(await waiting).toBe('agent2');
});

test('a resolution waits for nobody: it holds as soon as the loser has been told, and the winner is next', async () => {
  const { mesh, clock } = await start();
  const lease = await mesh.acquireResource('f', 'agent2');
  const other = mesh.acquireResource('f', 'agent3', { timeoutMs: 90_000 }).then(({ owner }) => owner);
  const at = clock.mono();
  expect(await attempt(mesh, 'f', ['agent1', 'agent2'])).toEqual({ isOpen: false });
  expect(clock.mono()).toBe(at);
  expect(lease.signal.reason).toMatchObject({ code: 'LOCK_REVOKED' });
  expect(mesh.locks.getWaitingRequests().get('f')).toEqual(['agent1', 'agent3']);
  await clock.advance(29_000);
  expect(mesh.locks.getAllocations()).toEqual(new Map([['f', 'agent2']]));
  await clock.advance(1_001);
  expect(mesh.locks.getAllocations()).toEqual(new Map([['f', 'agent1']]));
  await mesh.releaseResource('f', 'agent1');
  expect(await other).toBe('agent3');
});

test('the store that refuses to move a lock leaves the conflict open; tried again, it moves', async () => {
  const clock = createTestClock();
  const backend = memory();
  const refusal = new CoordinationError('SCHEMA_MISMATCH', 'not this one');
  let isRefusing = false;
  const refusing = new Proxy(backend.locks, {
    get(target, key) {
      if (key === 'quick' || key === 'live') return undefined;
      const member: unknown = Reflect.get(target, key, target);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        if (isRefusing && key === 'release') return Promise.reject(refusal);
        return Promise.resolve(Reflect.apply(member, target, args) as unknown);
      };
    },
  });
  const { mesh } = await startMesh({ clock, backend: { ...backend, locks: refusing } });
  const lease = await mesh.acquireResource('f', 'agent2');
  isRefusing = true;
  expect(await attempt(mesh, 'f', ['agent1', 'agent2'])).toMatchObject({
    error: { code: 'CONFLICT_UNRESOLVED' },
    isOpen: true,
    cause: 'SCHEMA_MISMATCH',
  });
  expect(lease.signal.aborted).toBe(false);
  isRefusing = false;
  expect(await attempt(mesh, 'f', ['agent1', 'agent2'])).toEqual({ isOpen: false });
  await clock.advance(30_001);
  expect(mesh.locks.getAllocations()).toEqual(new Map([['f', 'agent1']]));
});

test('a task that nobody knows can not be moved: the conflict stays open; one that has ended has nothing left to move', async () => {
  const { mesh, clock } = await start();
  const ended = await mesh.submitTask({ type: 'x' });
  ended.result().catch(() => undefined);
  await ended.cancel();
  await clock.settle();
  const facts = { agentPriorities: new Map([['agent1', 5]]) };
  const unknown = await mesh.reportConflict('task', 'nobody', ['agent1', 'agent2']);
  await expect(mesh.conflicts.resolveConflict(unknown.id, 'priority', facts)).rejects.toMatchObject({
    code: 'CONFLICT_UNRESOLVED',
    cause: { code: 'UNKNOWN_TASK' },
  });
  const over = await mesh.reportConflict('task', ended.id, ['agent1', 'agent2']);
  expect(await mesh.conflicts.resolveConflict(over.id, 'priority', facts)).toMatchObject({
    winner: 'agent1',
  });
  expect(mesh.conflicts.getActiveConflicts().map(({ id }) => id)).toEqual([unknown.id]);
});

describe('autoResolve of a mesh', () => {
  async function auto(mesh: CoordinationManager, agents: readonly string[], resource = agents.join()) {
    const { id } = await mesh.reportConflict('resource', resource, agents);
    return mesh.conflicts.autoResolve(id).then(
      ({ winner, type }) => `${winner} by ${type}`,
      ({ code, message }: CoordinationError) => `${code}: ${message.split(': ')[1]}`,
    );
  }

  test('knows the priorities of registered agents only: with one that is not registered it escalates', async () => {
    const { mesh } = await start();
    mesh.registerAgent({ id: 'low', priority: -5 });
    mesh.registerAgent({ id: 'high', priority: 3 });
    expect(await auto(mesh, ['low', 'high'])).toBe('high by priority');
    for (const agents of [
      ['u1', 'u2'],
      ['u2', 'u1'],
      ['low', 'ghost'],
      ['ghost', 'high'],
    ])
      expect(await auto(mesh, agents)).toMatch(/^CONFLICT_ESCALATED/);
    expect(mesh.conflicts.getActiveConflicts()).toHaveLength(4);
    await mesh.unregisterAgent('low');
    expect(await auto(mesh, ['high', 'low'])).toMatch(/^CONFLICT_ESCALATED/);
  });

  test('an agent that only was assigned a task has no priority either', async () => {
    const { mesh, clock } = await start();
    mesh.registerAgent({ id: 'here', priority: -1 });
    const task = await mesh.assignTask({ type: 'x' }, 'outside');
    task.result().catch(() => undefined);
    await clock.settle();
    expect(await auto(mesh, ['here', 'outside'])).toMatch(/^CONFLICT_ESCALATED/);
  });

  test('decides by who asked first when all of them hold or want the lock', async () => {
    const { mesh, clock } = await start();
    const lease = await mesh.acquireResource('f', 'u1');
    await clock.advance(5);
    const late = mesh.acquireResource('f', 'u2');
    late.catch(() => undefined);
    expect(await auto(mesh, ['u2', 'u1'], 'f')).toBe('u1 by timestamp');
    expect(await auto(mesh, ['u2', 'u3'], 'f')).toMatch(/^CONFLICT_ESCALATED/);
    expect(lease.signal.aborted).toBe(false);
  });

  test('a priority that was reported adds to those that are known', async () => {
    const { mesh } = await start();
    mesh.registerAgent({ id: 'here', priority: 2 });
    const facts = { agentPriorities: new Map([['outside', 3]]) };
    const { id } = await mesh.conflicts.reportResourceConflict('f', ['here', 'outside'], facts);
    expect(await mesh.conflicts.autoResolve(id)).toMatchObject({ winner: 'outside', type: 'priority' });
  });
});
