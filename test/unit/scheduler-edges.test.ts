import { describe, expect, test } from 'vitest';
import { DeadlockError } from '../../src/core/deadlock-error.ts';
import { EventBus } from '../../src/core/event-bus.ts';
import type { CoordinationEvent } from '../../src/core/events.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { TaskStore } from '../../src/core/ports/tasks.ts';
import { defineTask } from '../../src/index.ts';
import { AdvancedTaskScheduler, type SchedulerOptions } from '../../src/scheduler/scheduler.ts';
import { delayed } from '../../src/testing/wrappers.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createScheduler, gate } from '../support/mesh.ts';
import { startMesh } from '../support/started-mesh.ts';

/** What a promise has come to by now. */
function watch(promise: Promise<unknown>): { state: string; value: unknown } {
  const seen = { state: 'pending', value: undefined as unknown };
  promise.then(
    (value: unknown) => Object.assign(seen, { state: 'resolved', value }),
    (error: unknown) => Object.assign(seen, { state: 'rejected', value: error }),
  );
  return seen;
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));

/** A scheduler whose store answers late, on the same simulated clock. */
function createLateScheduler(config: SchedulerOptions = {}, maxMs = 10) {
  const mesh = createScheduler();
  const wrap = (store: TaskStore): TaskStore =>
    delayed({ tasks: store } as unknown as Backend, {
      clock: mesh.clock,
      random: createRandom(3),
      maxMs,
    }).tasks as TaskStore;
  const { runtime, operations } = mesh;
  const clock = mesh.clock;
  const store = wrap(mesh.store);
  const bus = new EventBus({ clock });
  const events: CoordinationEvent[] = [];
  bus.tap((event) => events.push(event));
  const scheduler = new AdvancedTaskScheduler(config, bus, runtime.logger, { runtime, store, operations });
  return { ...mesh, scheduler, store, bus, events };
}

describe('answers of external agents', () => {
  test('T4: two answers at once: one counts, the other is told that it came too late', async () => {
    const { scheduler, clock } = createScheduler();
    const handle = await scheduler.assignTask({ id: 'x', type: 't' }, 'outside');
    const first = watch(scheduler.completeTask('x', 1));
    const second = watch(scheduler.failTask('x', new Error('no')));
    await clock.settle();
    expect(first.state).toBe('resolved');
    expect(second).toMatchObject({ state: 'rejected', value: { code: 'STALE_CLAIM' } });
    await expect(handle.result()).resolves.toBe(1);
  });

  test('a task that waits in the run queue of an external agent may be answered all the same', async () => {
    const { scheduler, clock } = createScheduler();
    scheduler.registerAgent({ id: 'ext', maxConcurrentTasks: 1 });
    const [one, two] = [
      await scheduler.assignTask({ id: '1', type: 't' }, 'ext'),
      await scheduler.assignTask({ id: '2', type: 't' }, 'ext'),
    ];
    await clock.settle();
    await scheduler.completeTask('2', 'two');
    await scheduler.completeTask('1', 'one');
    await clock.settle();
    await expect(Promise.all([one.result(), two.result()])).resolves.toEqual(['one', 'two']);
    expect(scheduler.getSchedulingMetrics()).toMatchObject({ running: 0, queued: 0 });
  });

  test('an agent registered with a handler takes over what was assigned to its id before', async () => {
    const { scheduler, clock } = createScheduler({ maxConcurrentTasks: 2 });
    const handles = await Promise.all(
      ['1', '2', '3'].map((id) => scheduler.assignTask({ id, type: 't' }, 'late')),
    );
    await clock.settle();
    scheduler.registerAgent({ id: 'late', maxConcurrentTasks: 1, handler: ({ task }) => task.id });
    const answer = watch(scheduler.completeTask('1', 'by call'));
    await clock.settle();
    expect(answer).toMatchObject({ state: 'rejected', value: { code: 'INVALID_ARGUMENT' } });
    await expect(Promise.all(handles.map((handle) => handle.result()))).resolves.toEqual(['1', '2', '3']);
    expect(scheduler.getSchedulingMetrics()).toMatchObject({ running: 0, queued: 0 });
  });
});

