import { describe, expect, test } from 'vitest';
import { createScheduler, gate } from '../support/mesh.ts';

describe('the life of a task', () => {
  test('submit, run, result; every transition is an event', async () => {
    const { scheduler, clock, events } = createScheduler();
    scheduler.registerAgent({ id: 'a', handler: ({ task }) => (task.input as number) * 2 });
    const handle = await scheduler.submitTask({ type: 'double', input: 21 });
    await clock.settle();
    await expect(handle.result()).resolves.toBe(42);
    const names = events.map((event) => event.name).filter((name) => name.startsWith('task:'));
    expect(names).toEqual([
      'task:created',
      'task:readied',
      'task:assigned',
      'task:started',
      'task:completed',
    ]);
    expect((await scheduler.getTask(handle.id))?.status).toBe('completed');
  });

  test('a more urgent task starts first, equals in order of submission', async () => {
    const { scheduler, clock } = createScheduler();
    const order: string[] = [];
    for (const [id, priority] of [
      ['low', 'low'],
      ['m1', 'medium'],
      ['high', 'high'],
      ['m2', 'medium'],
      ['top', 7],
    ] as const) {
      await scheduler.submitTask({ id, type: 't', priority });
    }
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task }) => void order.push(task.id),
    });
    await clock.settle();
    expect(order).toEqual(['top', 'high', 'm1', 'm2', 'low']);
  });

  test('T7: ageing lets a low task overtake urgent ones that came later', async () => {
    const { scheduler, clock } = createScheduler();
    const order: string[] = [];
    await scheduler.submitTask({ id: 'old-low', type: 't', priority: 1 });
    await clock.advance(25_000);
    await scheduler.submitTask({ id: 'young-high', type: 't', priority: 3 });
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task }) => void order.push(task.id),
    });
    await clock.settle();
    expect(order).toEqual(['old-low', 'young-high']);
  });

  test('per-agent and global concurrency are never exceeded', async () => {
    const { scheduler, clock } = createScheduler({ maxConcurrentTasks: 3 });
    let running = 0;
    let most = 0;
    const handler = async (): Promise<void> => {
      running += 1;
      most = Math.max(most, running);
      await new Promise<void>((resolve) => void clock.after(10, resolve));
      running -= 1;
    };
    scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 2, handler });
    scheduler.registerAgent({ id: 'b', maxConcurrentTasks: 2, handler });
    const handles = await scheduler.submitTasks(Array.from({ length: 20 }, () => ({ type: 't' })));
    await clock.advance(1_000);
    await Promise.all(handles.map((handle) => handle.result()));
    expect(most).toBe(3);
  });

  test('T8: a delayed task does not start before its time', async () => {
    const { scheduler, clock } = createScheduler();
    const startedAt: number[] = [];
    scheduler.registerAgent({ id: 'a', handler: () => void startedAt.push(clock.mono()) });
    await scheduler.submitTask({ type: 't', delayMs: 500 });
    await scheduler.submitTask({ type: 't', runAt: new Date(clock.wall() + 800) });
    await clock.advance(499);
    expect(startedAt).toEqual([]);
    await clock.advance(1);
    expect(startedAt.length).toBe(1);
    await clock.advance(500);
    expect(startedAt.length).toBe(2);
    expect(startedAt[1]).toBeGreaterThanOrEqual(800);
  });

  test('a retry waits without a slot: another task runs meanwhile; then the dead letters, with the cause', async () => {
    const { scheduler, clock, named } = createScheduler({ maxRetries: 2, retryDelay: 1_000 });
    const ran: string[] = [];
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: ({ task, attempt }) => {
        ran.push(`${task.id}${attempt}`);
        if (task.id === 'bad') throw new Error('boom 17');
      },
    });
    const bad = await scheduler.submitTask({ id: 'bad', type: 't' });
    const outcome = bad.result().catch((error: unknown) => error);
    await scheduler.submitTask({ id: 'good', type: 't' });
    await clock.settle();
    expect(ran).toEqual(['bad1', 'good1']);
    expect((await bad.status()).status).toBe('retrying');
    await clock.advance(10_000);
    expect(ran).toEqual(['bad1', 'good1', 'bad2', 'bad3']);
    const error = (await outcome) as Error & { code: string; attempts: number };
    expect(error).toMatchObject({ code: 'TASK_FAILED', attempts: 3, reason: 'ATTEMPTS' });
    expect((error.cause as Error).message).toBe('boom 17');
    expect(named('task:failed').map((event) => (event.payload as { final: boolean }).final)).toEqual([
      false,
      false,
      true,
    ]);
    const dead = await scheduler.queues.list({ state: ['dead'] });
    expect(dead.items.map((task) => task.id)).toEqual(['bad']);
  });

  test('dead letters are inspected, edited, redriven and discarded', async () => {
    const { scheduler, clock } = createScheduler({ retry: false });
    scheduler.registerAgent({
      id: 'a',
      handler: ({ task }) => {
        if (task.input === 'bad') throw new Error('no');
        return 'fine';
      },
    });
    await scheduler.submitTask({ id: 'one', type: 't', input: 'bad' });
    await scheduler.submitTask({ id: 'two', type: 't', input: 'bad' });
    await clock.settle();
    expect((await scheduler.queues.counts(['t']))[0]?.states.dead).toBe(2);
    await scheduler.queues.edit({ ids: ['one'] }, 'good');
    expect(await scheduler.queues.redrive({ ids: ['one'] })).toEqual({ changed: 1 });
    await clock.settle();
    expect((await scheduler.getTask('one'))?.result).toBe('fine');
    expect(await scheduler.queues.discard({ state: ['dead'] })).toEqual({ changed: 1 });
    expect(await scheduler.getTask('two')).toBeUndefined();
  });

  test('T10: a time-out aborts the signal; the slot is free when the handler is done', async () => {
    const { scheduler, clock, named } = createScheduler({ retry: false });
    const ended = gate();
    let aborted: unknown;
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, signal }) => {
        if (task.id !== 'slow') return;
        signal.addEventListener('abort', () => {
          aborted = signal.reason;
        });
        await ended.promise;
      },
    });
    const slow = await scheduler.submitTask({ id: 'slow', type: 't', timeoutMs: 100 });
    const failed = slow.result().catch((error: unknown) => error);
    const next = await scheduler.submitTask({ id: 'next', type: 't' });
    await clock.advance(200);
    expect(aborted).toMatchObject({ code: 'TASK_TIMEOUT' });
    expect((await next.status()).status).toBe('ready');
    ended.open();
    await clock.settle();
    expect(await failed).toMatchObject({ code: 'TASK_FAILED', cause: { code: 'TASK_TIMEOUT' } });
    expect((await next.status()).status).toBe('completed');
    expect(named('task:abandoned')).toEqual([]);
  });

  test('T10: a handler that ignores its abort is abandoned after the grace and counted', async () => {
    const { scheduler, clock, named } = createScheduler({ retry: false, graceMs: 1_000 });
    const never = gate();
    scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: () => never.promise });
    const handle = await scheduler.submitTask({ type: 't', timeoutMs: 100 });
    const failed = handle.result().catch((error: unknown) => error);
    await clock.advance(1_099);
    expect(named('task:abandoned')).toEqual([]);
    await clock.advance(2);
    expect(named('task:abandoned').length).toBe(1);
    expect(scheduler.getSchedulingMetrics().zombies).toBe(1);
    expect(await failed).toMatchObject({ code: 'TASK_FAILED' });
    never.open();
    await clock.settle();
    expect(scheduler.getSchedulingMetrics().zombies).toBe(0);
  });

  test('a deadline buries a waiting task and aborts a running one', async () => {
    const { scheduler, clock } = createScheduler();
    const agent = scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: ({ signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
    });
    const deadline = new Date(clock.wall() + 1_000);
    const running = await scheduler.submitTask({ id: 'running', type: 't', deadline });
    const waiting = await scheduler.submitTask({ id: 'waiting', type: 't', deadline });
    const ends = [running, waiting].map((handle) => handle.result().catch((error: unknown) => error));
    await clock.advance(1_500);
    for (const end of await Promise.all(ends))
      expect(end).toMatchObject({ code: 'TASK_FAILED', reason: 'DEADLINE' });
    await agent.leave();
  });

  test('cancelling a waiting task, a running one, and what depends on it', async () => {
    const { scheduler, clock, named } = createScheduler();
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: ({ signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
    });
    const running = await scheduler.submitTask({ id: 'running', type: 't' });
    const child = await scheduler.submitTask({ id: 'child', type: 't', dependencies: ['running'] });
    const waiting = await scheduler.submitTask({ id: 'waiting', type: 't' });
    const ends = [running, child, waiting].map((handle) => handle.result().catch((error: unknown) => error));
    await clock.settle();
    expect(await waiting.cancel('not needed')).toMatchObject({ status: 'cancelled' });
    expect(await running.cancel('enough')).toMatchObject({ status: 'requested' });
    await clock.settle();
    for (const end of await Promise.all(ends)) expect(end).toMatchObject({ code: 'TASK_CANCELLED' });
    expect(named('task:cancelled').length).toBe(3);
    expect(await running.cancel()).toMatchObject({ status: 'ended' });
    await expect(scheduler.cancelTask('nobody')).rejects.toMatchObject({ code: 'UNKNOWN_TASK' });
  });

  test('a value returned in spite of a cancel request counts', async () => {
    const { scheduler, clock } = createScheduler();
    const ended = gate<string>();
    scheduler.registerAgent({ id: 'a', handler: () => ended.promise });
    const handle = await scheduler.submitTask({ type: 't' });
    await clock.settle();
    await handle.cancel();
    ended.open('done');
    await clock.settle();
    await expect(handle.result()).resolves.toBe('done');
  });

  test('T2: the same key gives the first task, another payload is refused, replace and debounce change the waiting one', async () => {
    const { scheduler, clock } = createScheduler();
    const first = await scheduler.submitTask({ type: 't', input: 1, idempotencyKey: 'k' });
    const again = await scheduler.submitTask({ type: 't', input: 1, idempotencyKey: 'k' });
    expect([again.id, again.duplicate, first.duplicate]).toEqual([first.id, true, false]);
    await expect(scheduler.submitTask({ type: 't', input: 2, idempotencyKey: 'k' })).rejects.toMatchObject({
      code: 'IDEMPOTENCY_CONFLICT',
    });
    await scheduler.submitTask({ type: 't', input: 3, idempotencyKey: 'k', onDuplicate: 'replace' });
    scheduler.registerAgent({ id: 'a', handler: ({ task }) => task.input as number });
    await clock.settle();
    await expect(first.result()).resolves.toBe(3);
    await expect(again.result()).resolves.toBe(3);

    for (const input of [1, 2, 3]) {
      await scheduler.submitTask({
        type: 't',
        input,
        idempotencyKey: 'save',
        onDuplicate: 'debounce',
        delayMs: 1_000,
      });
      await clock.advance(600);
    }
    expect((await scheduler.queues.counts(['t']))[0]?.states.scheduled).toBe(1);
    await clock.advance(500);
    const [saved] = (await scheduler.queues.list({ key: 'save' })).items;
    expect(saved?.status).toBe('completed');
  });

  test('dependencies: forward references, cycles refused with the path, failure policies', async () => {
    const { scheduler, clock } = createScheduler({ retry: false });
    const ran: string[] = [];
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: ({ task }) => {
        ran.push(task.id);
        if (task.id === 'fails') throw new Error('no');
      },
    });
    const last = await scheduler.submitTask({ id: 'last', type: 't', dependencies: ['first'] });
    await clock.settle();
    expect((await last.status()).status).toBe('pending');
    await expect(
      scheduler.submitTask({ id: 'first', type: 't', dependencies: ['last'] }),
    ).rejects.toMatchObject({ code: 'DEPENDENCY_CYCLE' });
    await scheduler.submitTask({ id: 'first', type: 't' });
    await clock.settle();
    expect(ran).toEqual(['first', 'last']);
    await scheduler.submitTasks([
      { id: 'fails', type: 't' },
      { id: 'cancels', type: 't', dependencies: ['fails'] },
      { id: 'skips', type: 't', dependencies: [{ task: 'fails', onFailure: 'skip' }] },
      { id: 'waits', type: 't', dependencies: [{ task: 'fails', onFailure: 'wait' }] },
      { id: 'continues', type: 't', dependencies: [{ task: 'fails', onFailure: 'continue' }] },
    ]);
    await clock.settle();
    const status = async (id: string): Promise<string | undefined> => (await scheduler.getTask(id))?.status;
    expect(await Promise.all(['fails', 'cancels', 'skips', 'waits', 'continues'].map(status))).toEqual([
      'dead',
      'cancelled',
      'skipped',
      'pending',
      'completed',
    ]);
  });

  test('a result that is not JSON-safe is a failure of the attempt, not of the process', async () => {
    const { scheduler, clock } = createScheduler({ retry: false });
    scheduler.registerAgent({ id: 'a', handler: () => 10n });
    const handle = await scheduler.submitTask({ type: 't' });
    const failed = handle.result().catch((error: unknown) => error);
    await clock.settle();
    expect(await failed).toMatchObject({ code: 'TASK_FAILED', cause: { code: 'INVALID_ARGUMENT' } });
  });

  test('onIdle waits for retries and delayed tasks too', async () => {
    const { scheduler, clock } = createScheduler({ retryDelay: 100 });
    let attempts = 0;
    scheduler.registerAgent({
      id: 'a',
      handler: () => {
        attempts += 1;
        if (attempts < 3) throw new Error('again');
      },
    });
    await scheduler.submitTask({ type: 't' });
    let idle = false;
    void scheduler.onIdle().then(() => {
      idle = true;
    });
    await clock.settle();
    expect([attempts, idle]).toEqual([1, false]);
    await clock.advance(1_000);
    expect([attempts, idle]).toEqual([3, true]);
  });
});
