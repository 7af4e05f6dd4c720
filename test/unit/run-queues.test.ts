import { describe, expect, test } from 'vitest';
import { createScheduler, gate } from '../support/mesh.ts';

async function busyAgent() {
  const mesh = createScheduler();
  const hold = gate();
  const order: string[] = [];
  mesh.scheduler.registerAgent({
    id: 'a',
    maxConcurrentTasks: 1,
    handler: ({ task }) => {
      order.push(task.input === undefined ? task.id : `${task.id}=${String(task.input)}`);
      return task.id === 'hold' ? hold.promise : undefined;
    },
  });
  await mesh.scheduler.assignTask({ id: 'hold', type: 't' }, 'a');
  const finish = async (): Promise<readonly string[]> => {
    hold.open();
    await mesh.clock.advance(1);
    return order.slice(1);
  };
  return { ...mesh, finish };
}

describe('tasks that wait in an agent’s run queue', () => {
  test('start by priority, then in the order they came', async () => {
    const { scheduler, finish } = await busyAgent();
    for (const [id, priority] of [
      ['low', 1],
      ['first', 2],
      ['high', 9],
      ['second', 2],
    ] as const)
      await scheduler.assignTask({ id, type: 't', priority }, 'a');
    expect(await finish()).toEqual(['high', 'first', 'second', 'low']);
  });

  test('take a change of priority at once', async () => {
    const { scheduler, finish } = await busyAgent();
    for (const id of ['t1', 't2', 't3']) await scheduler.assignTask({ id, type: 't', priority: 2 }, 'a');
    expect(await scheduler.queues.reprioritise({ ids: ['t3', 'hold'] }, 100)).toEqual({
      changed: 1,
      deferred: 1,
    });
    expect(await finish()).toEqual(['t3', 't1', 't2']);
  });

  test('run with the input they were edited to', async () => {
    const { scheduler, finish } = await busyAgent();
    await scheduler.assignTask({ id: 't1', type: 't', input: 'old' }, 'a');
    expect(await scheduler.queues.edit({ ids: ['t1'] }, 'new')).toEqual({ changed: 1, deferred: 0 });
    expect(await finish()).toEqual(['t1=new']);
  });

  test.each([
    [1, ['old', 'urgent']],
    [10_000, ['urgent', 'old']],
  ])('age by the step of their queue: %i ms', async (ageStepMs, expected) => {
    const { scheduler, clock, finish } = await busyAgent();
    await scheduler.queues.configure('t', { ageStepMs });
    await scheduler.assignTask({ id: 'old', type: 't', priority: 1 }, 'a');
    await clock.advance(1_000);
    await scheduler.assignTask({ id: 'urgent', type: 't', priority: 5 }, 'a');
    expect(await finish()).toEqual(expected);
  });

  test('W3: a task is stolen three times at most', async () => {
    const { scheduler, clock } = createScheduler();
    const hold = gate();
    for (const id of ['a', 'b'])
      scheduler.registerAgent({ id, maxConcurrentTasks: 1, handler: () => hold.promise });
    await scheduler.assignTask({ type: 't' }, 'a');
    await scheduler.assignTask({ type: 't' }, 'b');
    await scheduler.assignTask({ id: 'moved', type: 't' }, 'a');
    const moves: number[] = [];
    for (let i = 0; i < 6; i++)
      moves.push(scheduler.steal(i % 2 === 0 ? 'a' : 'b', i % 2 === 0 ? 'b' : 'a', 5).length);
    expect(moves).toEqual([1, 1, 1, 0, 0, 0]);
    hold.open();
    await clock.settle();
  });
});

test('redrive spreads tasks over all its pages', async () => {
  const { scheduler, clock, store } = createScheduler({ retry: false });
  let broken = true;
  scheduler.registerAgent({
    id: 'a',
    maxConcurrentTasks: 1_000,
    handler: () => {
      if (broken) throw new Error('x');
    },
  });
  for (let i = 0; i < 2_500; i++) await scheduler.submitTask({ type: 't' });
  await clock.settle();
  broken = false;
  expect(await scheduler.queues.redrive({ state: ['dead'] }, { perSecond: 100 })).toEqual({ changed: 2_500 });
  const left = (): number => store.counts().queues[0]?.states.scheduled ?? 0;
  for (const second of [5, 10, 15, 20, 24]) {
    await clock.advance(second * 1_000 - clock.mono());
    expect(Math.abs(left() - (2_500 - second * 100)), `after ${second} s`).toBeLessThanOrEqual(5);
  }
});
