import { describe, expect, test } from 'vitest';
import { CircuitBreakerManager } from '../../src/circuit-breaker/circuit-breaker-manager.ts';
import type { TaskFailedError } from '../../src/scheduler/outcome.ts';
import type { TaskHandle, TaskSpec } from '../../src/scheduler/types.ts';
import { createScheduler } from '../support/mesh.ts';
import { startMesh as start } from '../support/started-mesh.ts';

const startMesh = () => start({ maxRetries: 3, retryDelay: 5, shutdown: { drainMs: 0 } });

describe('what no repetition heals is buried at once', () => {
  test.each([
    ['a Date', () => ({ at: new Date(0) }), /the result/],
    ['a function', () => [() => 1], /the result/],
    ['too much', () => 'x'.repeat(2 * 1024 * 1024), /the result/],
  ])('a result that is no JSON: %s', async (_, result, message) => {
    const { scheduler, clock, named } = createScheduler({ maxRetries: 3, retryDelay: 5 });
    let calls = 0;
    scheduler.registerAgent({
      id: 'a',
      handler: () => {
        calls += 1;
        return result();
      },
    });
    const handle = await scheduler.submitTask({ type: 't' });
    const failure = handle.result().catch((error: unknown) => error as TaskFailedError);
    await clock.advance(60_000);
    const error = await failure;
    expect(calls).toBe(1);
    expect(error).toMatchObject({ code: 'TASK_FAILED', reason: 'REFUSED', attempts: 1 });
    expect(error).toMatchObject({ hint: expect.stringContaining('not tried again') });
    expect(error.cause).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message),
      hint: expect.stringContaining('not tried again'),
      retryable: false,
    });
    expect(named('task:buried').map(({ payload }) => payload)).toMatchObject([{ reason: 'REFUSED' }]);
    expect((await scheduler.getTask(handle.id))?.reason).toBe('REFUSED');
  });

  test.each([
    ['by its locks', { locks: ['db'] }],
    ['by an outer withLock', {}],
  ])('L8: a lock that the task has already %s', async (_, more) => {
    const { mesh, clock, down } = await startMesh();
    let calls = 0;
    mesh.registerAgent({
      id: 'a',
      handler: ({ withLock }) => {
        calls += 1;
        return 'locks' in more
          ? withLock('db', () => 1)
          : withLock('db', () => withLock(['other', 'db'], () => 1));
      },
    });
    const handle = await mesh.submitTask({ id: 't', type: 't', ...more });
    const failure = handle.result().catch((error: unknown) => error as TaskFailedError);
    await clock.advance(60_000);
    const error = (await failure) as TaskFailedError;
    expect(calls).toBe(1);
    expect(error).toMatchObject({ code: 'TASK_FAILED', reason: 'REFUSED' });
    expect(error.cause).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/^Task t asks for a lock that it has: . holds db already$/),
    });
    const { hint } = error.cause as { hint: string };
    expect(hint).toMatch(/without taking it again.*not tried again/);
    expect(hint).not.toContain('reentrant');
    expect(mesh.locks.getAllocations().size).toBe(0);
    await down();
  });

  test('other refusals of a lock are retried as ever', async () => {
    const { mesh, clock, down } = await startMesh();
    let calls = 0;
    mesh.registerAgent({
      id: 'a',
      handler: ({ withLock }) => {
        calls += 1;
        return withLock('', () => 1);
      },
    });
    const handle = await mesh.submitTask({ type: 't' });
    const failure = handle.result().catch((error: unknown) => error as TaskFailedError);
    await clock.advance(60_000);
    expect(await failure).toMatchObject({ reason: 'ATTEMPTS', attempts: 4 });
    expect(calls).toBe(4);
    await down();
  });

  test('an error that says so itself', async () => {
    const { scheduler, clock } = createScheduler({ maxRetries: 3 });
    scheduler.registerAgent({
      id: 'a',
      handler: () => {
        throw Object.assign(new Error('bad prompt'), { retryable: false });
      },
    });
    const handle = await scheduler.submitTask({ type: 't' });
    const failure = handle.result().catch((error: unknown) => error as TaskFailedError);
    await clock.advance(60_000);
    expect(await failure).toMatchObject({ reason: 'REFUSED', attempts: 1 });
  });
});

