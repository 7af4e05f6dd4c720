import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DeadlockError } from '../../src/core/deadlock-error.ts';
import { CoordinationManager } from '../../src/index.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

async function startMesh(clock: TestClock = createTestClock()) {
  const mesh = await CoordinationManager.start({ clock, seed: 3, env: {}, workStealing: false });
  return { mesh, clock };
}

describe('limits of a queue', () => {
  test('maxRunning 1: what waits is run one after the other', async () => {
    const { mesh } = await startMesh();
    let running = 0;
    let most = 0;
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 4,
      handler: async () => {
        running += 1;
        most = Math.max(most, running);
        await Promise.resolve();
        running -= 1;
      },
    });
    await mesh.queues.configure('t', { maxRunning: 1 });
    const handles = await mesh.submitTasks([1, 2, 3, 4].map(() => ({ type: 't' })));
    await Promise.all(handles.map((handle) => handle.result()));
    expect(most).toBe(1);
    await mesh.shutdown();
  });

  test('a limit that is set while tasks run is kept, and what waits goes on', async () => {
    const { mesh, clock } = await startMesh();
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 4,
      handler: ({ sleep }) => sleep(10),
    });
    const handles = await mesh.submitTasks(Array.from({ length: 8 }, () => ({ type: 't' })));
    await clock.settle();
    await mesh.queues.configure('t', { maxRunning: 2 });
    for (let i = 0; i < 10; i++) await clock.advance(10);
    expect(await Promise.all(handles.map((handle) => handle.result()))).toHaveLength(8);
    await mesh.shutdown();
  });

  test('cancelling what runs makes room', async () => {
    const { mesh, clock } = await startMesh();
    mesh.registerAgent({
      id: 'a',
      handler: ({ task, signal }) =>
        task.input === 'long'
          ? new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
          : 'done',
    });
    await mesh.queues.configure('t', { maxRunningPerGroup: 1 });
    const long = await mesh.submitTask({ type: 't', input: 'long', group: 'g' });
    const next = await mesh.submitTask({ type: 't', input: 'short', group: 'g' });
    await clock.settle();
    expect((await next.status()).status).toBe('ready');
    await long.cancel();
    await clock.settle();
    expect(await next.result()).toBe('done');
    await mesh.shutdown();
  });

  test('L3: a parent that waits for a child behind the limit that it holds itself is told of the deadlock', async () => {
    const { mesh, clock } = await startMesh();
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 4,
      handler: async ({ task, submit }) => {
        if (task.input === 'child') return 'child';
        const child = await submit({ type: 't', input: 'child' });
        return child.result().catch((error: unknown) => (error as DeadlockError).code);
      },
    });
    await mesh.queues.configure('t', { maxRunning: 1 });
    const parent = await mesh.submitTask({ type: 't', input: 'parent' });
    await clock.settle();
    expect(await parent.result()).toBe('DEADLOCK');
    await mesh.shutdown();
  });

  test('L3: with room for the child there is no deadlock', async () => {
    const { mesh } = await startMesh();
    const found: unknown[] = [];
    mesh.events.on('deadlock:detected', (event) => void found.push(event));
    mesh.registerAgent({
      id: 'a',
      handler: async ({ task, submit }) =>
        task.input === 'child' ? 'child' : (await submit({ type: 't', input: 'child' })).result(),
    });
    await mesh.queues.configure('t', { maxRunning: 2 });
    expect(await mesh.runTask({ type: 't', input: 'parent' })).toBe('child');
    expect(found).toEqual([]);
    await mesh.shutdown();
  });

  test('whatever the limits and whatever becomes of the tasks: every result settles, the limits hold', async () => {
    const limit = fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined });
    const spec = fc.record({
      input: fc.constantFrom('value', 'fail', 'sleep', 'lock', 'slow'),
      group: fc.constantFrom('g', 'h', undefined),
      priority: fc.constantFrom(0, 1),
      cancel: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(spec, { minLength: 1, maxLength: 12 }),
        limit,
        limit,
        fc.integer({ min: 1, max: 4 }),
        async (specs, maxRunning, maxRunningPerGroup, slots) => {
          const { mesh, clock } = await startMesh();
          const running = new Map<string, number>();
          const tooMany: string[] = [];
          const enter = (name: string, most: number | undefined, by: number): void => {
            const now = (running.get(name) ?? 0) + by;
            running.set(name, now);
            if (most !== undefined && now > most) tooMany.push(name);
          };
          mesh.registerAgent({
            id: 'a',
            maxConcurrentTasks: slots,
            handler: async ({ task, sleep, withLock }) => {
              const group = task.metadata['group'] as string | undefined;
              enter('all', maxRunning, 1);
              if (group !== undefined) enter(group, maxRunningPerGroup, 1);
              try {
                if (task.input === 'fail') throw new Error('no');
                if (task.input === 'sleep') await sleep(5);
                if (task.input === 'lock') await withLock('l', () => Promise.resolve());
                if (task.input === 'slow') for (let i = 0; i < 5; i++) await Promise.resolve();
              } finally {
                enter('all', maxRunning, -1);
                if (group !== undefined) enter(group, maxRunningPerGroup, -1);
              }
            },
          });
          await mesh.queues.configure('t', {
            ...(maxRunning === undefined ? {} : { maxRunning }),
            ...(maxRunningPerGroup === undefined ? {} : { maxRunningPerGroup }),
          });
          const handles = await mesh.submitTasks(
            specs.map(({ input, group, priority }) => ({
              type: 't',
              input,
              priority,
              retry: { maxAttempts: 2, delayMs: 1 },
              ...(group === undefined ? {} : { group, metadata: { group } }),
            })),
          );
          const ends = Promise.allSettled(handles.map((handle) => handle.result()));
          await clock.settle();
          await Promise.all(handles.map((handle, i) => (specs[i]?.cancel === true ? handle.cancel() : null)));
          for (let i = 0; i < 40; i++) await clock.advance(10);
          const open = (await mesh.queues.counts(['t']))[0]?.states;
          expect([open?.ready, open?.scheduled, open?.claimed]).toEqual([0, 0, 0]);
          expect(tooMany).toEqual([]);
          await ends;
          await mesh.shutdown();
        },
      ),
      { numRuns: 200 },
    );
  });
});