describe('waits and slots', () => {
  test('cancelled while it wants its slot back: its wait ends at once', async () => {
    const { scheduler, clock } = createScheduler();
    const hold = gate();
    let seen: unknown;
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, sleep }) => {
        if (task.id === 'hog') return hold.promise;
        await sleep(10).catch((error: unknown) => {
          seen = error;
          throw error;
        });
      },
    });
    const sleeper = await scheduler.submitTask({ id: 'sleeper', type: 't' });
    await clock.settle();
    await scheduler.submitTask({ id: 'hog', type: 't' });
    await clock.advance(20);
    await sleeper.cancel('enough');
    await clock.settle();
    expect(seen).toMatchObject({ code: 'TASK_CANCELLED' });
    expect((await sleeper.status()).status).toBe('cancelled');
    hold.open();
  });

  test('T10: a run that gets its slot back respects the limit over all agents', async () => {
    const { scheduler, clock } = createScheduler({ maxConcurrentTasks: 1 });
    const hold = gate();
    let busy = 0;
    let most = 0;
    const work = async (wait: Promise<unknown>): Promise<void> => {
      busy += 1;
      most = Math.max(most, busy);
      await wait;
      busy -= 1;
    };
    scheduler.registerAgent({
      id: 'a',
      handler: {
        nap: async ({ sleep }) => {
          await sleep(10);
          await work(Promise.resolve());
        },
      },
    });
    scheduler.registerAgent({ id: 'b', handler: { hog: () => work(hold.promise) } });
    const nap = await scheduler.submitTask({ id: 'nap', type: 'nap' });
    await clock.settle();
    await scheduler.submitTask({ id: 'hog', type: 'hog' });
    await clock.advance(20);
    expect(scheduler.getSchedulingMetrics().running).toBe(1);
    expect((await nap.status()).status).toBe('running');
    hold.open();
    await clock.settle();
    expect(most).toBe(1);
    expect((await nap.status()).status).toBe('completed');
  });

  test('D2: a sleeper that holds a lock wants its slot back from one that waits for the lock', async () => {
    const { mesh, clock, log } = await startMesh({ retryDelay: 10 });
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: ({ task, withLock, sleep }) =>
        withLock('L', async () => {
          if (task.id === 'first') await sleep(10);
          return task.id;
        }),
    });
    const first = await mesh.submitTask({ id: 'first', type: 't' });
    await clock.settle();
    const second = await mesh.submitTask({ id: 'second', type: 't' });
    await clock.advance(1_000);
    expect([(await first.status()).status, (await second.status()).status]).toEqual([
      'completed',
      'completed',
    ]);
    expect(log.filter(({ name }) => name === 'deadlock:detected').length).toBe(1);
    const down = mesh.shutdown();
    await clock.advance(10_000);
    await down;
  });

  test('D2: ids with # are nodes of the wait-for graph like any other', async () => {
    const { mesh, clock, log } = await startMesh({ scheduling: { retry: false } });
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, withLock, submit }) => {
        if (task.id === 'child#1') return withLock('doc', () => 'child wrote');
        return withLock('doc', async () => {
          const child = await submit({ id: 'child#1', type: 't' });
          return child.result().then(
            () => 'fine',
            (error: { code: string }) => error.code,
          );
        });
      },
    });
    const parent = await mesh.submitTask({ id: 'parent', type: 't' });
    await clock.advance(1_000);
    expect(log.filter(({ name }) => name === 'deadlock:detected').length).toBe(1);
    expect((await parent.status()).status).toBe('completed');
    const down = mesh.shutdown();
    await clock.advance(10_000);
    await down;
  });

  test('many waits of one handler at once, in any order', async () => {
    const { scheduler, clock } = createScheduler();
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ sleep }) => {
        const waits = [5, 1, 3, 2].map((ms) => sleep(ms));
        await sleep(1);
        waits.push(sleep(4), sleep(4), sleep(9));
        await Promise.all(waits);
      },
    });
    const handle = await scheduler.submitTask({ type: 't' });
    await clock.advance(20);
    expect((await handle.status()).status).toBe('completed');
    expect(scheduler.getSchedulingMetrics().running).toBe(0);
  });
});

