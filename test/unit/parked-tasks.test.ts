import { describe, expect, test } from 'vitest';
import { defineStrategy } from '../../src/scheduler/strategy.ts';
import { createScheduler, gate } from '../support/mesh.ts';

describe('tasks that exclude every free agent', () => {
  test('T7: thousands of them in front starve nobody, cost no claims, and run once somebody else is there', async () => {
    const { scheduler, clock, named, store } = createScheduler();
    scheduler.registerAgent({ id: 'author', handler: () => 'ran' });
    for (let i = 0; i < 3_000; i++)
      await scheduler.submitTask({ type: 'review', priority: 3, agents: { exclude: ['author'] } });
    const mine = await scheduler.submitTask({ type: 'review', priority: 2 });
    await clock.settle();
    expect((await mine.status()).status).toBe('completed');
    const attempts = store.counts(['review']).queues[0]?.totals.attempts;
    expect(attempts, 'as many as there are slots, and the one').toBeLessThan(20);
    await clock.advance(60_000);
    expect(store.counts(['review']).queues[0]?.totals.attempts, 'nothing spins').toBe(attempts);
    expect(clock.nextDue(), 'nothing is waited for but the end of kept rows').toBeGreaterThan(1_000_000);
    scheduler.registerAgent({ id: 'reader', maxConcurrentTasks: 50, handler: () => 'read' });
    await clock.advance(10);
    expect(named('task:completed').length).toBe(3_001);
  });

  test('in the order of their priorities', async () => {
    const { scheduler, clock } = createScheduler();
    const order: string[] = [];
    scheduler.registerAgent({ id: 'author', maxConcurrentTasks: 2, handler: () => undefined });
    for (let i = 0; i < 200; i++)
      await scheduler.submitTask({ id: `t${i}`, type: 't', priority: 1, agents: { exclude: ['author'] } });
    await clock.settle();
    await scheduler.submitTask({ id: 'urgent', type: 't', priority: 100, agents: { exclude: ['author'] } });
    scheduler.registerAgent({
      id: 'b',
      maxConcurrentTasks: 1,
      handler: ({ task }) => void order.push(task.id),
    });
    await clock.advance(100);
    expect(order).toHaveLength(201);
    expect(order.indexOf('urgent'), 'behind the two that were claimed before it').toBeLessThanOrEqual(2);
  });

  test('what an agent is too loaded for runs when its load has gone down', async () => {
    const { scheduler, clock } = createScheduler();
    const hold = gate();
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 4,
      handler: ({ task }) => (task.id === 'hold' ? hold.promise : undefined),
    });
    await scheduler.submitTask({ id: 'hold', type: 't' });
    const shy = await scheduler.submitTask({ id: 'shy', type: 't', agents: { maxLoadRatio: 0 } });
    await clock.advance(5_000);
    expect((await shy.status()).status).not.toBe('completed');
    hold.open();
    await clock.settle();
    expect((await shy.status()).status).toBe('completed');
  });

  test('a slot that is lent out at once serves what was barred for want of it', async () => {
    const { scheduler, clock } = createScheduler();
    const hold = gate();
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, sleep }) => {
        if (task.id === 'hold') return hold.promise;
        if (task.id === 'naps') await sleep(1_000);
        return undefined;
      },
    });
    scheduler.registerAgent({ id: 'b', maxConcurrentTasks: 2, handler: () => undefined });
    await scheduler.assignTask({ id: 'hold', type: 't' }, 'a');
    const shy = await scheduler.submitTask({ id: 'shy', type: 't', agents: { exclude: ['b'] } });
    await scheduler.assignTask({ id: 'naps', type: 't' }, 'a');
    await clock.settle();
    hold.open();
    await clock.settle();
    expect((await shy.status()).status).toBe('completed');
  });
});

