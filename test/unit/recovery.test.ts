import { describe, expect, test } from 'vitest';
import type { ClaimAnswer } from '../../src/core/ports/tasks.ts';
import { CoordinationError, memory, type MemoryBackend } from '../../src/index.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';
import { intercept } from '../../src/testing/wrappers.ts';
import { crossedLocks } from '../support/crossed-locks.ts';
import { faulty } from '../support/faulty.ts';
import { gate } from '../support/mesh.ts';
import { startMesh } from '../support/started-mesh.ts';

const LEASE_MS = 30_000;

let seed = 1;

/** A manager with a clock of its own: one that doesn't advance stands still, as a process does that is stopped. */
async function start(
  backend: MemoryBackend,
  options: { readonly maxCrashes?: number; readonly prefetch?: number } = {},
  clock: TestClock = createTestClock(),
) {
  const world = await startMesh({
    clock,
    seed: seed++,
    backend,
    workStealing: false,
    scheduling: { ...options, retry: false },
  });
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 1_000) await world.clock.advance(Math.min(1_000, left));
  };
  return { ...world, pass };
}

describe('tasks of a session that ended', () => {
  test('T6: are run by another process within a lease and a second; T4: the late answer is refused', async () => {
    const backend = memory({ shared: true });
    const alive = await start(backend);
    const stalled = await start(backend);
    const { promise, open } = gate<string>();
    const attempts: number[] = [];
    stalled.mesh.registerAgent({ id: 's', handler: () => promise });
    const task = await stalled.mesh.submitTask({ type: 't' });
    await stalled.clock.settle();
    alive.mesh.registerAgent({
      id: 'a',
      handler: ({ attempt }) => {
        attempts.push(attempt);
        return 'by the living';
      },
    });
    await alive.pass(LEASE_MS - 2_000);
    expect(attempts).toEqual([]);
    await alive.pass(4_000);
    expect(attempts).toEqual([1]);
    expect(alive.named('task:released')).toMatchObject([{ taskId: task.id }]);
    expect(await task.result()).toBe('by the living');
    open('too late');
    await stalled.pass(2_000);
    expect(stalled.named('task:completed')).toEqual([]);
  });

  test('T6: all of them, more than one call takes over too', async () => {
    const backend = memory({ shared: true });
    const alive = await start(backend);
    const stalled = await start(backend);
    const { promise, open } = gate();
    stalled.mesh.registerAgent({ id: 's', maxConcurrentTasks: 900, handler: () => promise });
    await stalled.mesh.submitTasks(Array.from({ length: 900 }, () => ({ type: 't' })));
    await stalled.clock.settle();
    let runs = 0;
    alive.mesh.registerAgent({ id: 'a', maxConcurrentTasks: 2_000, handler: () => void (runs += 1) });
    await alive.pass(LEASE_MS + 3_000);
    expect(runs).toBe(900);
    open();
  });

  test('T5: one that was running each time is buried as POISON once it has crashed too often', async () => {
    const backend = memory({ shared: true });
    const alive = await start(backend, { maxCrashes: 1 });
    const crashed = [await start(backend, { maxCrashes: 1 }), await start(backend, { maxCrashes: 1 })];
    const { promise, open } = gate();
    const task = await alive.mesh.submitTask({ type: 't' });
    const outcome = task.result().catch((error: unknown) => error);
    for (const [i, { mesh, clock }] of crashed.entries()) {
      mesh.registerAgent({ id: `c${i}`, handler: () => promise });
      await clock.settle();
      await clock.advance(1_000);
      expect((await alive.mesh.getTask(task.id))?.status).toBe('running');
      await alive.pass(LEASE_MS + 2_000);
    }
    expect(await outcome).toMatchObject({
      code: 'TASK_FAILED',
      reason: 'POISON',
      cause: { code: 'SESSION_EXPIRED' },
    });
    expect(alive.named('task:buried')).toMatchObject([{ taskId: task.id, reason: 'POISON' }]);
    open();
  });

  test('T6: that this process runs itself go on, once', async () => {
    const backend = memory({ shared: true });
    const first = await start(backend);
    const mine = await start(backend);
    const { promise, open } = gate();
    let calls = 0;
    mine.mesh.registerAgent({
      id: 'a',
      handler: async () => {
        calls += 1;
        await promise;
        return 'done';
      },
    });
    const task = await mine.mesh.submitTask({ type: 't' });
    await mine.clock.settle();
    await first.down();
    // The backend keeps the time of who started it: for it, this process has been silent for longer than a lease.
    await first.clock.advance(LEASE_MS + 5_000);
    await mine.pass(15_000);
    expect(mine.named('session:expired')).toMatchObject([{ heldClaims: 1, heldLocks: 0 }]);
    expect(calls).toBe(1);
    open();
    await mine.pass(2_000);
    expect(await task.result()).toBe('done');
    expect(calls).toBe(1);
    expect(mine.named('claim:refused')).toEqual([]);
  });

  test('T5: nor does this process go on with one that has crashed too often, by what the store counts', async () => {
    const backend = memory({ shared: true });
    const first = await start(backend);
    const mine = await start(backend, { maxCrashes: 0 });
    let reason: unknown;
    mine.mesh.registerAgent({
      id: 'a',
      handler: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject((reason = signal.reason)));
        }),
    });
    const task = await mine.mesh.submitTask({ type: 't' });
    const outcome = task.result().catch((error: unknown) => error);
    await mine.clock.settle();
    await first.down();
    await first.clock.advance(LEASE_MS + 5_000);
    await mine.pass(15_000);
    expect(reason).toBeInstanceOf(Error);
    expect(await outcome).toMatchObject({ code: 'TASK_FAILED', reason: 'POISON' });
  });

  test('T6: one that an external agent of this process has is given back, and that one told of its new claim', async () => {
    const backend = memory({ shared: true });
    const first = await start(backend);
    const mine = await start(backend);
    mine.mesh.registerAgent({ id: 'outside' });
    const task = await mine.mesh.submitTask({ type: 't' });
    await mine.clock.settle();
    await first.down();
    await first.clock.advance(LEASE_MS + 5_000);
    await mine.pass(15_000);
    const claims = mine.named('task:assigned').map(({ claim }) => claim);
    expect(claims).toHaveLength(2);
    await expect(mine.mesh.completeTask(task.id, 'old', claims[0])).rejects.toMatchObject({
      code: 'STALE_CLAIM',
    });
    await mine.mesh.completeTask(task.id, 'new', claims[1]);
    expect(await task.result()).toBe('new');
  });

  test('T6: one whose claim arrived after its session was lost goes on, and fails for nothing but that: it is given back', async () => {
    const store = memory({ shared: true });
    const first = await start(store);
    const lost = gate();
    let held = false;
    const backend = intercept(networked<MemoryBackend>(store), async ({ port, method, send }) => {
      const answer = await send();
      const claims = port === 'tasks' && method === 'claim' ? (answer as ClaimAnswer).claims : [];
      if (claims.length === 0 || held) return answer;
      held = true;
      await lost.promise;
      return answer;
    });
    const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
    const mine = await start(backend, {}, clock);
    mine.events.on('session:expired', () => lost.open());
    const work = gate();
    let calls = 0;
    mine.mesh.registerAgent({
      id: 'a',
      handler: async () => {
        calls += 1;
        if (calls > 1) return 'done';
        await work.promise;
        throw new CoordinationError('STALE_CLAIM', 'its claim is another by now', { retryable: false });
      },
    });
    const submitted = mine.mesh.submitTask({ type: 't' });
    await mine.pass(1_000);
    const task = await submitted;
    expect(held).toBe(true);
    await first.down();
    await first.clock.advance(LEASE_MS + 5_000);
    await mine.pass(15_000);
    expect(mine.named('session:expired')).toHaveLength(1);
    expect(calls).toBe(1);
    work.open();
    await mine.pass(5_000);
    expect((await mine.mesh.getTask(task.id))?.status).toBe('completed');
    expect(calls).toBe(2);
  });

  test('T6: one whose start is on its way to the store is given back: what it is told belongs to its former claim', async () => {
    const store = memory({ shared: true });
    const first = await start(store);
    const taken = gate();
    const sessions = new Set<unknown>();
    const backend = intercept(networked<MemoryBackend>(store), async ({ port, method, op, send }) => {
      if (port !== 'tasks') return send();
      if (method === 'start') {
        sessions.add(op?.session);
        // Asked for again by the next session, it is overtaken by that one's call for what the former one left.
        if (sessions.size === 2) await taken.promise;
        return send();
      }
      const answer = await send();
      if (method === 'takeover' && (answer as ClaimAnswer).claims.length > 0) setImmediate(taken.open);
      return answer;
    });
    const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
    const mine = await start(backend, { prefetch: 1 }, clock);
    const work = gate();
    const calls: string[] = [];
    mine.mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task }) => {
        calls.push(task.id);
        if (task.id === 'a') await work.promise;
      },
    });
    const submitted = mine.mesh.submitTasks(['a', 'b'].map((id) => ({ id, type: 't' })));
    await mine.pass(1_000);
    await submitted;
    expect(calls).toEqual(['a']);
    await first.down();
    await first.clock.advance(LEASE_MS + 5_000);
    work.open();
    await mine.pass(15_000);
    expect(sessions.size, 'the start was asked for again').toBe(2);
    expect((await mine.mesh.getTask('b'))?.status).toBe('completed');
    expect(calls.filter((id) => id === 'b')).toHaveLength(1);
  });

  test('T6: one that had completed while the store was away, and whose end comes after the takeover, is completed under that', async () => {
    const { backend, faults } = faulty(networked<MemoryBackend>(memory({ shared: true })));
    const taken = gate();
    const late = intercept(backend, async ({ port, method, send }) => {
      if (port !== 'tasks' || faults.fault === 'away') return send();
      // The server hears of its former claims first, and of their ends afterwards.
      if (method === 'settle') await taken.promise;
      const answer = await send();
      if (method === 'takeover' && (answer as ClaimAnswer).claims.length > 0) setImmediate(taken.open);
      return answer;
    });
    const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
    const mine = await start(late, {}, clock);
    const work = gate();
    let calls = 0;
    mine.mesh.registerAgent({
      id: 'a',
      handler: async () => {
        calls += 1;
        await work.promise;
        return 'done';
      },
    });
    const submitted = mine.mesh.submitTask({ type: 't' });
    await mine.pass(1_000);
    const task = await submitted;
    faults.fault = 'away';
    await mine.pass(LEASE_MS);
    work.open();
    await mine.pass(15_000);
    faults.fault = 'none';
    await mine.pass(30_000);
    expect(mine.named('session:expired')).toHaveLength(1);
    expect(calls).toBe(1);
    const ends = Promise.all([mine.mesh.getTask(task.id), task.result()]);
    await mine.pass(1_000);
    expect(await ends).toMatchObject([{ status: 'completed' }, 'done']);
  });

  test('T6: one that had failed, and waits for a deadlock’s survivor, is run again, though its old claim is worth nothing', async () => {
    const backend = memory({ shared: true });
    const first = await start(backend);
    const { mesh, clock, outcome, finish } = await crossedLocks(() => ({}), { backend, seed: seed++ });
    await first.down();
    await first.clock.advance(LEASE_MS + 5_000);
    for (let i = 0; i < 15; i++) await clock.advance(1_000);
    finish();
    for (let i = 0; i < 40; i++) await clock.advance(1_000);
    expect((await mesh.getTask('victim'))?.state).toBe('completed');
    expect(await outcome).toBe('done');
  });
});