describe('locks of tasks that did not run', () => {
  test('given back by a task that is sent back, cancelled in a run queue, or whose agent left', async () => {
    const { mesh, clock } = await startMesh({ scheduling: { maxConcurrentTasks: 100 } });
    const hold = gate();
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: () => hold.promise });
    const lease = await mesh.acquire('q');
    await mesh.assignTask({ id: 'queued', type: 't', locks: ['q'] }, 'a');
    await mesh.assignTask({ id: 'busy', type: 't' }, 'a');
    await clock.settle();
    await lease.release();
    await clock.settle();
    expect((await mesh.getTask('queued'))?.status).toBe('assigned');
    expect(mesh.locks.getAllocations().size).toBe(1);
    await mesh.cancelTask('queued');
    await clock.settle();
    expect([...mesh.locks.getAllocations().keys()]).toEqual([]);
    // Nobody may take these: more than may be parked are sent back.
    mesh.registerAgent({ id: 'b', maxConcurrentTasks: 90, handler: () => 1 });
    await mesh.submitTasks(
      Array.from({ length: 80 }, (_, i) => ({
        id: `p${i}`,
        type: 't',
        locks: [`lock ${i}`],
        agents: { exclude: ['b', 'a'] },
      })),
    );
    await clock.advance(10);
    const counts = await mesh.queues.counts(['t']);
    expect(mesh.locks.getAllocations().size).toBeLessThanOrEqual((counts[0]?.states.claimed ?? 0) - 1);
    await Promise.all(Array.from({ length: 80 }, (_, i) => mesh.cancelTask(`p${i}`)));
    await clock.settle();
    expect([...mesh.locks.getAllocations().keys()]).toEqual([]);
    hold.open();
    const down = mesh.shutdown();
    await clock.advance(60_000);
    await down;
  });
});

