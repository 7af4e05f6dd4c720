import { describe, expect, test } from 'vitest';
import { CoordinationError } from '../../src/core/errors.ts';
import { createScheduler, gate } from '../support/mesh.ts';

describe('agents', () => {
  test('only capable agents, and only types they have a handler for', async () => {
    const { scheduler, clock } = createScheduler();
    const ran: string[] = [];
    const note =
      (agent: string) =>
      ({ task }: { task: { id: string } }) =>
        void ran.push(`${agent}:${task.id}`);
    scheduler.registerAgent({ id: 'plain', handler: note('plain') });
    scheduler.registerAgent({ id: 'gpu', capabilities: ['gpu'], handler: { render: note('gpu') } });
    await scheduler.submitTask({ id: 'needs-gpu', type: 'render', capabilities: ['gpu'] });
    const lint = await scheduler.submitTask({ id: 'lint-gpu', type: 'lint', capabilities: ['gpu'] });
    await scheduler.submitTask({ id: 'any', type: 'lint' });
    await clock.settle();
    expect(ran.toSorted()).toEqual(['gpu:needs-gpu', 'plain:any']);
    expect((await lint.status()).status).toBe('ready');
    expect((await lint.why()).chain[0]).toMatchObject({ kind: 'no-capable-agent' });
  });

  test('exclude, prefer and only are kept', async () => {
    const { scheduler, clock, named } = createScheduler();
    for (const id of ['a', 'b', 'c']) scheduler.registerAgent({ id, handler: () => undefined });
    await scheduler.submitTask({ id: '1', type: 't', agents: { exclude: ['a', 'c'] } });
    await scheduler.submitTask({ id: '2', type: 't', agents: { prefer: ['c'] } });
    await scheduler.submitTask({ id: '3', type: 't', agents: { only: 'b' } });
    await clock.settle();
    const by = new Map(
      named('task:assigned').map(({ payload }) => [
        (payload as { taskId: string }).taskId,
        (payload as { agentId: string }).agentId,
      ]),
    );
    expect([by.get('1'), by.get('2'), by.get('3')]).toEqual(['b', 'c', 'b']);
  });

  test('a task that no free agent may take waits without blocking others', async () => {
    const { scheduler, clock } = createScheduler();
    const hold = gate();
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task }) => (task.id === 'hold' ? hold.promise : undefined),
    });
    scheduler.registerAgent({ id: 'b', maxConcurrentTasks: 2, handler: () => undefined });
    await scheduler.assignTask({ id: 'hold', type: 't' }, 'a');
    const picky = await scheduler.submitTasks(
      Array.from({ length: 100 }, (_, i) => ({ id: `p${i}`, type: 't', agents: { exclude: ['b'] } })),
    );
    const easy = await scheduler.submitTasks(
      Array.from({ length: 50 }, (_, i) => ({ id: `e${i}`, type: 't' })),
    );
    await clock.advance(500);
    expect(await Promise.all(easy.map(async (handle) => (await handle.status()).status))).toEqual(
      Array(50).fill('completed'),
    );
    hold.open();
    await clock.advance(5_000);
    expect(await Promise.all(picky.map(async (handle) => (await handle.status()).status))).toEqual(
      Array(100).fill('completed'),
    );
  });

  test('an agent that leaves gives back what it runs and what waits for it; the attempt is not counted', async () => {
    const { scheduler, clock } = createScheduler();
    const attempts: string[] = [];
    const leaver = scheduler.registerAgent({
      id: 'leaver',
      maxConcurrentTasks: 1,
      handler: ({ signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
    });
    const running = await scheduler.assignTask({ id: 'r', type: 't' }, 'leaver');
    const queued = await scheduler.assignTask({ id: 'q', type: 't' }, 'leaver');
    await clock.settle();
    expect([(await running.status()).status, (await queued.status()).status]).toEqual([
      'running',
      'assigned',
    ]);
    scheduler.registerAgent({
      id: 'stays',
      handler: ({ task, attempt }) => void attempts.push(`${task.id}${attempt}`),
    });
    await Promise.all([leaver.leave('enough'), clock.advance(10)]);
    await clock.settle();
    expect(attempts.toSorted()).toEqual(['q1', 'r1']);
    await expect(scheduler.assignTask({ type: 't' }, 'leaver')).rejects.toMatchObject({
      code: 'UNKNOWN_AGENT',
    });
    scheduler.registerAgent({ id: 'leaver', handler: () => undefined });
    await expect(scheduler.assignTask({ type: 't' }, 'leaver')).resolves.toBeDefined();
  });

  test('external agents are told by event and answer by call; late answers are refused', async () => {
    const { scheduler, clock, named } = createScheduler({ retryDelay: 100 });
    const handle = await scheduler.assignTask({ id: 'x', type: 't' }, 'outside');
    const [assigned] = named('task:assigned');
    const { claim, agentId } = (assigned as { payload: unknown }).payload as {
      claim: string;
      agentId: string;
    };
    expect(agentId).toBe('outside');
    await scheduler.failTask('x', { message: 'first try', code: 'EBUSY' }, claim);
    expect(named('task:failed')[0]?.payload).toMatchObject({ message: 'first try', code: 'EBUSY' });
    await clock.advance(1_000);
    await expect(scheduler.completeTask('x', 1, claim)).rejects.toMatchObject({ code: 'STALE_CLAIM' });
    await scheduler.completeTask('x', { done: true });
    await expect(handle.result()).resolves.toEqual({ done: true });
    await expect(scheduler.completeTask('x', 2)).rejects.toMatchObject({ code: 'STALE_CLAIM' });
    await expect(scheduler.completeTask('y', 2)).rejects.toMatchObject({ code: 'UNKNOWN_TASK' });
    expect((await handle.status()).attempt).toBe(2);
  });

  test('a task that is only for an agent waits, and says why, where that one may not have it', async () => {
    const { scheduler, clock, named } = createScheduler();
    const { promise, open } = gate();
    scheduler.registerAgent({
      id: 'box',
      capabilities: ['cpu'],
      maxConcurrentTasks: 2,
      handler: { train: () => promise },
    });
    const busy = await scheduler.submitTask({ type: 'train' });
    const only = { only: 'box' };
    const specs = {
      'needs gpu': { type: 'train', capabilities: ['gpu'], agents: only },
      'without a handler for cook': { type: 'cook', agents: only },
      'excludes box': { type: 'train', agents: { ...only, exclude: ['box'] } },
      'above 0.4': { type: 'train', agents: { ...only, maxLoadRatio: 0.4 } },
    };
    const tasks = Object.entries(specs).map(([why, spec]) => ({ why, handle: scheduler.submitTask(spec) }));
    await clock.settle();
    for (const { why, handle } of tasks) {
      const task = await handle;
      expect((await task.why()).sentence).toContain(why);
      expect((await task.status()).status).toBe('assigned');
    }
    expect(scheduler.explain(specs['needs gpu'])).toMatchObject({
      reason: 'it is for box alone, which may not have it now',
    });
    expect(named('task:assigned')).toHaveLength(1);
    open();
    await clock.advance(1_000);
    await busy.result();
    expect((await (await tasks[3]?.handle)?.status())?.state).toBe('completed');
    expect(named('task:failed')).toEqual([]);
  });

  test('a task that is only for an agent that is drained says so', async () => {
    const { scheduler, clock } = createScheduler();
    await scheduler.registerAgent({ id: 'a', handler: () => undefined }).drain();
    const spec = { type: 't', agents: { only: 'a' } };
    const task = await scheduler.submitTask(spec);
    await clock.settle();
    expect((await task.why()).chain[0]).toMatchObject({
      kind: 'no-capable-agent',
      detail: 'only a: a draining',
    });
    expect(scheduler.explain(spec)).toMatchObject({
      reason: 'it is for a alone, which takes nothing any more',
    });
  });

  test('what was assigned to an id before it was registered with a handler goes to that handler', async () => {
    const { scheduler, clock, named } = createScheduler();
    const early = await scheduler.assignTask({ type: 't' }, 'x');
    await clock.settle();
    expect((await early.status()).status).toBe('running');
    scheduler.registerAgent({ id: 'x', maxConcurrentTasks: 1, handler: () => 'handled' });
    const later = await scheduler.submitTask({ type: 't' });
    await clock.settle();
    expect(await Promise.all([early.result(), later.result()])).toEqual(['handled', 'handled']);
    expect(named('task:released')).toHaveLength(1);
    expect(scheduler.slotUse()).toEqual({ running: 0, slots: 1 });
  });

  test('the handle of an agent that left leaves one that was registered again under its id alone', async () => {
    const { scheduler, clock } = createScheduler();
    const former = scheduler.registerAgent({ id: 'a', handler: () => 'former' });
    await former.leave();
    scheduler.registerAgent({ id: 'a', handler: () => 'new' });
    await former.leave();
    await former[Symbol.asyncDispose]();
    const task = await scheduler.submitTask({ type: 't' });
    await clock.settle();
    expect(await task.result()).toBe('new');
  });

  test('a store that could not unpin is asked again, unless the agent is back', async () => {
    for (const isBack of [false, true]) {
      const { scheduler, clock, store } = createScheduler();
      scheduler.registerAgent({ id: 'a', handler: ({ agentId }) => agentId });
      scheduler.registerAgent({ id: 'b', handler: ({ agentId }) => agentId });
      const paused = { queue: 'q', type: 't' };
      await scheduler.queues.pause('q');
      const task = await scheduler.assignTask(paused, 'a');
      const list = store.list.bind(store);
      store.list = () => {
        store.list = list;
        throw new CoordinationError('BACKEND_UNAVAILABLE', 'away');
      };
      await scheduler.unregisterAgent('a');
      if (isBack) scheduler.registerAgent({ id: 'a', handler: ({ agentId }) => agentId });
      await clock.advance(2_000);
      await scheduler.queues.resume('q');
      await clock.settle();
      expect(await task.result()).toBe(isBack ? 'a' : 'b');
    }
  });

  test('a silent external agent is taken for dead', async () => {
    const { scheduler, clock, named } = createScheduler();
    const agent = scheduler.registerAgent({ id: 'ext', silenceMs: 1_000 });
    const handle = await scheduler.assignTask({ type: 't' }, 'ext');
    await clock.advance(900);
    agent.beat();
    await clock.advance(900);
    expect(named('agent:terminated')).toEqual([]);
    await clock.advance(200);
    expect(named('agent:terminated').length).toBe(1);
    expect((await handle.status()).status).toBe('ready');
  });

  test('a draining agent finishes what runs and gets nothing new', async () => {
    const { scheduler, clock } = createScheduler();
    const hold = gate();
    const agent = scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: () => hold.promise });
    const first = await scheduler.submitTask({ type: 't' });
    const second = await scheduler.submitTask({ type: 't' });
    await clock.settle();
    let drained = false;
    void agent.drain().then(() => {
      drained = true;
    });
    await clock.settle();
    expect(drained).toBe(false);
    hold.open();
    await clock.settle();
    expect([drained, (await first.status()).status, (await second.status()).status]).toEqual([
      true,
      'completed',
      'ready',
    ]);
  });

  test('assignTask without a name takes the strategy’s choice at once', async () => {
    const { scheduler, named } = createScheduler();
    scheduler.registerAgent({ id: 'a', capabilities: ['x'], maxConcurrentTasks: 2, priority: 1 });
    const handle = await scheduler.assignTask({ type: 't', capabilities: ['x'] });
    expect(named('task:assigned').length).toBe(1);
    expect((await handle.status()).status).toBe('running');
    expect(await scheduler.getAgentTaskCount('a')).toBe(1);
    expect((await scheduler.getAgentTasks('a')).map((task) => task.id)).toEqual([handle.id]);
  });

  test('opt-in preemption: the slot goes to the more urgent task, the attempt is not counted', async () => {
    const { scheduler, clock, named } = createScheduler({ preemption: true });
    const order: string[] = [];
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: ({ task, signal, attempt }) => {
        order.push(`${task.id}${attempt}`);
        if (task.id !== 'slow' || order.length > 1) return undefined;
        return new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Error)),
        );
      },
    });
    await scheduler.submitTask({ id: 'slow', type: 't', priority: 'low', preemptible: true });
    await clock.settle();
    await scheduler.submitTask({ id: 'equal', type: 't', priority: 'low' });
    await clock.settle();
    expect(named('task:preempted')).toEqual([]);
    await scheduler.submitTask({ id: 'urgent', type: 't', priority: 'high' });
    await clock.advance(10);
    expect(order.slice(0, 2)).toEqual(['slow1', 'urgent1']);
    expect(order).toContain('slow1');
    expect(order.filter((entry) => entry.startsWith('slow'))).toEqual(['slow1', 'slow1']);
    expect(named('task:preempted').length).toBe(1);
  });

  test('stealing moves unstarted tasks the target may run, never those for one agent only', async () => {
    const { scheduler, clock } = createScheduler();
    const hold = gate();
    const ran: string[] = [];
    scheduler.registerAgent({ id: 'busy', maxConcurrentTasks: 1, handler: () => hold.promise });
    await scheduler.assignTask({ id: 'now', type: 't' }, 'busy');
    await scheduler.assignTask({ id: 'a', type: 't' }, 'busy');
    await scheduler.assignTask({ id: 'b', type: 't', capabilities: ['x'] }, 'busy');
    await scheduler.assignTask({ id: 'c', type: 't', agents: { only: 'busy' } }, 'busy');
    scheduler.registerAgent({ id: 'free', handler: ({ task }) => void ran.push(task.id) });
    expect(scheduler.steal('busy', 'free', 5)).toEqual(['a']);
    await clock.settle();
    expect(ran).toEqual(['a']);
    hold.open();
    await clock.settle();
  });
});

