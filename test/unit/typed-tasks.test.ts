import { describe, expect, test } from 'vitest';
import { CircuitBreaker, compose, defineTask, fallbackPolicy, type StandardSchema } from '../../src/index.ts';
import { createScheduler } from '../support/mesh.ts';

/** Takes a text, gives a number. */
const numeric: StandardSchema<string, number> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) =>
      typeof value === 'string' && value !== '' && Number.isFinite(Number(value))
        ? { value: Number(value) }
        : { issues: [{ message: 'a number as text, please' }] },
  },
};

describe('definitions', () => {
  test('one agent runs several; each handler gets what its schema made of the input', async () => {
    const { scheduler } = createScheduler();
    const double = defineTask<number, string>({
      name: 'double',
      handler: ({ task }) => `${task.input * 2}`,
    });
    const parse = defineTask({ name: 'parse', schema: numeric, handler: ({ task }) => task.input + 0.5 });
    const ping = defineTask({ name: 'ping', handler: () => 'pong' });
    scheduler.registerAgent({ id: 'ada', tasks: [double, parse, ping] });
    const handles = await scheduler.submitTasks([double(3), parse('7'), ping()]);
    expect(await Promise.all(handles.map((handle) => handle.result()))).toEqual(['6', 7.5, 'pong']);
    await expect(scheduler.runTask(parse('seven'))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await scheduler.shutdown();
  });

  test('a handler may submit tasks of other definitions', async () => {
    const { scheduler } = createScheduler();
    const leaf = defineTask<string, number>({ name: 'leaf', handler: ({ task }) => task.input.length });
    const root = defineTask<readonly string[], number>({
      name: 'root',
      handler: async ({ task, gather }) => {
        const { results } = await gather(task.input.map((word) => leaf(word)));
        return results.reduce((sum, one) => sum + (one.status === 'completed' ? one.value : 0), 0);
      },
    });
    scheduler.registerAgent({ id: 'ada', maxConcurrentTasks: 1, tasks: [leaf, root] });
    expect(await scheduler.runTask(root(['one', 'three']))).toBe(8);
    await scheduler.shutdown();
  });
});

describe('task:completed', () => {
  test('has the result itself, not a copy', async () => {
    const { scheduler, bus } = createScheduler();
    const result = { files: ['a.ts'] };
    const seen: unknown[] = [];
    bus.on('task:completed', (payload) => void seen.push(payload.result));
    scheduler.registerAgent({ id: 'ada', handler: () => result });
    expect(await scheduler.runTask({ type: 'list' })).toBe(result);
    expect(seen).toHaveLength(1);
    expect(seen[0]).toBe(result);
    await scheduler.shutdown();
  });

  test('has what an external agent answered, and nothing when it answered nothing', async () => {
    const { scheduler, clock, named } = createScheduler();
    for (const id of ['t1', 't2']) await scheduler.assignTask({ id, type: 'approve' }, 'human');
    await scheduler.completeTask('t1', { yes: true });
    await scheduler.completeTask('t2');
    await clock.settle();
    expect(named('task:completed').map(({ payload }) => payload)).toMatchObject([
      { taskId: 't1', agentId: 'human', result: { yes: true } },
      { taskId: 't2', agentId: 'human', result: undefined },
    ]);
    await scheduler.shutdown();
  });
});

describe('fallbacks of another type', () => {
  test('answer through a breaker and through a composition', async () => {
    const down = (): Promise<number> => Promise.reject(new Error('down'));
    expect(await new CircuitBreaker('api').execute(down, { fallback: () => 'none' })).toBe('none');
    const careful = compose(
      fallbackPolicy(() => 'none'),
      new CircuitBreaker('api'),
    );
    expect(await careful.execute(down)).toBe('none');
    expect(await careful.execute(() => 7)).toBe(7);
  });
});