describe('what is cancelled, moved or redriven', () => {
  test('a redriven task that runs again can be cancelled: its signal aborts', async () => {
    const { scheduler, clock } = createScheduler({ retry: false });
    let fail = true;
    scheduler.registerAgent({
      id: 'a',
      handler: async ({ signal }) => {
        if (fail) throw new Error('no');
        await aborted(signal);
      },
    });
    const handle = await scheduler.submitTask({ id: 'x', type: 't' });
    await clock.settle();
    fail = false;
    await scheduler.queues.redrive({ ids: ['x'] });
    await clock.settle();
    expect((await handle.status()).status).toBe('running');
    expect((await scheduler.getTask('x'))?.agentId).toBe('a');
    expect(await handle.cancel('stop')).toMatchObject({ status: 'requested' });
    await clock.settle();
    expect((await handle.status()).status).toBe('cancelled');
  });

  test('a redriven task: who asks its first handle again learns the later outcome', async () => {
    const { scheduler, clock } = createScheduler({ retry: false });
    let fail = true;
    scheduler.registerAgent({
      id: 'a',
      handler: () => {
        if (fail) throw new Error('no');
        return 'fine';
      },
    });
    const handle = await scheduler.submitTask({ id: 'x', type: 't' });
    await clock.settle();
    await expect(handle.result()).rejects.toMatchObject({ code: 'TASK_FAILED' });
    fail = false;
    await scheduler.queues.redrive({ ids: ['x'] });
    const later = watch(handle.result());
    const other = watch((await scheduler.handle('x')).result());
    await clock.advance(2_000);
    expect([later, other]).toEqual([
      { state: 'resolved', value: 'fine' },
      { state: 'resolved', value: 'fine' },
    ]);
  });

  test('a redriven task is external as before', async () => {
    const { scheduler, clock } = createScheduler({ retry: false });
    await scheduler.assignTask({ id: 'x', type: 't' }, 'ext');
    await scheduler.failTask('x', 'no');
    await scheduler.queues.redrive({ ids: ['x'] });
    await clock.settle();
    await scheduler.completeTask('x', 7);
    expect((await scheduler.getTask('x'))?.result).toBe(7);
  });

  test('redrive touches, and reports, dead and cancelled tasks only', async () => {
    const { scheduler, clock, named } = createScheduler({ retry: false });
    scheduler.registerAgent({
      id: 'a',
      handler: ({ task }) => {
        if (task.id === 'bad') throw new Error('no');
      },
    });
    await scheduler.submitTasks([
      { id: 'bad', type: 't' },
      { id: 'good', type: 't' },
    ]);
    await clock.settle();
    expect(await scheduler.queues.redrive({ state: ['dead', 'completed'] })).toEqual({ changed: 1 });
    expect(named('task:redriven').map(({ payload }) => payload)).toEqual([{ taskId: 'bad' }]);
  });

  test('a task whose parent has failed before ends at once, and its handle is told', async () => {
    const { scheduler, clock, named } = createScheduler({ retry: false });
    scheduler.registerAgent({
      id: 'a',
      handler: () => {
        throw new Error('no');
      },
    });
    await scheduler.submitTask({ id: 'parent', type: 't' });
    await clock.settle();
    const child = await scheduler.submitTask({ id: 'child', type: 't', dependencies: ['parent'] });
    const skipped = await scheduler.submitTask({
      id: 'skipped',
      type: 't',
      dependencies: [{ task: 'parent', onFailure: 'skip' }],
    });
    const seen = [watch(child.result()), watch(skipped.result())];
    await clock.settle();
    expect(seen).toMatchObject([
      { state: 'rejected', value: { code: 'TASK_CANCELLED' } },
      { state: 'rejected', value: { code: 'TASK_SKIPPED' } },
    ]);
    expect(named('task:cancelled').length + named('task:skipped').length).toBe(2);
  });

  test('cancelled in a run queue: it is gone from there at once', async () => {
    const { scheduler, clock, named } = createScheduler();
    const hold = gate();
    scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: () => hold.promise });
    await scheduler.assignTask({ id: 'busy', type: 't' }, 'a');
    await scheduler.assignTask({ id: 'queued', type: 't' }, 'a');
    await clock.settle();
    await scheduler.cancelTask('queued');
    expect(await scheduler.getAgentTaskCount('a')).toBe(1);
    expect(scheduler.getSchedulingMetrics().queued).toBe(0);
    expect(scheduler.loads()[0]?.waiting).toEqual([]);
    hold.open();
    await clock.settle();
    expect(named('task:started').length).toBe(1);
    expect(named('agent:active').length).toBe(1);
  });

  test('a deadline ends what waits in a run queue', async () => {
    const { scheduler, clock } = createScheduler();
    const hold = gate();
    scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: () => hold.promise });
    await scheduler.assignTask({ id: 'busy', type: 't' }, 'a');
    const late = await scheduler.assignTask(
      { id: 'late', type: 't', deadline: new Date(clock.wall() + 100) },
      'a',
    );
    const seen = watch(late.result());
    await clock.advance(200);
    expect(seen).toMatchObject({ state: 'rejected', value: { code: 'TASK_FAILED', reason: 'DEADLINE' } });
    hold.open();
    await clock.settle();
    expect((await late.status()).status).toBe('dead');
  });

  test('`only` outlives the agent: nobody else gets the task', async () => {
    const { scheduler, clock } = createScheduler();
    const ran: string[] = [];
    const handler = async ({ signal, agentId }: { signal: AbortSignal; agentId: string }): Promise<void> => {
      ran.push(agentId);
      if (ran.length === 1) await aborted(signal);
    };
    const first = scheduler.registerAgent({ id: 'mine', maxConcurrentTasks: 1, handler });
    scheduler.registerAgent({ id: 'other', handler });
    const handle = await scheduler.submitTask({ id: 'x', type: 't', agents: { only: 'mine' } });
    await clock.settle();
    await first.leave();
    await clock.settle();
    expect((await handle.status()).status).toBe('ready');
    scheduler.registerAgent({ id: 'mine', handler });
    await clock.settle();
    expect(ran).toEqual(['mine', 'mine']);
  });

  test('one urgent task stops one preemptible run, however often slots are looked at', async () => {
    const { scheduler, clock, named } = createScheduler({ preemption: true });
    const hold = gate();
    let stops = 0;
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 2,
      handler: async ({ task, signal }) => {
        if (task.id === 'urgent') return;
        signal.addEventListener('abort', () => (stops += 1));
        await hold.promise;
        signal.throwIfAborted();
      },
    });
    await scheduler.submitTasks([
      { id: 'p1', type: 't', priority: 'low', preemptible: true },
      { id: 'p2', type: 't', priority: 'low', preemptible: true },
    ]);
    await clock.settle();
    await scheduler.submitTask({ id: 'urgent', type: 't', priority: 'high' });
    await clock.settle();
    await scheduler.submitTask({ id: 'later', type: 't', priority: 'low' });
    await clock.settle();
    expect(stops).toBe(1);
    hold.open();
    await clock.settle();
    expect(named('task:preempted').length).toBe(1);
    expect(await scheduler.queues.counts(['t'])).toMatchObject([{ states: { completed: 4 } }]);
  });

  test('a cancellation is said once', async () => {
    const { scheduler, clock, named } = createScheduler();
    scheduler.registerAgent({ id: 'a', handler: ({ signal }) => aborted(signal) });
    const handle = await scheduler.submitTask({ id: 'x', type: 't' });
    await clock.settle();
    await handle.cancel('changed my mind');
    await clock.settle();
    expect(named('task:cancelled')[0]?.payload).toEqual({ taskId: 'x', reason: 'changed my mind' });
    await expect(handle.result()).rejects.toThrow('Task x was cancelled: changed my mind');
  });

  test('a task given back by a draining agent was released, not preempted', async () => {
    const { scheduler, clock, named } = createScheduler();
    const hold = gate();
    const agent = scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: () => hold.promise });
    await scheduler.assignTask({ id: '1', type: 't' }, 'a');
    await scheduler.assignTask({ id: '2', type: 't' }, 'a');
    await clock.settle();
    const drained = agent.drain();
    await clock.settle();
    expect(named('task:preempted')).toEqual([]);
    expect(named('task:released').map(({ payload }) => payload)).toMatchObject([
      { taskId: '2', reason: 'draining' },
    ]);
    hold.open();
    await drained;
  });
});

