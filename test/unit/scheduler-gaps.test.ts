import { describe, expect, test } from 'vitest';
import type { NewTask, TaskStore } from '../../src/core/ports/tasks.ts';
import type { Token } from '../../src/core/ports/words.ts';
import { defineStrategy, memory } from '../../src/index.ts';
import { AdvancedTaskScheduler } from '../../src/scheduler/scheduler.ts';
import { createMemoryTasks, newTask } from '../support/memory-tasks.ts';
import { createScheduler, gate } from '../support/mesh.ts';
import { startMesh } from '../support/started-mesh.ts';

/** A scheduler whose claims are made at once and whose answers arrive when the test says so. */
function createHeldScheduler() {
  const inner = createScheduler();
  const claims: (() => void)[] = [];
  const { store: whole, runtime, operations, clock } = inner;
  const store = new Proxy<TaskStore>(whole, {
    get(target, name) {
      // Without the short cut of the memory store claims go by an operation.
      if (name === 'quick') return undefined;
      if (name !== 'claim') {
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      }
      return (...args: Parameters<TaskStore['claim']>) => {
        const answer = target.claim(...args);
        return new Promise((resolve) => claims.push(() => resolve(answer)));
      };
    },
  });
  const scheduler = new AdvancedTaskScheduler({}, inner.bus, runtime.logger, { runtime, operations, store });
  return { ...inner, scheduler, clock, claims };
}

/** Cases in which only the last step of a longer chain goes wrong when one line of the scheduler is missing. */

describe('a deadline that passes while a stopped handler still runs', () => {
  test.each([
    ['timed out, and to be retried in a minute', 'timeout'],
    ['moved to nobody, because its agent left', 'leave'],
  ])('%s: the task is buried when it comes back, not when something else is due', async (_, cause) => {
    const { scheduler, clock, named } = createScheduler({
      graceMs: 10_000,
      retry: { maxAttempts: 5, jitter: 'none', delayMs: 60_000, maxDelayMs: 60_000 },
    });
    const attempt = gate();
    scheduler.registerAgent({ id: 'a', handler: () => attempt.promise });
    const handle = await scheduler.submitTask({
      id: 'x',
      type: 't',
      deadline: new Date(clock.wall() + 1_000),
      ...(cause === 'timeout' ? { timeoutMs: 900 } : {}),
    });
    handle.result().catch(() => undefined);
    await clock.advance(900);
    const left = cause === 'leave' ? scheduler.unregisterAgent('a') : undefined;
    // The store looks at its deadlines now: the task is claimed, so this one is let pass.
    await clock.advance(300);
    expect((await handle.status()).status).toBe('running');
    attempt.fail(new Error('stopped'));
    await left;
    await clock.advance(1);
    expect(named(cause === 'timeout' ? 'task:retried' : 'task:released')).toHaveLength(1);
    expect(named('task:buried').map(({ payload }) => payload)).toMatchObject([
      { taskId: 'x', reason: 'DEADLINE' },
    ]);
    await expect(handle.result()).rejects.toMatchObject({ code: 'TASK_FAILED' });
  });
});

describe('waits that are no deadlock', () => {
  test.each(['reply', 'sleep'] as const)(
    'D1: a parent that waits for a child, which needs the parent’s lock, and for a %s loses neither wait while it may go on by the other',
    async (other) => {
      const { mesh, clock, named } = await startMesh();
      const reply = gate();
      mesh.subscribe('helper', async (message) => {
        await reply.promise;
        await message.reply('go on');
      });
      let first: unknown;
      mesh.registerAgent({
        id: 'a',
        maxConcurrentTasks: 4,
        handler: async ({ task, submit, withLock, request, sleep }) => {
          if (task.id === 'child') return withLock('L', () => 'child wrote');
          await withLock('L', async () => {
            const child = await submit({ id: 'child', type: 't' });
            const answer = other === 'reply' ? request('helper', 'may I?') : sleep(500).then(() => 'go on');
            first = await Promise.race([answer, child.result()]);
          });
          return 'parent wrote';
        },
      });
      const parent = await mesh.submitTask({ id: 'parent', type: 't', retry: false });
      await clock.advance(100);
      mesh.locks.waits.sweep();
      await clock.advance(100);
      expect(mesh.locks.getWaitingRequests().get('L'), 'the child does wait for it').toHaveLength(1);
      expect(named('deadlock:detected')).toEqual([]);
      reply.open();
      await clock.advance(1_000);
      expect(first).toBe('go on');
      expect(await parent.result()).toBe('parent wrote');
    },
  );

  test('D1: a child that one of several agents has a free slot for waits for nobody, whoever is stuck on the others', async () => {
    const { mesh, clock, named } = await startMesh({ workStealing: false });
    mesh.registerAgent({
      id: 'parents',
      handler: {
        parent: ({ withLock, submit }) =>
          withLock('L', async () => (await submit({ id: 'child', type: 'part', queue: 'parts' })).result()),
      },
    });
    const part = ({ task, withLock }: { task: { id: string }; withLock: WithLock }): unknown =>
      task.id === 'child' ? 'done' : withLock('L', () => 'wrote');
    for (const id of ['full', 'free']) mesh.registerAgent({ id, maxConcurrentTasks: 1, handler: { part } });
    // Paused: the child stays in the store, so that its wait is looked at while an agent is free.
    await mesh.queues.pause('parts');
    const parent = await mesh.submitTask({ id: 'parent', type: 'parent', retry: false });
    const result = parent.result().catch((error: { code: string }) => error.code);
    await clock.settle();
    const stuck = await mesh.assignTask({ id: 'stuck', type: 'part' }, 'full');
    await clock.settle();
    mesh.locks.waits.sweep();
    await clock.advance(100);
    expect(mesh.locks.getWaitingRequests().get('L')).toHaveLength(1);
    expect(named('deadlock:detected')).toEqual([]);
    await mesh.queues.resume('parts');
    await clock.advance(100);
    expect([await result, await stuck.result()]).toEqual(['done', 'wrote']);
    expect(named('deadlock:detected')).toEqual([]);
  });
});

