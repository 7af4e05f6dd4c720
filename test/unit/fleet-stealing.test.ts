import { describe, expect, onTestFinished, test } from 'vitest';
import { memory } from '../../src/backends/memory/memory.ts';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { SessionNumber } from '../../src/core/ports/words.ts';
import { CoordinationManager } from '../../src/index.ts';
import { mayRunThere, type Peer, stealFrom } from '../../src/scheduler/peers.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

const peer = (session: number, unstarted: number): Peer => ({
  session: session as SessionNumber,
  report: { ...EMPTY_REPORT, load: { ...EMPTY_REPORT.load, unstarted } },
});

describe('from whom to steal', () => {
  test('half of what the one with the most has, at most what there is room for', () => {
    expect(stealFrom([peer(1, 4), peer(2, 9), peer(3, 0)], 100)).toEqual({ session: 2, count: 4 });
    expect(stealFrom([peer(1, 4), peer(2, 9)], 3)).toEqual({ session: 2, count: 3 });
  });

  test('W4: from nobody who has one, so that two don’t pass it to and fro', () => {
    expect(stealFrom([peer(1, 1)], 10)).toBeUndefined();
    expect(stealFrom([], 10)).toBeUndefined();
    expect(stealFrom([peer(1, 10)], 0)).toBeUndefined();
  });
});

test('who may run a task: by capabilities, and yes where a report has no room for all', () => {
  const agent = { id: 'a', capabilities: ['x', 'y'], running: 0, slots: 1, draining: false };
  const has = (agents: readonly (typeof agent)[], capabilities: readonly string[]): boolean =>
    mayRunThere({ session: 1 as SessionNumber, report: { ...EMPTY_REPORT, agents } }, { capabilities });
  expect(has([agent], ['x'])).toBe(true);
  expect(has([agent], ['z'])).toBe(false);
  expect(has([], [])).toBe(false);
  expect(has([{ ...agent, draining: true }], ['x'])).toBe(false);
  expect(
    has(
      Array.from({ length: 20 }, () => agent),
      ['z'],
    ),
  ).toBe(true);
  expect(has([{ ...agent, capabilities: ['a', 'b', 'c', 'd', 'e'] }], ['z'])).toBe(true);
});

test('W1 W2: a process without work takes what another one has claimed and not begun; each task runs once', async () => {
  const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
  const store = memory({ shared: true });
  const ran = new Map<string, string[]>();
  const meshes = await Promise.all(
    ['busy', 'idle'].map(async (name, seed) => {
      const backend = networked<Backend>(store);
      const mesh = new CoordinationManager({
        backend,
        clock,
        seed,
        env: {},
        scheduling: { prefetch: name === 'busy' ? 20 : 0 },
      });
      await mesh.initialize();
      const register = (): void =>
        void mesh.registerAgent({
          id: name,
          maxConcurrentTasks: 2,
          handler: async ({ task }) => {
            ran.set(task.id, [...(ran.get(task.id) ?? []), name]);
            await new Promise<void>((resolve) => void clock.after(4_000, resolve, true));
          },
        });
      return { mesh, register };
    }),
  );
  onTestFinished(async () => {
    const over = Promise.all(meshes.map(({ mesh }) => mesh.shutdown()));
    await clock.advance(60_000);
    await over;
  });
  const [busy, idle] = meshes as [(typeof meshes)[0], (typeof meshes)[0]];
  busy.register();
  const submitted = busy.mesh.submitTasks(Array.from({ length: 22 }, (_, i) => ({ id: `t${i}`, type: 't' })));
  await clock.advance(100);
  await submitted;
  expect(store.tasks.list({ state: ['ready'] }, { limit: 100 }).items).toEqual([]);
  // Its beat tells how many it hasn't begun.
  await clock.advance(11_000);
  idle.register();
  await clock.advance(60_000);
  const runs = [...ran.values()];
  expect(runs).toHaveLength(22);
  expect(runs.filter(({ length }) => length !== 1)).toEqual([]);
  expect(runs.flat().filter((name) => name === 'idle').length).toBeGreaterThan(0);
});

test('the processes of a mesh are listed with their agents; one that has gone is not', async () => {
  const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
  const store = memory({ shared: true });
  const meshes = await Promise.all(
    ['a', 'b'].map(async (id, seed) => {
      const mesh = new CoordinationManager({ backend: networked<Backend>(store), clock, seed, env: {} });
      mesh.registerAgent({ id, capabilities: ['x'], handler: () => undefined });
      await mesh.initialize();
      return mesh;
    }),
  );
  const [first, second] = meshes as [CoordinationManager, CoordinationManager];
  const seen = (await first.processes()).map(({ own, pid, agents }) => [
    own,
    pid,
    agents.map(({ id }) => id),
  ]);
  expect(seen).toEqual([
    [true, process.pid, ['a']],
    [false, process.pid, ['b']],
  ]);
  for (const mesh of meshes) mesh.registerAgent({ id: 'late', handler: () => undefined });
  const agentsOf = async (): Promise<readonly string[][]> =>
    (await first.processes()).map(({ agents }) => agents.map(({ id }) => id));
  expect(await agentsOf(), 'itself as it is now, others as they said').toEqual([['a', 'late'], ['b']]);
  await clock.advance(10_100);
  expect(await agentsOf(), 'a third of a lease later').toEqual([
    ['a', 'late'],
    ['b', 'late'],
  ]);
  const over = second.shutdown();
  await clock.advance(10_000);
  await over;
  expect(await first.processes()).toHaveLength(1);
  const end = first.shutdown();
  await clock.advance(10_000);
  await end;
  await expect(first.processes()).rejects.toMatchObject({ code: 'STOPPED' });
});