describe('listeners that act inside an event', () => {
  test('T4: cancelled inside task:assigned: its handler is not called, it ends once', async () => {
    const { scheduler, clock, bus, events } = createScheduler();
    let ran = 0;
    scheduler.registerAgent({ id: 'a', handler: () => void (ran += 1) });
    bus.on('task:assigned', ({ taskId }) => void scheduler.cancelTask(taskId));
    const handle = await scheduler.submitTask({ id: 'x', type: 't' });
    const seen = watch(handle.result());
    await clock.settle();
    expect(ran).toBe(0);
    expect(seen).toMatchObject({ state: 'rejected', value: { code: 'TASK_CANCELLED' } });
    expect(events.map(({ name }) => name).filter((name) => /completed|cancelled/.test(name))).toEqual([
      'task:cancelled',
    ]);
  });

  for (const event of ['task:assigned', 'agent:active', 'task:started'] as const) {
    for (const external of [false, true]) {
      test(`the ${external ? 'external ' : ''}agent leaves inside ${event}: the task goes to another`, async () => {
        const { scheduler, clock, bus, events } = createScheduler();
        const ran: string[] = [];
        const handler = ({ agentId, signal }: { agentId: string; signal: AbortSignal }): string => {
          signal.throwIfAborted();
          ran.push(agentId);
          return agentId;
        };
        scheduler.registerAgent({ id: 'leaver', maxConcurrentTasks: 1, ...(external ? {} : { handler }) });
        let left = false;
        bus.on(event, ({ agentId }) => {
          if (agentId !== 'leaver' || left) return;
          left = true;
          void scheduler.unregisterAgent('leaver');
        });
        const handle = await scheduler.assignTask({ id: 'x', type: 't' }, 'leaver');
        await clock.settle();
        scheduler.registerAgent({ id: 'stays', handler });
        await clock.settle();
        expect(ran).toEqual(['stays']);
        await expect(handle.result()).resolves.toBe('stays');
        await expect(scheduler.completeTask('x')).rejects.toMatchObject({ code: 'STALE_CLAIM' });
        const started = events.filter(({ name }) => name === 'task:started').length;
        expect(started).toBe(event === 'task:started' ? 2 : 1);
        expect(scheduler.getSchedulingMetrics()).toMatchObject({ running: 0, queued: 0, staleClaims: 0 });
      });
    }
  }
});

