import { describe, expect, test } from 'vitest';
import { createScheduler } from '../support/mesh.ts';

describe('onDuplicate: replace', () => {
  test('the task runs as the last submission states it, not as the first', async () => {
    const { scheduler, clock, named } = createScheduler();
    await scheduler.queues.pause('t');
    const first = await scheduler.submitTask({
      id: 'task',
      type: 't',
      idempotencyKey: 'k',
      input: 1,
      timeoutMs: 60_000,
      capabilities: ['gpu'],
    });
    await scheduler.submitTask({
      type: 't',
      idempotencyKey: 'k',
      input: 2,
      onDuplicate: 'replace',
      timeoutMs: 100,
      agents: { exclude: ['a'] },
      retry: false,
    });
    for (const id of ['a', 'b']) scheduler.registerAgent({ id, handler: ({ sleep }) => sleep(10_000) });
    await scheduler.queues.resume('t');
    await clock.advance(200);
    expect(named('task:started')[0]?.payload).toMatchObject({ taskId: 'task', agentId: 'b' });
    await expect(first.result()).rejects.toMatchObject({ code: 'TASK_FAILED' });
    expect((await first.status()).input).toBe(2);
  });

  test('its deadline counts from the replacement, and a replacement without one has none', async () => {
    const { scheduler, clock } = createScheduler();
    const submit = (deadlineMs: number | undefined) =>
      scheduler.submitTask({
        type: 't',
        idempotencyKey: 'k',
        onDuplicate: 'replace',
        ...(deadlineMs === undefined ? {} : { deadline: new Date(clock.wall() + deadlineMs) }),
      });
    const handle = await submit(1_000);
    await clock.advance(900);
    await submit(1_000);
    await clock.advance(900);
    expect((await handle.status()).status).toBe('ready');
    await submit(undefined);
    await clock.advance(5_000);
    expect((await handle.status()).status).toBe('ready');
    await submit(50);
    await clock.advance(50);
    expect((await handle.status()).status).toBe('dead');
  });

  test('other dependencies are refused, the same or none keep what it waits for', async () => {
    const { scheduler, clock } = createScheduler();
    const again = (dependencies?: readonly string[]) =>
      scheduler.submitTask({
        type: 't',
        idempotencyKey: 'k',
        onDuplicate: 'replace',
        ...(dependencies === undefined ? {} : { dependencies: [...dependencies] }),
      });
    const handle = await again(['p1', 'p2']);
    await again(['p2', 'p1']);
    await again();
    await expect(again(['p1'])).rejects.toMatchObject({
      code: 'IDEMPOTENCY_CONFLICT',
      message: expect.stringContaining('dependencies'),
    });
    scheduler.registerAgent({ id: 'a', handler: () => undefined });
    await scheduler.submitTasks([
      { id: 'p1', type: 't' },
      { id: 'p2', type: 't' },
    ]);
    await clock.settle();
    expect((await handle.status()).status).toBe('completed');
  });

  test('it becomes a part of the task that replaced it, and is cancelled with that one', async () => {
    const { scheduler, clock } = createScheduler();
    await scheduler.submitTask({ id: 'old', type: 'u', delayMs: 1_000 });
    await scheduler.submitTask({ id: 'new', type: 'u', delayMs: 1_000 });
    const part = (parent: string) =>
      scheduler.submitTask({ type: 't', parent, idempotencyKey: 'k', onDuplicate: 'replace' });
    const handle = await part('old');
    await part('new');
    await scheduler.cancelTask('old');
    expect((await handle.status()).status).toBe('ready');
    await scheduler.cancelTask('new');
    await clock.settle();
    expect((await handle.status()).status).toBe('cancelled');
  });
});
