import { describe, expect, test } from 'vitest';
import { Forgotten } from '../../src/backends/memory/tasks/forgotten.ts';
import { COMPLETED, DEAD, type TaskRow } from '../../src/backends/memory/tasks/row.ts';
import type { Claim, NewTask } from '../../src/core/ports/tasks.ts';
import { createMemoryTasks, type MemoryTasks, newTask } from '../support/memory-tasks.ts';
import { createScheduler } from '../support/mesh.ts';

const HOUR = 3_600_000;

/** Runs so many tasks to their end, each an instant after the one before. */
function pass(tasks: MemoryTasks, count: number, name = 'noise'): void {
  for (let i = 0; i < count; i++) {
    tasks.add(newTask(`${name}${i}`, { limits: { maxCrashes: 3, keepMs: HOUR } }));
    tasks.complete(tasks.claim());
    tasks.clock.tick(0.01);
  }
}

function run(tasks: MemoryTasks, task: NewTask): void {
  tasks.add(task);
  tasks.complete(tasks.claim());
  tasks.clock.tick(0.01);
}

const stateOf = (tasks: MemoryTasks, id: string): string | undefined => tasks.store.get([id])[0]?.state;

describe('what a bound on the number of ended tasks leaves alone', () => {
  test('dead letters stay their time and can be redriven', () => {
    const tasks = createMemoryTasks({ keepEnded: 5 });
    tasks.add(newTask('lost', { limits: { maxCrashes: 3, keepMs: HOUR } }));
    tasks.bury(tasks.claim()[0] as Claim);
    pass(tasks, 20);
    expect(tasks.store.list({ state: ['dead'] }, { limit: 10 }).items.map(({ id }) => id)).toEqual(['lost']);
    const revision = { set: 'redrive', delayMs: 0, resetAttempts: true, spreadMs: 0 } as const;
    expect(tasks.store.revise(tasks.op(), { filter: { ids: ['lost'] }, revision, limit: 1 }).changed).toBe(1);
    tasks.complete(tasks.claim());
    pass(tasks, 6, 'more');
    expect(stateOf(tasks, 'lost'), 'completed now: one of many').toBeUndefined();
  });

  test('dead letters go when their time is over', () => {
    const tasks = createMemoryTasks({ keepEnded: 5 });
    tasks.add(newTask('lost', { limits: { maxCrashes: 3, keepMs: 1_000 } }));
    tasks.bury(tasks.claim()[0] as Claim);
    tasks.clock.tick(999);
    tasks.sweepAll();
    expect(stateOf(tasks, 'lost')).toBe('dead');
    tasks.clock.tick(1);
    expect(tasks.store.sweep(tasks.op(), 1_000).pruned).toBe(1);
    expect(stateOf(tasks, 'lost')).toBeUndefined();
  });

  test('T2: a key is recognised for its time, however many tasks ended meanwhile', () => {
    const tasks = createMemoryTasks({ keepEnded: 5 });
    run(tasks, newTask('paid', { key: 'invoice-7', limits: { maxCrashes: 3, keepMs: HOUR } }));
    pass(tasks, 20);
    expect(tasks.add(newTask('again', { key: 'invoice-7' }))).toEqual(['duplicate']);
    expect(tasks.add(newTask('other', { key: 'invoice-7', payload: 'x' }))).toEqual(['conflict']);
    tasks.clock.tick(HOUR);
    tasks.sweepAll();
    expect(tasks.add(newTask('anew', { key: 'invoice-7' }))).toEqual(['ready']);
  });

  test('a task that states its own keepMs is kept for it; one that goes by the default is not', () => {
    const tasks = createMemoryTasks({ keepEnded: 5 });
    run(tasks, newTask('stated', { limits: { maxCrashes: 3, keepMs: 60_000, keepFirm: true } }));
    run(tasks, newTask('default', { limits: { maxCrashes: 3, keepMs: 60_000 } }));
    pass(tasks, 20);
    expect([stateOf(tasks, 'stated'), stateOf(tasks, 'default')]).toEqual(['completed', undefined]);
    tasks.clock.tick(60_000);
    tasks.sweepAll();
    expect(stateOf(tasks, 'stated')).toBeUndefined();
  });

  test('a row that gave its key up counts again: debouncing under one key piles nothing up', () => {
    const tasks = createMemoryTasks({ keepEnded: 5 });
    for (let i = 0; i < 50; i++)
      run(tasks, newTask(`d${i}`, { key: 'rebuild', payload: i, onDuplicate: 'replace' }));
    expect(tasks.store.list({}, { limit: 100 }).items.map(({ id }) => id)).toEqual([
      'd49',
      'd48',
      'd47',
      'd46',
      'd45',
      'd44',
    ]);
    tasks.clock.tick(600_000);
    tasks.sweepAll();
    const { states, totals } = tasks.store.counts().queues[0] as never as {
      states: Record<string, number>;
      totals: { pruned: number };
    };
    expect([states['completed'], totals.pruned], 'T9').toEqual([0, 50]);
  });

  test('a few rows that are kept do not hold room for the thousands that were around them', () => {
    const tasks = createMemoryTasks({ keepEnded: 10 });
    const kept: string[] = [];
    for (let i = 0; i < 20_000; i++) {
      const isKept = i % 1_000 === 7;
      if (isKept) kept.push(`t${i}`);
      tasks.add(newTask(`t${i}`, isKept ? { key: `k${i}` } : {}));
      tasks.complete(tasks.claim());
    }
    const newest = tasks.store.list({}, { limit: 100 }).items.map(({ id }) => id);
    expect(newest.filter((id) => kept.includes(id))).toEqual(kept.toReversed());
    const revision = { set: 'discard' } as const;
    const first = tasks.store.revise(tasks.op(), { filter: {}, revision, limit: 15 });
    expect(first.changed, 'oldest first, over packed and full parts of the index').toBe(15);
    expect(tasks.store.list({}, { limit: 100 }).items.map(({ id }) => id)).not.toContain('t7');
    tasks.store.revise(tasks.op(), { filter: {}, revision, limit: 1_000, after: first.next as never });
    expect(tasks.store.list({}, { limit: 100 }).items).toEqual([]);
  });
});