describe('a strategy that would rather wait', () => {
  test('is asked again although nothing else happens, and the process stays for it', async () => {
    const { scheduler, clock } = createScheduler();
    let asked = 0;
    scheduler.registerStrategy(
      defineStrategy({ name: 'shy', select: (_task, [first]) => (++asked < 5 ? undefined : first?.id) }),
    );
    scheduler.setDefaultStrategy('shy');
    scheduler.registerAgent({ id: 'a', handler: () => 'ran' });
    const task = await scheduler.submitTask({ type: 't' });
    await clock.settle();
    expect(asked).toBe(1);
    await clock.advance(2_000);
    expect([asked, (await task.status()).status]).toEqual([5, 'completed']);
  });

  test('costs little however much it refuses, and never hides what it would take', async () => {
    const { scheduler, clock, store } = createScheduler();
    let asked = 0;
    scheduler.registerStrategy(
      defineStrategy({
        name: 'picky',
        select: (task, [first]) => {
          asked += 1;
          return task.id === 'wanted' ? first?.id : undefined;
        },
      }),
    );
    scheduler.setDefaultStrategy('picky');
    scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 4, handler: () => 'ran' });
    for (let i = 0; i < 2_000; i++) await scheduler.submitTask({ type: 't', priority: 3 });
    const wanted = await scheduler.submitTask({ id: 'wanted', type: 't', priority: 1 });
    await clock.advance(100);
    expect((await wanted.status()).status).toBe('completed');
    const before = { asked, attempts: store.counts().queues[0]?.totals.attempts as number };
    await clock.advance(10_000);
    const attempts = (store.counts().queues[0]?.totals.attempts as number) - before.attempts;
    expect(attempts, 'claims in 10 s').toBeLessThan(11_000);
    expect(asked - before.asked, 'questions in 10 s').toBeLessThan(20_000);
  });

  test('nothing is asked and nothing is held after a shutdown', async () => {
    const { scheduler, clock } = createScheduler();
    let asked = 0;
    scheduler.registerStrategy(defineStrategy({ name: 'never', select: () => void (asked += 1) }));
    scheduler.setDefaultStrategy('never');
    scheduler.registerAgent({ id: 'a', handler: () => 'ran' });
    await scheduler.submitTask({ type: 't' });
    await clock.advance(100);
    const over = scheduler.shutdown({ drainMs: 10 });
    await clock.settle();
    await over;
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    const before = asked;
    await clock.advance(60_000);
    expect(asked).toBe(before);
  });
});

describe('preemption', () => {
  /** Runs until it is told to stop. */
  const obedient = ({ signal }: { signal: AbortSignal }): Promise<void> =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
    });

  /** For whom a preemptible task of agent b makes way. */
  const preempting = async (urgent: object, others: readonly object[]): Promise<unknown> => {
    const { scheduler, clock, named } = createScheduler({ preemption: true });
    scheduler.registerAgent({
      id: 'b',
      maxConcurrentTasks: 1,
      handler: (context) => (context.task.id === 'busy' ? obedient(context) : undefined),
    });
    await scheduler.submitTask({ id: 'busy', type: 't', priority: 1, preemptible: true });
    await clock.settle();
    for (const other of others) await scheduler.submitTask({ type: 't', priority: 9, ...other });
    await scheduler.submitTask({ id: 'urgent', type: 't', priority: 8, ...urgent });
    await clock.advance(100);
    const by = named('task:preempted').map(({ payload }) => (payload as { by: string }).by);
    expect(by.length, 'one makes way for one').toBeLessThanOrEqual(1);
    return by[0];
  };

  test('however many that nobody here may run are in front', async () => {
    const others = Array.from({ length: 200 }, () => ({ capabilities: ['gpu'] }));
    expect(await preempting({}, others)).toBe('urgent');
  });

  test('nobody makes way for a task that excludes the agent', async () => {
    expect(await preempting({ agents: { exclude: ['b'] } }, [])).toBeUndefined();
    const others = Array.from({ length: 20 }, () => ({ agents: { exclude: ['b'] } }));
    expect(await preempting({}, others)).toBe('urgent');
  });

  test('nor for one of a queue that gives nothing, now or at its limit', async () => {
    const { scheduler, clock, named } = createScheduler({ preemption: true });
    scheduler.registerAgent({ id: 'b', maxConcurrentTasks: 2, handler: obedient });
    await scheduler.queues.configure('narrow', { maxRunning: 1 });
    await scheduler.queues.pause('paused');
    await scheduler.submitTask({ id: 'narrow', type: 'narrow', priority: 1 });
    await scheduler.submitTask({ id: 'busy', type: 't', priority: 1, preemptible: true });
    await clock.settle();
    await scheduler.submitTask({ type: 'paused', priority: 9 });
    await scheduler.submitTask({ type: 'narrow', priority: 9 });
    await scheduler.submitTask({ type: 't', priority: 1 });
    await clock.advance(100);
    expect(named('task:preempted')).toEqual([]);
    await scheduler.queues.resume('paused');
    await clock.advance(100);
    expect(named('task:preempted')).toHaveLength(1);
  });
});