type WithLock = (resource: string, use: () => unknown) => Promise<unknown>;

describe('a deadlock that an agent’s leaving closes', () => {
  test.each(['leaves', 'drains'] as const)(
    'D2: the last agent that could take a child %s, the other one is stuck behind the parent: found at once',
    async (how) => {
      const { mesh, clock, named } = await startMesh({ workStealing: false });
      const [busy, split] = [gate(), gate()];
      mesh.registerAgent({
        id: 'parents',
        handler: {
          parent: ({ withLock, submit }) =>
            withLock('L', async () => {
              await split.promise;
              return (await submit({ id: 'child', type: 'part' })).result();
            }),
        },
      });
      const part = ({ task, withLock }: { task: { id: string }; withLock: WithLock }): unknown => {
        if (task.id === 'child') return 'done';
        return task.id === 'busy' ? busy.promise : withLock('L', () => 'wrote');
      };
      const [, other] = ['stuck', 'other'].map((id) =>
        mesh.registerAgent({ id, maxConcurrentTasks: 1, handler: { part } }),
      );
      const parent = await mesh.submitTask({ id: 'parent', type: 'parent', retry: false });
      const result = parent.result().catch((error: { cause: unknown }) => error.cause);
      await clock.settle();
      await mesh.assignTask({ id: 'blocker', type: 'part' }, 'stuck');
      await mesh.assignTask({ id: 'busy', type: 'part' }, 'other');
      split.open();
      await clock.settle();
      expect(named('deadlock:detected'), 'the other agent may be free soon').toEqual([]);
      const gone = how === 'leaves' ? mesh.tasks.unregisterAgent('other') : other?.drain();
      await clock.settle();
      // The handler of `busy` still runs, and no time has passed.
      expect(named('deadlock:detected').map(({ victim }) => victim)).toEqual(['blocker']);
      busy.open();
      await clock.advance(100);
      await gone;
      expect(await result).toBe('done');
    },
  );
});

describe('slots and claims that are given back', () => {
  test('T10: a handler that ends while a wait of its own still wants the slot back leaves nobody in that line', async () => {
    const { scheduler, clock } = createScheduler();
    const [returns, hog] = [gate(), gate()];
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, sleep }) => {
        if (task.id === 'hog') return hog.promise;
        if (task.id === 'late') return 'ran';
        void sleep(10);
        return returns.promise;
      },
    });
    const careless = await scheduler.submitTask({ id: 'careless', type: 't' });
    await clock.settle();
    await scheduler.submitTask({ id: 'hog', type: 't' });
    await clock.advance(20);
    returns.open();
    await clock.settle();
    expect((await careless.status()).status).toBe('completed');
    hog.open();
    await clock.settle();
    expect(scheduler.getSchedulingMetrics().running).toBe(0);
    const late = await scheduler.submitTask({ id: 'late', type: 't' });
    await clock.settle();
    expect(await late.result()).toBe('ran');
  });

  test('T4: cancelled while its claim is on its way: the handler is never called, however late the claim arrives', async () => {
    const { scheduler, clock, claims } = createHeldScheduler();
    const ran: string[] = [];
    scheduler.registerAgent({ id: 'a', handler: ({ task }) => void ran.push(task.id) });
    const handle = await scheduler.submitTask({ id: 'x', type: 't' });
    const result = handle.result().catch((error: { code: string }) => error.code);
    await clock.settle();
    expect(claims).toHaveLength(1);
    expect(await scheduler.cancelTask('x', 'no longer')).toMatchObject({ status: 'requested' });
    expect((await handle.status()).state).toBe('claimed');
    claims.splice(0).forEach((arrive) => arrive());
    await clock.settle();
    expect(ran).toEqual([]);
    expect(await result).toBe('TASK_CANCELLED');
    expect((await handle.status()).state).toBe('cancelled');
    // That was said of one claim: the same id, submitted again, is another task.
    await scheduler.queues.redrive({ queue: 't', ids: ['x'] });
    for (let i = 0; i < 3; i++) {
      claims.splice(0).forEach((arrive) => arrive());
      await clock.settle();
    }
    expect(ran).toEqual(['x']);
  });
});