describe('dependencies on tasks that are forgotten', () => {
  test.each([
    ['completed', 'cancel', 'ready'],
    ['dead', 'cancel', 'cancelled'],
    ['dead', 'skip', 'skipped'],
    ['dead', 'continue', 'ready'],
    ['dead', 'wait', 'waiting'],
  ] as const)('a parent that was %s, policy %s: the child is %s', (end, onFailure, expected) => {
    const tasks = createMemoryTasks({ keepEnded: 2 });
    tasks.add(newTask('parent', { limits: { maxCrashes: 3, keepMs: 1 } }));
    if (end === 'completed') tasks.complete(tasks.claim());
    else tasks.bury(tasks.claim()[0] as Claim);
    tasks.clock.tick(1);
    tasks.sweepAll();
    expect(stateOf(tasks, 'parent')).toBeUndefined();
    expect(tasks.add(newTask('child', { dependsOn: [{ parent: 'parent', onFailure }] }))).toEqual([expected]);
  });

  test('a redriven child does not wait for a parent that completed and is forgotten', () => {
    const tasks = createMemoryTasks();
    const dependsOn = [
      { parent: 'good', onFailure: 'cancel' },
      { parent: 'bad', onFailure: 'cancel' },
    ] as const;
    tasks.add(newTask('good', { limits: { maxCrashes: 3, keepMs: 1 } }), newTask('bad'));
    tasks.add(newTask('child', { dependsOn }));
    const [good, bad] = tasks.claim();
    tasks.bury(bad as Claim);
    tasks.complete([good as Claim]);
    tasks.clock.tick(1);
    tasks.sweepAll();
    const revision = { set: 'redrive', delayMs: 0, resetAttempts: true, spreadMs: 0 } as const;
    tasks.store.revise(tasks.op(), { filter: { ids: ['child'] }, revision, limit: 1 });
    expect(stateOf(tasks, 'child')).toBe('ready');
  });

  test('as many as was said are remembered, at most twice as many, and the last end of an id counts', () => {
    const forgotten = new Forgotten(100);
    const end = (id: string, state: number): void => forgotten.add({ task: { id }, state } as TaskRow);
    for (let i = 0; i < 1_000; i++) {
      end(`t${i}`, COMPLETED);
      const known = Array.from({ length: i + 1 }, (_, k) => forgotten.get(`t${k}`)).filter(
        (s) => s === COMPLETED,
      );
      expect(known.length).toBeGreaterThanOrEqual(Math.min(i + 1, 100));
      expect(known.length).toBeLessThanOrEqual(200);
    }
    end('t999', DEAD);
    expect(forgotten.get('t999')).toBe(DEAD);
    expect(new Forgotten(0).get('t')).toBeUndefined();
  });

  test('a late child runs although its parent completed 12,000 tasks ago', async () => {
    const { scheduler, clock } = createScheduler();
    scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 100, handler: () => 1 });
    await scheduler.submitTask({ id: 'parent', type: 't' });
    for (let i = 0; i < 12; i++) {
      await scheduler.submitTasks(Array.from({ length: 1_000 }, () => ({ type: 't' })));
      await clock.settle();
    }
    expect(await scheduler.getTask('parent')).toBeUndefined();
    const child = await scheduler.submitTask({ id: 'child', type: 't', dependencies: ['parent'] });
    await clock.settle();
    expect((await child.status()).status).toBe('completed');
  });

  test('a task’s own keepMs reaches the store as its submitter’s word', async () => {
    const { scheduler, store, clock } = createScheduler();
    await scheduler.submitTask({ id: 'own', type: 't', keepMs: 5_000 });
    await scheduler.submitTask({ id: 'default', type: 't' });
    scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 100, handler: () => 1 });
    for (let i = 0; i < 11; i++) {
      await scheduler.submitTasks(Array.from({ length: 1_000 }, () => ({ type: 't' })));
      await clock.settle();
    }
    expect(store.get(['own', 'default']).map((record) => record?.state)).toEqual(['completed', undefined]);
  });
});

