import { describe, expect, test } from 'vitest';
import { memory } from '../../src/index.ts';
import { gate } from '../support/mesh.ts';
import { startMesh } from '../support/started-mesh.ts';

describe('health', () => {
  test('a stopped backend, an open breaker and a stuck sweep are found within 2 s, with part and reason', async () => {
    const backend = memory();
    const { mesh, clock, named } = await startMesh({ backend });
    await clock.advance(1_000);
    expect(named('system:healthcheck')).toEqual([{ healthy: true, problems: [] }]);
    mesh.breaker('llm').forceState('open');
    await clock.advance(2_000);
    expect(named('system:healthcheck').at(-1)).toEqual({ healthy: false, problems: ['breakers: llm open'] });
    mesh.breaker('llm').reset();
    await clock.advance(2_000);
    expect(named('system:healthcheck').at(-1)).toEqual({ healthy: true, problems: [] });

    const sweep = backend.tasks.sweep.bind(backend.tasks);
    backend.tasks.sweep = () => new Promise(() => undefined) as never;
    await mesh.submitTask({ type: 't', delayMs: 10 });
    await clock.advance(2_200);
    expect((named('system:healthcheck').at(-1) as unknown as { problems: string[] }).problems[0]).toMatch(
      /^scheduler: its sweep, or the record of what ended, is overdue for \d+ ms$/,
    );
    backend.tasks.sweep = sweep;

    backend.stop();
    await clock.advance(2_000);
    expect(await mesh.getHealthStatus()).toMatchObject({
      healthy: false,
      components: { backend: { healthy: false } },
    });
    expect(
      (named('system:healthcheck').at(-1) as unknown as { problems: string[] }).problems.join(),
    ).toContain('backend: ');
    expect(named('backend:lost')).toMatchObject([{ backend: 'memory' }]);
  });

  test('a backend that answers again is reported with the length of its outage', async () => {
    const backend = memory();
    const { mesh, clock, named } = await startMesh({ backend });
    const { check } = backend;
    backend.check = () => ({ healthy: false, detail: 'away' });
    await clock.advance(3_000);
    backend.check = check;
    await clock.advance(2_000);
    expect(named('backend:lost')).toEqual([{ backend: 'memory', message: 'away' }]);
    const [recovered] = named('backend:recovered');
    expect(recovered?.outageMs).toBeGreaterThanOrEqual(1_500);
    expect(recovered?.outageMs).toBeLessThanOrEqual(4_000);
    await mesh.getHealthStatus();
  });

  test('a part that does not answer is unhealthy, not a hang', async () => {
    const backend = memory();
    const { mesh, clock } = await startMesh({ backend });
    backend.check = () => new Promise(() => undefined) as never;
    const status = mesh.getHealthStatus();
    await clock.advance(1_500);
    expect(await status).toMatchObject({
      healthy: false,
      components: { backend: { healthy: false, error: 'no answer within 1000 ms' } },
    });
  });
});