describe('errors that bite', () => {
  const biting: [string, () => unknown][] = [
    ['a code getter that throws', () => Object.defineProperty(new Error('x'), 'code', { get: thrower })],
    [
      'a message getter that throws',
      () => Object.defineProperty(new Error('x'), 'message', { get: thrower }),
    ],
    ['a message that is no text', () => ({ message: Object.create(null) as unknown })],
    ['a revoked proxy', () => revoked()],
    ['a proxy that refuses everything', () => new Proxy({}, { get: thrower, getPrototypeOf: thrower })],
  ];
  for (const [what, make] of biting) {
    for (const retry of [false, { maxAttempts: 2, delayMs: 1 }] as const) {
      test(`${what} is thrown (${retry === false ? 'last attempt' : 'retried'}): only that task fails`, async () => {
        const { scheduler, clock } = createScheduler({ retry });
        scheduler.registerAgent({
          id: 'a',
          handler: ({ task }) => {
            if (task.id === 'bites') throw make();
          },
        });
        const handles = await scheduler.submitTasks(['bites', 'good'].map((id) => ({ id, type: 't' })));
        const seen = handles.map((handle) => watch(handle.result()));
        await clock.advance(100);
        expect(seen).toMatchObject([
          { state: 'rejected', value: { code: 'TASK_FAILED' } },
          { state: 'resolved' },
        ]);
      });
    }
    test(`${what} is reported by an external agent`, async () => {
      const { scheduler, clock } = createScheduler({ retry: false });
      const handle = await scheduler.assignTask({ id: 'x', type: 't' }, 'ext');
      const seen = watch(handle.result());
      const told = watch(scheduler.failTask('x', make()));
      await clock.settle();
      expect(told.state).toBe('resolved');
      expect(seen).toMatchObject({ state: 'rejected', value: { code: 'TASK_FAILED' } });
    });
  }
});