describe('task:started says that the handler is called', () => {
  test('a call that the breaker refuses has not started', async () => {
    const { mesh, clock, named, down } = await startMesh();
    mesh.breaker('api', { failureThreshold: 2, timeout: 200, successThreshold: 1 });
    let calls = 0;
    const started: number[] = [];
    mesh.registerAgent({
      id: 'a',
      handler: () => {
        calls += 1;
        started.push(named('task:started').length);
        if (calls <= 2) throw new Error('api down');
        return 'ok';
      },
    });
    const handle = await mesh.submitTask({ id: 'flaky', type: 'call', breaker: 'api' });
    await clock.advance(60_000);
    expect(await handle.result()).toBe('ok');
    expect(calls).toBe(3);
    expect(named('task:released')).toMatchObject([{ reason: 'breaker open' }]);
    expect(named('task:started')).toHaveLength(3);
    // Before the handler, not after it.
    expect(started).toEqual([1, 2, 3]);
    expect(mesh.metrics?.toPrometheus()).toMatch(/agentmesh_tasks_started_total 3/);
    await down();
  });

  test('B1: half-open, each call is one admission, and those beyond the limit have not started', async () => {
    const { mesh, clock, named, down } = await startMesh();
    const breaker = mesh.breaker('api', {
      failureThreshold: 1,
      timeout: 100,
      successThreshold: 2,
      halfOpenLimit: 1,
    });
    breaker.forceState('half-open');
    const ends: (() => void)[] = [];
    mesh.registerAgent({
      id: 'a',
      handler: () =>
        new Promise<void>((resolve) => {
          ends.push(resolve);
        }),
    });
    await mesh.submitTasks(['x', 'y', 'z'].map((id) => ({ id, type: 'call', breaker: 'api' })));
    await clock.settle();
    expect(named('task:started')).toMatchObject([{ taskId: 'x' }]);
    expect(breaker.getMetrics()).toMatchObject({ calls: 1, probes: 1, refused: 2 });
    for (let i = 0; i < 5; i++) {
      for (const end of ends) end();
      await clock.advance(150);
    }
    expect(breaker.getState()).toBe('closed');
    expect(ends).toHaveLength(named('task:started').length);
    await down();
  });

  test('a listener that cancels it keeps the handler from being called', async () => {
    const breakers = new CircuitBreakerManager();
    const { scheduler, clock, bus } = createScheduler(
      {},
      {
        breaker: (name) => ({
          execute: (call) => breakers.getBreaker(name).execute(call),
          closedInMs: () => 0,
        }),
      },
    );
    let calls = 0;
    scheduler.registerAgent({ id: 'a', handler: () => void (calls += 1) });
    bus.on('task:started', ({ taskId }) => void scheduler.cancelTask(taskId, 'no'));
    const handle = await scheduler.submitTask({ type: 't', breaker: 'api' });
    const failure = handle.result().catch((error: unknown) => error);
    await clock.advance(60_000);
    expect(await failure).toMatchObject({ code: 'TASK_CANCELLED' });
    expect(calls).toBe(0);
    expect(scheduler.getSchedulingMetrics()).toMatchObject({ running: 0, zombies: 0 });
  });
});

describe('what is submitted', () => {
  test('a delay and a time at once are refused', async () => {
    const { scheduler } = createScheduler();
    await expect(
      scheduler.submitTask({ type: 't', delayMs: 5, runAt: new Date(1_800_000_000_000) }),
    ).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/delayMs and task\.runAt/),
    });
  });

  test('of a batch with a cycle, the others are stored, and their handles are on the error', async () => {
    const { scheduler } = createScheduler();
    const tasks: TaskSpec[] = [
      { id: 'p1', type: 't', dependencies: ['p2'] },
      { id: 'p2', type: 't', dependencies: ['p1'] },
      { id: 'p3', type: 't' },
    ];
    const error = (await scheduler.submitTasks(tasks).catch((thrown: unknown) => thrown)) as {
      code: string;
      handles: readonly TaskHandle[];
    };
    expect(error.code).toBe('DEPENDENCY_CYCLE');
    expect(error.handles.map(({ id }) => id)).toEqual(['p1', 'p3']);
    expect((await scheduler.getTask('p1'))?.status).toBe('pending');
    expect(await scheduler.getTask('p2')).toBeUndefined();
    for (const handle of error.handles) await handle.cancel('its batch was refused');
    expect((await scheduler.getTask('p1'))?.status).toBe('cancelled');
  });
});

describe('views of tasks', () => {
  test('a list shows input, result and error like a single look, unless it is told not to', async () => {
    const { scheduler, clock } = createScheduler({ maxRetries: 0 });
    scheduler.registerAgent({
      id: 'a',
      handler: ({ task }) => {
        if (task.id === 'bad') throw new Error('broken');
        return { ok: true };
      },
    });
    await scheduler.submitTask({ id: 'bad', type: 't', input: { n: 1 } });
    await scheduler.submitTask({ id: 'good', type: 't', input: { n: 2 } });
    await clock.advance(60_000);
    const [bad] = (await scheduler.queues.list({ state: ['dead'] })).items;
    expect(bad).toMatchObject({ id: 'bad', input: { n: 1 }, error: { code: 'ERROR', message: 'broken' } });
    const { items } = await scheduler.queues.list();
    expect(items).toEqual(await Promise.all(items.map(({ id }) => scheduler.getTask(id))));
    const light = await scheduler.queues.list({ state: ['dead'] }, { details: false });
    expect(light.items[0]).not.toHaveProperty('error');
    await expect(scheduler.queues.list({}, { details: 1 } as never)).rejects.toThrow(/details/);
  });

  test('moments are whole ms', async () => {
    const { mesh, clock, down } = await startMesh();
    await clock.advance(0.4421);
    mesh.registerAgent({ id: 'a', handler: () => 1 });
    const sent: number[] = [];
    mesh.subscribe('b', (message) => void sent.push(message.sentAt));
    await mesh.sendMessage('a', 'b', 1);
    const handle = await mesh.submitTask({ type: 't' });
    await clock.advance(10.3);
    const view = await handle.status();
    for (const moment of [view.createdAt, view.endedAt, ...sent]) {
      expect(moment).toBeGreaterThan(1e12);
      expect(Number.isInteger(moment)).toBe(true);
    }
    expect(sent).toHaveLength(1);
    await down();
  });
});

test.each([
  ['a path out of the root', [{ path: '..\\x' }]],
  ['more units than there are', [{ semaphore: 'gpu', of: 2, units: 3 }]],
  ['an unknown mode', [{ resource: 'r', mode: 'excl' }]],
  ['nothing', [null]],
])('locks that can never be taken are refused with the task: %s', async (_, locks) => {
  const { mesh } = await startMesh();
  const tasks = [{ type: 't' }, { type: 't', locks }] as never;
  await expect(mesh.submitTasks(tasks)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect((await mesh.queues.list()).items).toEqual([]);
});