describe('what has been kept its time is forgotten', () => {
  test('by the next task that ends, without a sweep, where there are more than may be kept', () => {
    const tasks = createMemoryTasks({ keepEnded: 2 });
    const brief = { maxCrashes: 3, keepMs: 100, keepFirm: true } as const;
    run(tasks, newTask('own', { limits: brief }));
    run(tasks, newTask('keyed', { key: 'k', limits: brief }));
    tasks.clock.tick(99);
    run(tasks, newTask('later', {}));
    expect(['own', 'keyed'].map((id) => stateOf(tasks, id))).toEqual(['completed', 'completed']);
    tasks.clock.tick(2);
    run(tasks, newTask('last', {}));
    expect(['own', 'keyed'].map((id) => stateOf(tasks, id))).toEqual([undefined, undefined]);
    expect(stateOf(tasks, 'later')).toBe('completed');
  });

  test('at most a thousand by one call, all by and by', () => {
    const tasks = createMemoryTasks({ keepEnded: 100 });
    const brief = { maxCrashes: 3, keepMs: 100, keepFirm: true } as const;
    for (let i = 0; i < 1_500; i++) run(tasks, newTask(`t${i}`, { limits: brief }));
    tasks.clock.tick(200);
    const kept = (): number => tasks.store.counts().queues[0]?.states.completed ?? 0;
    tasks.add(newTask('one', {}));
    expect(kept()).toBe(500);
    tasks.complete(tasks.claim());
    expect(kept(), 'the last one').toBe(1);
  });

  test('also when nothing happens any more', async () => {
    const { scheduler, clock } = createScheduler();
    scheduler.registerAgent({ id: 'a', handler: () => 1 });
    await scheduler.submitTask({ id: 'own', type: 't', keepMs: 5_000 });
    await clock.settle();
    await clock.advance(4_900);
    expect((await scheduler.getTask('own'))?.status).toBe('completed');
    await clock.advance(1_100);
    expect(await scheduler.getTask('own')).toBeUndefined();
  });
});

test('T8: not a tenth of a millisecond before its time', () => {
  const tasks = createMemoryTasks();
  tasks.add(newTask('later', { delayMs: 10 }));
  tasks.clock.tick(9.9);
  expect(tasks.store.sweep(tasks.op(), 1_000).readied).toEqual([]);
  expect(stateOf(tasks, 'later')).toBe('scheduled');
  tasks.clock.tick(0.1);
  expect(tasks.store.sweep(tasks.op(), 1_000).readied).toHaveLength(1);
});