describe('what is claimed and has not begun', () => {
  /** One claimed task each: `parked` because the strategy would rather wait, `locking` because somebody has its lock, `queued` behind a busy slot. */
  const places = ['parked', 'locking', 'queued'] as const;

  async function claimed(place: (typeof places)[number]) {
    const backend = memory();
    const world = await startMesh({ backend, workStealing: false });
    const { mesh, clock } = world;
    const busy = gate();
    const ran: string[] = [];
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: place === 'queued' ? 1 : 2,
      handler: ({ task }) => (task.id === 'busy' ? busy.promise : void ran.push(task.id)),
    });
    const lease = await mesh.acquireResource('L', 'somebody');
    if (place === 'parked') {
      mesh.tasks.registerStrategy(defineStrategy({ name: 'rather-wait', select: () => undefined }));
      mesh.tasks.setDefaultStrategy('rather-wait');
    }
    const spec = { id: 'x', type: 't', ...(place === 'locking' ? { locks: ['L'] } : {}) };
    if (place === 'queued') await mesh.assignTask({ id: 'busy', type: 't' }, 'a');
    const handle = place === 'queued' ? await mesh.assignTask(spec, 'a') : await mesh.submitTask(spec);
    await clock.settle();
    expect((await handle.status()).state).toBe('claimed');
    const free = async (): Promise<void> => {
      busy.open();
      await lease.release();
      await clock.settle();
    };
    const [record] = await (backend.tasks as TaskStore).get(['x']);
    return { ...world, handle, ran, free, token: record?.token as Token };
  }

  test.each(places)('goes back when the scheduler drains: %s', async (place) => {
    const { mesh, clock, handle, ran, named, free } = await claimed(place);
    const drained = mesh.tasks.drain();
    await clock.settle();
    expect((await handle.status()).state).toBe('ready');
    expect(named('task:released')).toMatchObject([{ taskId: 'x' }]);
    expect(mesh.locks.getWaitingRequests().get('L') ?? []).toEqual([]);
    await free();
    await drained;
    expect([ran, (await handle.status()).attempt]).toEqual([[], 0]);
  });

  test.each(places)('goes back when its queue is paused: %s', async (place) => {
    const { mesh, clock, handle, ran, free } = await claimed(place);
    await mesh.queues.pause('t');
    await clock.settle();
    expect((await handle.status()).state).toBe('ready');
    await free();
    expect(ran).toEqual([]);
  });

  test.each(places)(
    'W1: is forgotten, and nothing is said of it, when another process took it over: %s',
    async (place) => {
      const { mesh, clock, handle, ran, named, free, token } = await claimed(place);
      mesh.tasks.obey([{ kind: 'taken', task: 'x', token }]);
      await clock.settle();
      await free();
      expect(ran).toEqual([]);
      // The other process has it: neither given back nor ended from here.
      expect((await handle.status()).state).toBe('claimed');
      expect([named('task:released'), named('claim:refused')]).toEqual([[], []]);
      expect(mesh.tasks.getSchedulingMetrics()).toMatchObject({ running: 0, queued: 0 });
    },
  );
});

describe('ended tasks that a bound on their number takes away', () => {
  /** `old` ended under a key that a later task of this world took over, so nothing keeps it any more. */
  function withLoosened() {
    const tasks = createMemoryTasks({ keepEnded: 3 });
    const run = (task: NewTask): void => {
      tasks.add(task);
      tasks.complete(tasks.claim());
      tasks.clock.tick(1);
    };
    const left = (): readonly string[] =>
      tasks.store
        .list({}, { limit: 10 })
        .items.map(({ id }) => id)
        .toSorted();
    return { run, left };
  }
  const keyed = (id: string): NewTask => newTask(id, { key: 'k', payload: id, onDuplicate: 'replace' });

  test('T9: of one that lost its key and others, the one that ended first goes first', () => {
    const { run, left } = withLoosened();
    run(keyed('old'));
    for (const id of ['n0', 'n1']) run(newTask(id));
    run(keyed('new'));
    expect(left()).toEqual(['n0', 'n1', 'new', 'old']);
    run(newTask('n2'));
    expect(left()).toEqual(['n0', 'n1', 'n2', 'new']);
  });

  test('T9: and one that lost its key stays as long as any that ended before it', () => {
    const { run, left } = withLoosened();
    for (const id of ['n0', 'n1']) run(newTask(id));
    run(keyed('old'));
    run(keyed('new'));
    run(newTask('n2'));
    expect(left()).toEqual(['n1', 'n2', 'new', 'old']);
    run(newTask('n3'));
    expect(left()).toEqual(['n2', 'n3', 'new', 'old']);
    run(newTask('n4'));
    expect(left(), 'its turn now').toEqual(['n2', 'n3', 'n4', 'new']);
  });
});
