import { describe, expect, test } from 'vitest';
import { CoordinationError, memory, type TaskContext } from '../../src/index.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { gate } from '../support/mesh.ts';
import { startMesh } from '../support/started-mesh.ts';

type Context = Pick<TaskContext, 'submit' | 'gather' | 'withLock'>;

describe('a child that is waited for with locks in hand', () => {
  const child = { type: 'child', queue: 'q' };
  const parents: readonly (readonly [title: string, parent: (context: Context) => Promise<unknown>])[] = [
    ['goes first', ({ withLock, submit }) => withLock('L', async () => (await submit(child)).result())],
    ['goes first in a gather', ({ withLock, gather }) => withLock('L', () => gather([child]))],
    ['goes first under a declared lock', async ({ submit }) => (await submit(child)).result()],
    [
      'goes first, where the lock is taken after the wait began',
      async ({ withLock, submit }) => {
        const result = (await submit(child)).result();
        return withLock('L', () => result);
      },
    ],
    [
      'goes first with what it waits for',
      ({ withLock, submit }) =>
        withLock('L', async () => (await submit({ type: 'middle', queue: 'q' })).result()),
    ],
  ];

  test.each(parents)('%s', async (title, parent) => {
    const { mesh, clock } = await startMesh({ workStealing: false });
    const { promise, open } = gate();
    const began: string[] = [];
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: {
        parent: async (context) => {
          await promise;
          return parent(context);
        },
        middle: async ({ submit }) => (await submit(child)).result(),
        child: () => void began.push('child'),
        other: () => void began.push('other'),
      },
    });
    const locks = title.includes('declared') ? { locks: ['L'] } : {};
    const held = await mesh.submitTask({ type: 'parent', queue: 'q', ...locks });
    await clock.settle();
    for (let i = 0; i < 5; i++) await mesh.submitTask({ type: 'other', queue: 'q' });
    open();
    await clock.advance(100);
    await held.result();
    expect(began).toHaveLength(6);
    // What began before the lock was taken had its turn.
    expect(began.indexOf('child')).toBeLessThanOrEqual(title.includes('after') ? 2 : 0);
  });

  test('without a lock it keeps its turn', async () => {
    const { mesh, clock } = await startMesh({ workStealing: false });
    const { promise, open } = gate();
    const began: string[] = [];
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: {
        parent: async ({ submit, withLock }) => {
          await promise;
          await withLock('L', () => undefined);
          return (await submit(child)).result();
        },
        child: () => void began.push('child'),
        other: () => void began.push('other'),
      },
    });
    await mesh.submitTask({ type: 'parent', queue: 'q' });
    await clock.settle();
    await mesh.submitTask({ type: 'other', queue: 'q' });
    open();
    await clock.advance(100);
    expect(began).toEqual(['other', 'child']);
  });
});

test('D4 D5: parents with locks and takers of two locks in one queue: all complete, nobody is a victim more than 5 times', async () => {
  const { mesh, clock, events } = await startMesh({
    workStealing: false,
    maxRetries: 6,
    retryDelay: 5,
    resourceTimeout: 600_000,
  });
  const random = createRandom(11);
  const pause = (): Promise<void> => new Promise((resolve) => void clock.after(1, resolve));
  for (let i = 0; i < 8; i++) {
    mesh.registerAgent({
      id: `a${i}`,
      maxConcurrentTasks: 2,
      handler: {
        parent: ({ task, withLock, submit }) =>
          withLock((task.input as string[])[0] as string, async () =>
            (await submit({ type: 'child', queue: 'q' })).result(),
          ),
        two: ({ task, withLock }) => {
          const [first, second] = task.input as [string, string];
          return withLock(first, async () => {
            await pause();
            return withLock(second, () => undefined);
          });
        },
        child: pause,
      },
    });
  }
  const defeats = new Map<string, number>();
  events.on('task:failed', ({ taskId }) => void defeats.set(taskId, (defeats.get(taskId) ?? 0) + 1));
  const tasks = Array.from({ length: 200 }, () => {
    const first = Math.floor(random.next() * 6);
    const second = (first + 1 + Math.floor(random.next() * 5)) % 6;
    return { type: random.next() < 0.2 ? 'parent' : 'two', queue: 'q', input: [`L${first}`, `L${second}`] };
  });
  const handles = await mesh.submitTasks(tasks);
  const ends = Promise.allSettled(handles.map((handle) => handle.result()));
  await clock.advance(60_000);
  expect((await ends).filter(({ status }) => status === 'rejected')).toEqual([]);
  expect(defeats.size).toBeGreaterThan(20);
  expect(Math.max(...defeats.values())).toBeLessThanOrEqual(5);
});

describe('D2: a child that comes back to the queue while somebody took the slot', () => {
  const children: Record<string, object> = {
    'after a failure': { type: 'child', input: 'fails once' },
    'when it is due': { type: 'child', delayMs: 20 },
    'when what it depends on has ended': { type: 'child', dependencies: ['first'] },
    'when its queue is resumed': { type: 'child', queue: 'paused' },
  };

  test.each(Object.entries(children))(
    '%s: the deadlock with the taker of the lock is found',
    async (_, spec) => {
      const { mesh, clock, named } = await startMesh({ workStealing: false, retryDelay: 20, maxRetries: 5 });
      const { promise, open } = gate();
      mesh.registerAgent({
        id: 'a',
        maxConcurrentTasks: 1,
        handler: {
          parent: ({ withLock, submit, task }) =>
            withLock('L', async () => {
              if (task.input === 'taker') return 'taken';
              return (await submit(spec as { type: string })).result();
            }),
          child: ({ task, attempt }) => {
            if (task.input === 'fails once' && attempt === 1) throw new Error('once');
            return 'done';
          },
        },
      });
      mesh.registerAgent({ id: 'b', handler: { first: () => promise } });
      await mesh.queues.pause('paused');
      await mesh.submitTask({ id: 'first', type: 'first' });
      const holder = await mesh.submitTask({ type: 'parent' });
      await clock.advance(5);
      const taker = await mesh.submitTask({ type: 'parent', input: 'taker' });
      await clock.advance(5);
      open();
      await mesh.queues.resume('paused');
      await clock.advance(2_000);
      expect(await Promise.all([holder.result(), taker.result()])).toEqual(['done', 'taken']);
      expect(named('deadlock:detected')).toHaveLength(1);
    },
  );
});

test('a store that can’t bring a child forward fails nobody, and no lock is lost over it', async () => {
  const backend = memory();
  const { mesh, clock } = await startMesh({ workStealing: false, backend });
  mesh.registerAgent({
    id: 'a',
    handler: {
      parent: ({ withLock, submit }) => withLock('L', async () => (await submit({ type: 'child' })).result()),
      beside: async ({ withLock, submit }) => {
        const result = (await submit({ type: 'child' })).result();
        return withLock('M', () => result);
      },
      child: () => 'done',
    },
  });
  backend.tasks.revise = () => {
    throw new CoordinationError('NOT_SUPPORTED', 'no such revision');
  };
  const tasks = [
    mesh.runTask({ type: 'parent', retry: false }),
    mesh.runTask({ type: 'beside', retry: false }),
  ];
  const results = Promise.allSettled(tasks);
  await clock.advance(60_000);
  expect(await results).toMatchObject([{ value: 'done' }, { value: 'done' }]);
  expect(mesh.locks.getAllocations().size).toBe(0);
});