describe('one wait-for graph', () => {
  test('D1 D2: crossed locks of two tasks: one victim, which tries again after the survivor; both complete', async () => {
    const { mesh, clock, named } = await startMesh({ retryDelay: 10 });
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 2,
      handler: async ({ task, withLock }) => {
        const [first, second] = task.input as [string, string];
        return withLock(first, async () => {
          await new Promise<void>((resolve) => void clock.after(10, resolve));
          return withLock(second, () => task.id);
        });
      },
    });
    const p = await mesh.submitTask({ id: 'p', type: 'cross', input: ['A', 'B'] });
    const q = await mesh.submitTask({ id: 'q', type: 'cross', input: ['B', 'A'] });
    const results = Promise.all([p.result(), q.result()]);
    await clock.advance(1_000);
    expect(await results).toEqual(['p', 'q']);
    expect(named('deadlock:detected').length).toBe(1);
    expect(named('deadlock:detected')[0]).toMatchObject({
      agents: ['a'],
      resources: expect.arrayContaining(['A', 'B']),
    });
    expect(named('deadlock:resolved').length).toBe(1);
    expect(mesh.locks.getAllocations().size).toBe(0);
  });

  test('D1 D2: a parent that holds a lock its child needs is a deadlock, found when the child asks', async () => {
    const { mesh, clock, named } = await startMesh({ scheduling: { retry: false } });
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, withLock, submit }) => {
        if (task.id === 'child') return withLock('doc', () => 'child wrote');
        return withLock('doc', async () => {
          const child = await submit({ id: 'child', type: 't' });
          return child.result().then(
            () => 'fine',
            (error: { code: string }) => error.code,
          );
        });
      },
    });
    const parent = await mesh.submitTask({ id: 'parent', type: 't' });
    const result = parent
      .result()
      .catch((error: { code: string; cause?: { code: string } }) => error.cause?.code ?? error.code);
    await clock.advance(5_000);
    expect(named('deadlock:detected').length).toBe(1);
    const { cycle } = named('deadlock:detected')[0] as unknown as { cycle: { by: string }[] };
    expect(cycle.map(({ by }) => by).toSorted()).toEqual(['child', 'lock']);
    expect(['DEADLOCK', 'TASK_FAILED']).toContain(await result);
  });

  test('D2: a child that can get no slot because its agent waits for the parent’s lock', async () => {
    const { mesh, clock, named } = await startMesh({ scheduling: { retry: false } });
    mesh.registerAgent({
      id: 'parents',
      capabilities: ['parent'],
      handler: async ({ withLock, submit }) =>
        withLock('doc', async () =>
          (await submit({ id: 'child', type: 'c', capabilities: ['child'] })).result(),
        ),
    });
    mesh.registerAgent({
      id: 'children',
      capabilities: ['child'],
      maxConcurrentTasks: 1,
      handler: async ({ task, withLock }) => (task.id === 'child' ? 1 : withLock('doc', () => 2)),
    });
    const held = gate();
    void mesh.withLock('doc', () => held.promise);
    const blocker = await mesh.submitTask({ id: 'blocker', type: 'c', capabilities: ['child'] });
    await clock.settle();
    const parent = await mesh.submitTask({
      id: 'parent',
      type: 'p',
      capabilities: ['parent'],
      priority: 'high',
    });
    const ends = [parent, blocker].map((handle) =>
      handle.result().catch((error: { cause?: { code: string } }) => error.cause?.code),
    );
    await clock.settle();
    held.open();
    await clock.advance(5_000);
    const outcome = await Promise.all(ends);
    // Whoever got the lock first: either there was no cycle, or it was found and broken.
    expect(outcome.every((one) => one === 1 || one === 2 || one === 'DEADLOCK')).toBe(true);
    expect(named('deadlock:detected').length).toBe(outcome.includes('DEADLOCK') ? 1 : 0);
  });

  test('D2: a task that has its declared locks and no slot, whose holder wants one of them', async () => {
    const { mesh, clock, named } = await startMesh({ retryDelay: 10 });
    const order: string[] = [];
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, attempt, withLock }) => {
        if (task.id === 'first') {
          await new Promise<void>((resolve) => void clock.after(50, resolve));
          await withLock({ path: 'x' }, () => undefined);
        }
        order.push(`${task.id}${attempt}`);
      },
    });
    // While it waits for its locks, another takes the slot.
    const outside = await mesh.acquire({ path: 'x' });
    const second = await mesh.assignTask({ id: 'second', type: 't', locks: [{ path: 'x' }] }, 'a');
    const first = await mesh.submitTask({ id: 'first', type: 't' });
    await clock.settle();
    await outside.release();
    await clock.settle();
    const results = Promise.all([first.result(), second.result()]);
    await clock.advance(5_000);
    await results;
    expect(order).toEqual(['second1', 'first2']);
    expect(named('deadlock:detected').length).toBe(1);
  });

  test('D2: handlers that wait for each other’s reply', async () => {
    const { mesh, clock, named } = await startMesh({ scheduling: { retry: false }, messageTimeout: 600_000 });
    for (const [id, other] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      mesh.subscribe(id, async (message) => {
        await message.reply(await mesh.withLock(`lock-${id}`, () => 'pong', { owner: message.node }));
      });
      mesh.registerAgent({
        id,
        capabilities: [id],
        handler: async ({ withLock, request }) => withLock(`lock-${id}`, () => request(other, 'ping')),
      });
    }
    const handles = await mesh.submitTasks(
      ['a', 'b'].map((id) => ({ id: `task-${id}`, type: 't', capabilities: [id] })),
    );
    const outcome = Promise.all(
      handles.map((handle) =>
        handle.result().catch((error: { cause?: { code: string } }) => error.cause?.code),
      ),
    );
    await clock.advance(120_000);
    const found = await outcome;
    expect(named('deadlock:detected').length).toBeGreaterThanOrEqual(1);
    expect(found).toContain('DEADLOCK');
  });

  test('why follows the chain over dependency, lock and running task', async () => {
    const { mesh, clock } = await startMesh();
    const hold = gate();
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 4,
      handler: async ({ task, withLock }) =>
        task.id === 'holder' ? withLock('db', () => hold.promise) : withLock('db', () => 1),
    });
    await mesh.submitTask({ id: 'holder', type: 't' });
    await clock.settle();
    await mesh.submitTask({ id: 'waiter', type: 't' });
    await mesh.submitTask({ id: 'child', type: 't', dependencies: ['waiter'] });
    await clock.advance(100);
    const { chain, sentence } = await mesh.why('child');
    expect(chain.map(({ kind, subject }) => `${kind} ${subject}`)).toEqual([
      'dependency waiter',
      'lock db',
      'running holder',
    ]);
    expect(sentence).toContain(
      'child waits for task waiter, which waits for lock db held by holder, which is running on a',
    );
    hold.open();
    await clock.settle();
  });

  test('why names a paused queue, a delay, a missing capability, a taken slot and a breaker', async () => {
    const { mesh, clock } = await startMesh();
    const hold = gate();
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: () => hold.promise });
    mesh.breaker('llm').forceState('open');
    await mesh.queues.pause('paused');
    await mesh.submitTasks([
      { id: 'running', type: 't' },
      { id: 'slot', type: 't' },
      { id: 'later', type: 't', delayMs: 1_000 },
      { id: 'nobody', type: 't', capabilities: ['x'] },
      { id: 'paused', type: 'paused' },
    ]);
    await clock.advance(10);
    const kind = async (id: string): Promise<string | undefined> => (await mesh.why(id)).chain[0]?.kind;
    expect(await Promise.all(['running', 'slot', 'later', 'nobody', 'paused'].map(kind))).toEqual([
      'running',
      'slot',
      'delay',
      'no-capable-agent',
      'paused',
    ]);
    hold.open();
    await clock.settle();
    const broken = await mesh.submitTask({ id: 'broken', type: 't', breaker: 'llm' });
    await clock.advance(10);
    expect((await broken.why()).chain[0]).toMatchObject({ kind: 'breaker', subject: 'llm' });
    await expect(mesh.why('unknown')).rejects.toMatchObject({ code: 'UNKNOWN_TASK' });
  });
});