describe('children', () => {
  test('waiting for a child frees the slot: one slot is enough for a tree', async () => {
    const { scheduler, clock } = createScheduler();
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, submit }) => {
        const depth = task.input as number;
        if (depth === 0) return 1;
        const children = await Promise.all([
          submit({ type: 't', input: depth - 1 }),
          submit({ type: 't', input: depth - 1 }),
        ]);
        const parts = await Promise.all(children.map((child) => child.result() as Promise<number>));
        return parts.reduce((sum, part) => sum + part, 1);
      },
    });
    const handle = await scheduler.submitTask({ type: 't', input: 4 });
    const result = handle.result();
    await clock.advance(100);
    await expect(result).resolves.toBe(31);
    expect(scheduler.getSchedulingMetrics().running).toBe(0);
  });

  test('a cancelled parent takes its children along', async () => {
    const { scheduler, clock } = createScheduler();
    const signals: AbortSignal[] = [];
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 2,
      handler: async ({ task, submit, signal }) => {
        if (task.type === 'parent') return (await submit({ type: 'child' })).result();
        signals.push(signal);
        return new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Error)),
        );
      },
    });
    const parent = await scheduler.submitTask({ type: 'parent' });
    const result = parent.result().catch((error: unknown) => error);
    await clock.settle();
    await parent.cancel('enough');
    await clock.settle();
    expect(await result).toMatchObject({ code: 'TASK_CANCELLED' });
    expect(signals[0]?.aborted).toBe(true);
    expect((await scheduler.queues.counts()).every(({ states }) => states.claimed + states.ready === 0)).toBe(
      true,
    );
  });

  test('gather returns partial results and cancels the rest', async () => {
    const { scheduler, clock } = createScheduler({ retry: false });
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 10,
      handler: async ({ task, gather, signal }) => {
        if (task.type === 'fan') {
          const { results, completed, enough } = await gather(
            ['ok', 'fail', 'ok', 'hang'].map((type) => ({ type })),
            { minimum: 2 },
          );
          return { completed, enough, statuses: results.map((result) => result.status) };
        }
        if (task.type === 'fail') throw new Error('no');
        if (task.type === 'hang')
          await new Promise((_, reject) =>
            signal.addEventListener('abort', () => reject(signal.reason as Error)),
          );
        return 1;
      },
    });
    const fan = await scheduler.submitTask({ type: 'fan' });
    const result = fan.result();
    await clock.advance(100);
    await expect(result).resolves.toEqual({
      completed: 2,
      enough: true,
      statuses: ['completed', 'failed', 'completed', 'unfinished'],
    });
  });

  test('sleep gives the slot away', async () => {
    const { scheduler, clock } = createScheduler();
    const order: string[] = [];
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, sleep }) => {
        if (task.id === 'sleeper') await sleep(1_000);
        order.push(task.id);
      },
    });
    await scheduler.submitTasks([
      { id: 'sleeper', type: 't' },
      { id: 'other', type: 't' },
    ]);
    await clock.advance(2_000);
    expect(order).toEqual(['other', 'sleeper']);
  });
});

describe('shutdown', () => {
  test('everything settles: what runs finishes or is aborted, what waits is told STOPPED', async () => {
    const { scheduler, clock } = createScheduler();
    const finish = gate<string>();
    scheduler.registerAgent({
      id: 'a',
      maxConcurrentTasks: 2,
      handler: ({ task, signal }) =>
        task.id === 'finishes'
          ? finish.promise
          : new Promise((_, reject) =>
              signal.addEventListener('abort', () => reject(signal.reason as Error)),
            ),
    });
    const handles = await scheduler.submitTasks(
      ['finishes', 'hangs', 'waits'].map((id) => ({ id, type: 't' })),
    );
    const ends = handles.map((handle) =>
      handle.result().catch((error: unknown) => (error as { code: string }).code),
    );
    await clock.settle();
    const down = scheduler.shutdown({ drainMs: 100 });
    finish.open('fine');
    await clock.advance(200);
    await down;
    expect(await Promise.all(ends)).toEqual(['fine', 'STOPPED', 'STOPPED']);
    await expect(scheduler.submitTask({ type: 't' })).rejects.toMatchObject({ code: 'STOPPED' });
    await scheduler.shutdown();
  });
});