describe('the end', () => {
  test('after shutdown nothing waits for ever: result, onIdle, drain', async () => {
    const { scheduler, clock } = createScheduler();
    const waiting = await scheduler.submitTask({ type: 't' });
    const delayedTask = await scheduler.submitTask({ type: 't', delayMs: 100 });
    await scheduler.shutdown();
    const seen = [waiting.result(), delayedTask.result(), scheduler.onIdle(), scheduler.drain()].map(watch);
    await clock.advance(1_000);
    expect(seen).toMatchObject([
      { state: 'rejected', value: { code: 'STOPPED' } },
      { state: 'rejected', value: { code: 'STOPPED' } },
      { state: 'resolved' },
      { state: 'resolved' },
    ]);
  });

  test('a second shutdown resolves when the first has', async () => {
    const { scheduler, clock } = createScheduler();
    const hold = gate();
    scheduler.registerAgent({ id: 'a', handler: () => hold.promise });
    await scheduler.submitTask({ type: 't' });
    await clock.settle();
    const [first, second] = [watch(scheduler.shutdown()), watch(scheduler.shutdown())];
    await clock.settle();
    expect([first.state, second.state]).toEqual(['pending', 'pending']);
    hold.open();
    await clock.settle();
    expect([first.state, second.state]).toEqual(['resolved', 'resolved']);
  });

  test('what wants its slot back while draining gets it and finishes', async () => {
    const { scheduler, clock } = createScheduler();
    const hold = gate();
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, sleep }) => {
        if (task.id === 'hog') return hold.promise;
        await sleep(10);
      },
    });
    const sleeper = await scheduler.submitTask({ id: 'sleeper', type: 't' });
    await clock.settle();
    await scheduler.submitTask({ id: 'hog', type: 't' });
    await clock.advance(20);
    const down = watch(scheduler.shutdown());
    hold.open();
    await clock.settle();
    expect(down.state).toBe('resolved');
    expect((await sleeper.status()).status).toBe('completed');
  });

  test('a task that waits for its locks is not started once the mesh drains', async () => {
    const { mesh, clock } = await startMesh();
    const ran: string[] = [];
    mesh.registerAgent({ id: 'a', handler: ({ task }) => void ran.push(task.id) });
    const lease = await mesh.acquireResource('L', 'somebody');
    await mesh.submitTask({ id: 'x', type: 't', locks: ['L'] });
    await clock.settle();
    const down = mesh.shutdown();
    await clock.settle();
    await lease.release().catch(() => undefined);
    await clock.advance(20_000);
    await down;
    expect(ran).toEqual([]);
  });

  test('a victim that makes way for its survivor does not hold up the end', async () => {
    const { scheduler, clock } = createScheduler(
      { retryDelay: 10 },
      {
        locks: {
          check: () => undefined,
          acquire: () => Promise.reject(new Error('none')),
          releaseRun: () => undefined,
          untilFinished: () => new Promise(() => undefined),
          why: () => [],
        },
      },
    );
    scheduler.registerAgent({
      id: 'a',
      handler: () => {
        throw new DeadlockError({
          cycle: [
            { waiter: 'x', holder: 'other', by: 'lock', what: 'L' },
            { waiter: 'other', holder: 'x', by: 'lock', what: 'M' },
          ],
          agents: [],
          resources: [],
          survivor: 'other',
        });
      },
    });
    const handle = await scheduler.submitTask({ id: 'x', type: 't' });
    await clock.settle();
    expect((await handle.status()).state).toBe('claimed');
    const down = watch(scheduler.shutdown());
    await clock.settle();
    expect(down.state).toBe('resolved');
    expect((await handle.status()).state).toBe('ready');
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('a store that answers late', () => {
  test('a task that becomes ready while a claim is under way is claimed', async () => {
    const { scheduler, clock } = createLateScheduler();
    scheduler.registerAgent({ id: 'a', handler: ({ task }) => task.id });
    const handles = [];
    for (let i = 0; i < 30; i++) {
      const submitted = scheduler.submitTask({ id: `t${i}`, type: 't' });
      await clock.advance(1 + (i % 7) * 3);
      handles.push(submitted);
    }
    await clock.advance(1_000);
    const results = (await Promise.all(handles)).map((handle) => watch(handle.result()));
    await clock.advance(1_000);
    expect(results.map(({ state }) => state)).toEqual(Array(30).fill('resolved'));
  });

  test('a delayed task submitted while a sweep is under way is not forgotten', async () => {
    const { scheduler, clock } = createLateScheduler({}, 40);
    scheduler.registerAgent({ id: 'a', handler: ({ task }) => task.id });
    const handles = [];
    for (let i = 0; i < 30; i++) {
      handles.push(scheduler.submitTask({ id: `t${i}`, type: 't', delayMs: 10 + (i % 5) * 20 }));
      await clock.advance(1 + (i % 7) * 9);
    }
    await clock.advance(2_000);
    const results = (await Promise.all(handles)).map((handle) => watch(handle.result()));
    await clock.advance(2_000);
    expect(results.map(({ state }) => state)).toEqual(Array(30).fill('resolved'));
  });

  test('cancelled while its claim is on its way: the run is told', async () => {
    const { scheduler, clock } = createLateScheduler({}, 20);
    scheduler.registerAgent({ id: 'a', handler: ({ signal }) => aborted(signal) });
    for (let i = 0; i < 30; i++) {
      const ended = watch(scheduler.submitTask({ id: `t${i}`, type: 't' }).then((handle) => handle.result()));
      await clock.advance(25 + i);
      const cancelled = scheduler.cancelTask(`t${i}`);
      await clock.advance(200);
      await cancelled;
      expect(ended).toMatchObject({ state: 'rejected', value: { code: 'TASK_CANCELLED' } });
    }
  });

  test('assigned to an agent that leaves while the assignment is on its way: another gets it', async () => {
    const { scheduler, clock } = createLateScheduler({}, 20);
    for (let i = 0; i < 30; i++) {
      const agent = scheduler.registerAgent({ id: `a${i}`, handler: () => 'a' });
      const assigned = scheduler
        .assignTask({ id: `t${i}`, type: 't' }, `a${i}`)
        .then((handle) => handle.result());
      const seen = watch(assigned);
      await clock.advance(i);
      void agent.leave();
      const other = scheduler.registerAgent({ id: `b${i}`, handler: () => 'b' });
      await clock.advance(500);
      expect(seen.state).toBe('resolved');
      void other.leave();
      await clock.advance(500);
    }
  });

  test('a claim that arrives while the mesh drains is given back, not run', async () => {
    let givenBack = 0;
    for (let ms = 0; ms < 80; ms += 2) {
      const { scheduler, clock, store } = createLateScheduler({}, 20);
      const ran: number[] = [];
      scheduler.registerAgent({ id: 'a', handler: () => void ran.push(clock.mono()) });
      void scheduler.submitTask({ id: 'x', type: 't' });
      await clock.advance(ms);
      const before = ran.length;
      const down = watch(scheduler.shutdown());
      await clock.advance(1_000);
      expect(down.state).toBe('resolved');
      expect(ran.length).toBe(before);
      const got = store.get(['x']);
      await clock.advance(100);
      const [record] = await got;
      expect(record?.state).toBe(before === 0 ? 'ready' : 'completed');
      if (record?.state === 'ready' && record.token > 0) givenBack += 1;
    }
    expect(givenBack).toBeGreaterThan(0);
  });

  test('T10: told to stop before the store has let it start: no handler outlives anything', async () => {
    for (let ms = 0; ms < 80; ms += 2) {
      const { scheduler, clock, events } = createLateScheduler({ graceMs: 5 }, 20);
      let running = 0;
      scheduler.registerAgent({
        id: 'a',
        handler: async ({ signal }) => {
          running += 1;
          await aborted(signal).catch(() => undefined);
          running -= 1;
        },
      });
      const done = watch(scheduler.assignTask({ id: 'x', type: 't' }, 'a'));
      await clock.advance(ms);
      const left = watch(scheduler.unregisterAgent('a'));
      await clock.advance(500);
      expect([done.state, left.state, running]).toEqual(['resolved', 'resolved', 0]);
      expect(events.filter(({ name }) => name === 'task:abandoned')).toEqual([]);
      expect(scheduler.getSchedulingMetrics()).toMatchObject({ running: 0, zombies: 0 });
    }
  });
});

describe('typed children', () => {
  test('a child made by a definition is checked by its schema', async () => {
    const { scheduler, clock } = createScheduler({ retry: false });
    const schema = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        validate: (value: unknown) =>
          typeof value === 'number' ? { value } : { issues: [{ message: 'a number, please' }] },
      },
    };
    const child = defineTask<number, number>({ name: 'child', schema });
    scheduler.registerAgent({
      id: 'a',
      handler: async ({ task, submit, gather }) => {
        if (task.type === 'child') return task.input;
        const bad = 'x' as unknown as number;
        await expect(submit(child(bad))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
        await expect(gather([child(bad)])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
        return (await submit(child(7))).result();
      },
    });
    const handle = await scheduler.submitTask({ type: 'parent' });
    await clock.settle();
    await expect(handle.result()).resolves.toBe(7);
  });
});

function thrower(): never {
  throw new Error('bites');
}

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}