describe('tasks with locks and breakers', () => {
  test('declared locks are taken before the handler starts; no slot is held while waiting', async () => {
    const { mesh, clock } = await startMesh();
    const order: string[] = [];
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: ({ task }) => void order.push(task.id) });
    const lease = await mesh.acquire({ path: 'src/a.ts' });
    const locked = await mesh.submitTask({ id: 'locked', type: 't', locks: [{ path: 'src/**' }, 'db'] });
    await mesh.submitTask({ id: 'free', type: 't' });
    await clock.settle();
    expect(order).toEqual(['free']);
    expect((await locked.why()).chain[0]?.kind).toBe('lock');
    await lease.release();
    await clock.settle();
    expect(order).toEqual(['free', 'locked']);
    expect(mesh.locks.getAllocations().size).toBe(0);
  });

  test('cancelling a task that waits for its locks leaves nothing behind', async () => {
    const { mesh, clock } = await startMesh();
    mesh.registerAgent({ id: 'a', handler: () => undefined });
    const lease = await mesh.acquire('db');
    const task = await mesh.submitTask({ type: 't', locks: ['db'] });
    const end = task.result().catch((error: { code: string }) => error.code);
    await clock.settle();
    await task.cancel('no');
    await clock.settle();
    expect(await end).toBe('TASK_CANCELLED');
    expect(mesh.locks.getWaitingRequests().size).toBe(0);
    await lease.release();
    expect(mesh.locks.getAllocations().size).toBe(0);
  });

  test('locks that a handler leaves behind are given back at its end', async () => {
    const { mesh, clock } = await startMesh();
    const never = gate();
    mesh.registerAgent({
      id: 'a',
      handler: ({ withLock }) => void withLock('db', () => never.promise).catch(() => undefined),
    });
    await mesh.submitTask({ type: 't' });
    await clock.settle();
    expect(mesh.locks.getAllocations().size).toBe(0);
  });

  test('while its breaker is open a task waits uncounted, then runs', async () => {
    const { mesh, clock } = await startMesh({
      breakers: { failureThreshold: 1, timeout: 1_000, successThreshold: 1 },
    });
    let calls = 0;
    mesh.registerAgent({
      id: 'a',
      handler: ({ attempt }) => {
        calls += 1;
        if (calls === 1) throw new Error('down');
        return attempt;
      },
    });
    const first = await mesh.submitTask({
      id: 'first',
      type: 't',
      breaker: 'api',
      retry: { delayMs: 10, jitter: 'none' },
    });
    const second = await mesh.submitTask({ id: 'second', type: 't', breaker: 'api', delayMs: 20 });
    const results = Promise.all([first.result(), second.result()]);
    await clock.advance(500);
    expect(calls).toBe(1);
    await clock.advance(3_000);
    expect(await results).toEqual([2, 1]);
  });
});

describe('stealing', () => {
  test('skewed load is evened out; nothing runs twice, nothing is lost', async () => {
    const { mesh, clock, named } = await startMesh({
      workStealing: { stealInterval: 100, stealThreshold: 2 },
    });
    const ran = new Map<string, number>();
    const handler = async ({ task }: { task: { id: string } }): Promise<void> => {
      ran.set(task.id, (ran.get(task.id) ?? 0) + 1);
      await new Promise<void>((resolve) => void clock.after(50, resolve));
    };
    for (const id of ['busy', 'idle1', 'idle2']) mesh.registerAgent({ id, maxConcurrentTasks: 1, handler });
    const handles = await Promise.all(
      Array.from({ length: 60 }, (_, i) => mesh.assignTask({ id: `t${i}`, type: 't' }, 'busy')),
    );
    const all = Promise.all(handles.map((handle) => handle.result()));
    await clock.advance(2_000);
    await all;
    expect([...ran.values()]).toEqual(Array(60).fill(1));
    const stolen = named('work:stolen').flatMap(
      (payload) => (payload as unknown as { taskIds: string[] }).taskIds,
    );
    expect(stolen.length).toBeGreaterThan(20);
  });
});

describe('shutdown', () => {
  test('with 1,000 tasks running: work finishes or is aborted, every promise settles', async () => {
    const { mesh, clock } = await startMesh({ shutdown: { drainMs: 100, then: 'abort' } });
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1_000,
      handler: ({ task, signal }) =>
        new Promise((resolve, reject) => {
          if ((task.input as number) % 2 === 0) void clock.after(50, () => resolve('fine'));
          else signal.addEventListener('abort', () => reject(signal.reason as Error));
        }),
    });
    const submitted = mesh.submitTasks(Array.from({ length: 1_200 }, (_, i) => ({ type: 't', input: i })));
    await clock.settle();
    const handles = await submitted;
    const outcomes = handles.map((handle) =>
      handle.result().then(
        () => 'fine',
        (error: { code: string }) => error.code,
      ),
    );
    await clock.settle();
    const down = mesh.shutdown();
    await clock.advance(1_000);
    await down;
    const counts = new Map<string, number>();
    for (const outcome of await Promise.all(outcomes)) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    expect(counts).toEqual(
      new Map([
        ['fine', 500],
        ['STOPPED', 700],
      ]),
    );
  });
});
