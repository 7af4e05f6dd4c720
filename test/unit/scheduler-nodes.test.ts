import { describe, expect, test } from 'vitest';
import {
  type AgentProfile,
  CoordinationManager,
  type DeadlockError,
  type Lease,
  memory,
} from '../../src/index.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { gate } from '../support/mesh.ts';
import { startMesh as start, type MeshOptions } from '../support/started-mesh.ts';

const startMesh = (options: MeshOptions = {}) => start({ workStealing: false, ...options });

describe('a task with the id of an agent', () => {
  test('D1, L2: the end of its run takes nothing from the agent', async () => {
    const { mesh, clock, down } = await startMesh();
    await mesh.acquireResource('db', 'ada');
    mesh.registerAgent({ id: 'w', handler: ({ withLock }) => withLock('other', () => 'done') });
    expect(await mesh.runTask({ id: 'ada', type: 't', locks: ['third'] })).toBe('done');
    expect([...mesh.locks.getAllocations()]).toEqual([['db', 'ada']]);
    let bob = false;
    const next = mesh.acquireResource('db', 'bob').then(() => (bob = true));
    await clock.settle();
    expect(bob).toBe(false);
    await mesh.releaseResource('db', 'ada');
    await next;
    await down();
  });

  test('L2: it waits for a lock that the agent holds', async () => {
    const { mesh, clock, down } = await startMesh();
    const lease = await mesh.acquireResource('db', 'ada');
    mesh.registerAgent({ id: 'ada', handler: ({ withLock }) => withLock('db', ({ owner }) => owner) });
    const task = await mesh.submitTask({ id: 'ada', type: 't', retry: false });
    await clock.settle();
    expect((await task.why()).sentence).toContain('db');
    expect((await task.status()).status).toBe('running');
    await lease.release();
    await clock.settle();
    // People read the id of the task.
    expect(await task.result()).toBe('ada');
    await down();
  });

  test('nobody can take the name of a run', async () => {
    const { mesh, down } = await startMesh();
    await expect(mesh.acquire('db', { owner: '\u0001ada' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    expect(() => mesh.registerAgent({ id: '\u0001ada', handler: () => 1 })).toThrow(/control characters/);
    await down();
  });

  test('errors, events, why and lists show ids of tasks', async () => {
    const { mesh, clock, named, down } = await startMesh();
    const hold = gate();
    const seen: { error?: DeadlockError } = {};
    mesh.registerAgent({
      id: 'w',
      maxConcurrentTasks: 2,
      handler: ({ task, withLock }) => {
        const [mine, other] = task.id === 'one' ? ['A', 'B'] : ['B', 'A'];
        return withLock(mine, async () => {
          await hold.promise;
          return withLock(other, () => task.id).catch((error: unknown) => {
            seen.error = error as DeadlockError;
            return 'victim';
          });
        });
      },
    });
    const one = await mesh.submitTask({ id: 'one', type: 't', priority: 3 });
    const two = await mesh.submitTask({ id: 'two', type: 't', priority: 1 });
    const late = mesh.acquire('A', { owner: 'late' });
    await clock.settle();
    expect(mesh.locks.whyWaiting('late')).toMatchObject([{ subject: 'A', holder: 'one', agent: 'w' }]);
    const rows = await mesh.locks.list();
    expect(rows.items.flatMap(({ holders }) => holders.map(({ owner }) => owner.id)).toSorted()).toEqual([
      'one',
      'two',
    ]);
    hold.open();
    await clock.settle();
    expect([await one.result(), await two.result()]).toEqual(['one', 'victim']);
    expect(seen.error).toMatchObject({ survivor: 'one', agents: ['w'] });
    expect(seen.error?.message).toContain('two waits for one (lock A), one waits for two (lock B)');
    expect(named('deadlock:detected')).toMatchObject([
      {
        victim: 'two',
        cycle: [
          { waiter: 'two', holder: 'one' },
          { waiter: 'one', holder: 'two' },
        ],
      },
    ]);
    expect(named('deadlock:resolved')).toMatchObject([{ victim: 'two' }]);
    expect(JSON.stringify([named('deadlock:detected'), seen.error])).not.toContain('\\u0001');
    await (await late).release();
    await down();
  });

  test('a policy for victims sees, and names, ids of tasks', async () => {
    const offered: string[][] = [];
    const { mesh, clock, named, down } = await startMesh({
      resources: {
        victim: (cycle, candidates) => {
          offered.push(
            cycle.map(({ waiter }) => waiter),
            candidates.map(({ node }) => node),
          );
          return 'one';
        },
      },
      scheduling: { retry: false },
    });
    const hold = gate();
    mesh.registerAgent({
      id: 'w',
      maxConcurrentTasks: 2,
      handler: ({ task, withLock }) => {
        const [mine, other] = task.id === 'one' ? ['A', 'B'] : ['B', 'A'];
        return withLock(mine, () => hold.promise.then(() => withLock(other, () => task.id)));
      },
    });
    const tasks = await mesh.submitTasks([
      { id: 'one', type: 't', priority: 3 },
      { id: 'two', type: 't', priority: 1 },
    ]);
    await clock.settle();
    hold.open();
    await clock.settle();
    expect(offered.map((ids) => ids.toSorted())).toEqual([
      ['one', 'two'],
      ['one', 'two'],
    ]);
    expect(named('deadlock:detected')).toMatchObject([{ victim: 'one' }]);
    expect((await tasks[0].status()).status).toBe('dead');
    await down();
  });

  test('D2: a wait that a task declares by its id is one of its run', async () => {
    const { mesh, clock, named, down } = await startMesh();
    const call = gate();
    mesh.registerAgent({
      id: 'w',
      handler: ({ task, withLock }) =>
        withLock('L', async () => {
          using _wait = mesh.locks.waitsFor(task.id, 'bob', 'a phone call');
          await call.promise;
        }),
    });
    const task = await mesh.submitTask({ id: 'caller', type: 't' });
    await clock.settle();
    await expect(mesh.acquireResource('L', 'bob')).rejects.toMatchObject({
      code: 'DEADLOCK',
      survivor: 'caller',
    });
    expect(named('deadlock:detected')).toMatchObject([{ victim: 'bob' }]);
    call.open();
    await clock.settle();
    expect((await task.status()).status).toBe('completed');
    await down();
  });
});

describe('the victim of a deadlock', () => {
  /** P holds L and runs parts one after another in the only slot; Q wants L and has the slot. */
  async function crossed(parts: number, options: MeshOptions = {}) {
    const world = await startMesh(options);
    world.mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, submit, withLock, sleep }) => {
        if (task.id === 'P')
          return withLock('L', async () => {
            await sleep(10);
            for (let i = 0; i < parts; i++)
              await (await submit({ id: `C${i}`, type: 't', priority: 1 })).result();
            return 'p';
          });
        return task.id === 'Q' ? withLock('L', () => 'q') : 'c';
      },
    });
    const p = await world.mesh.submitTask({ id: 'P', type: 't', priority: 9 });
    const q = await world.mesh.submitTask({ id: 'Q', type: 't', priority: 8 });
    return { ...world, p, q };
  }

  test('D4: waits until whoever has its lock has finished, and loses one attempt', async () => {
    const { clock, named, p, q, down } = await crossed(8);
    await clock.advance(20);
    expect([await p.result(), await q.result()]).toEqual(['p', 'q']);
    expect(named('task:retried')).toEqual([{ taskId: 'Q', attempt: 1, delayMs: 0 }]);
    expect(named('deadlock:detected').map(({ victim }) => victim)).toEqual(['Q']);
    await down();
  });

  test('D4: backs off by the retry policy where the survivor waits for the victim itself', async () => {
    const { mesh, clock, named, down } = await startMesh({ retryDelay: 100 });
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 2,
      handler: async ({ task, submit, withLock }) => {
        if (task.id === 'child') return withLock('doc', () => 'wrote');
        return withLock('doc', async () => (await submit({ id: 'child', type: 't' })).result());
      },
    });
    const parent = await mesh.submitTask({ id: 'parent', type: 't', retry: false });
    await clock.settle();
    expect(named('deadlock:detected')).toMatchObject([{ victim: 'child' }]);
    // Not 30 s, in which the parent would wait for the child and the child for the parent.
    expect((await mesh.getTask('child'))?.status).toBe('retrying');
    expect(named('task:retried')[0]?.delayMs).toBeGreaterThan(0);
    await clock.advance(20_000);
    expect((await parent.status()).status).toBe('dead');
    await down();
  });

  test('D2, D4: a parent that awaits a duplicate handle, or a child that waits for others, is not overlooked', async () => {
    for (const mode of ['duplicate', 'dependency', 'many'] as const) {
      const { mesh, clock, named, down } = await startMesh({ retryDelay: 10 });
      // More than a record lists.
      const parents = mode === 'many' ? Array.from({ length: 25 }, (_, i) => `D${i}`) : ['D0'];
      mesh.registerAgent({
        id: 'a',
        maxConcurrentTasks: 1,
        handler: async ({ task, submit, withLock }) => {
          if (task.id === 'Q') return withLock('L', () => 'q');
          if (task.id !== 'P') return 'c';
          return withLock('L', async () => {
            if (mode === 'duplicate') return (await submit({ type: 'x', idempotencyKey: 'k' })).result();
            for (const id of parents) await submit({ id, type: 'x' });
            return (await submit({ id: 'C', type: 'x', dependencies: parents })).result();
          });
        },
      });
      await mesh.queues.pause('x');
      if (mode === 'duplicate') await mesh.submitTask({ id: 'C', type: 'x', idempotencyKey: 'k' });
      const p = await mesh.submitTask({ id: 'P', type: 'p', priority: 9 });
      const q = await mesh.submitTask({ id: 'Q', type: 'p', priority: 8 });
      await clock.settle();
      await mesh.queues.resume('x');
      await clock.advance(100);
      expect([mode, (await p.status()).status, (await q.status()).status]).toEqual([
        mode,
        'completed',
        'completed',
      ]);
      expect(named('deadlock:detected')).toHaveLength(1);
      await down();
    }
  });

  test('D2: found where the limit over all agents is what stands in the way', async () => {
    const { mesh, clock, named, down } = await startMesh({ scheduling: { maxConcurrentTasks: 1 } });
    mesh.registerAgent({
      id: 'parents',
      maxConcurrentTasks: 4,
      handler: {
        p: ({ withLock, submit }) => withLock('L', async () => (await submit({ type: 'c' })).result()),
        c: () => 'c',
      },
    });
    mesh.registerAgent({ id: 'others', handler: { q: ({ withLock }) => withLock('L', () => 'q') } });
    await mesh.queues.pause('c');
    const p = await mesh.submitTask({ type: 'p', priority: 9 });
    await clock.settle();
    const q = await mesh.submitTask({ type: 'q', priority: 8 });
    await clock.settle();
    await mesh.queues.resume('c');
    await clock.advance(100);
    expect([(await p.status()).status, (await q.status()).status]).toEqual(['completed', 'completed']);
    expect(named('deadlock:detected')).toHaveLength(1);
    await down();
  });

  test('D3: a wait for a child that is ended is ended once', async () => {
    const { mesh, clock, named, down } = await startMesh();
    mesh.registerAgent({
      id: 'a',
      handler: async ({ task, submit }) =>
        task.id === 'P' ? (await submit({ id: 'C', type: 't' })).result() : 'c',
    });
    await mesh.queues.configure('t', { maxRunning: 1 });
    await mesh.submitTask({ id: 'P', type: 't', retry: false });
    await clock.settle();
    expect(named('deadlock:detected').map(({ victim }) => victim)).toEqual(['P']);
    await down();
  });
});

describe('locks of runs', () => {
  test('L2: an agent that is taken out while its handler is inside gives its locks back when that is out', async () => {
    const { mesh, clock, down } = await startMesh();
    const hold = gate();
    const reasons: string[] = [];
    let inside = 0;
    let most = 0;
    for (const id of ['a', 'b'])
      mesh.registerAgent({
        id,
        maxConcurrentTasks: 1,
        handler: ({ withLock }) =>
          withLock('file', async ({ signal }) => {
            signal.addEventListener('abort', () => reasons.push((signal.reason as { code: string }).code));
            inside += 1;
            most = Math.max(most, inside);
            await hold.promise;
            inside -= 1;
          }),
      });
    const first = await mesh.submitTask({ type: 't' });
    await clock.settle();
    const second = await mesh.submitTask({ type: 't' });
    await clock.settle();
    const left = mesh.unregisterAgent((await first.status()).agentId as string);
    await clock.advance(100);
    expect([inside, most, reasons]).toEqual([1, 1, ['LOCK_REVOKED']]);
    hold.open();
    await clock.settle();
    await left;
    await Promise.all([first.result(), second.result()]);
    expect(most).toBe(1);
    expect(mesh.locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
    await down();
  });

  test('L3: and it gives them back when the grace is over, even so', async () => {
    const { mesh, clock, down } = await startMesh({
      resources: { leaseMs: 1_000 },
      scheduling: { graceMs: 60_000 },
    });
    const hold = gate();
    mesh.registerAgent({ id: 'a', handler: ({ withLock }) => withLock('file', () => hold.promise) });
    await mesh.submitTask({ type: 't' });
    await clock.settle();
    const left = mesh.unregisterAgent('a');
    let got: Lease | undefined;
    void mesh.acquire('file').then((lease) => (got = lease));
    await clock.advance(900);
    expect(got).toBeUndefined();
    await clock.advance(200);
    expect(got).toBeDefined();
    hold.open();
    await clock.settle();
    await left;
    await got?.release();
    await down();
  });

  test('a retry on another agent keeps its locks, whatever becomes of the first agent', async () => {
    const { mesh, clock, down } = await startMesh({ retryDelay: 10 });
    const hold = gate();
    let held: Lease | undefined;
    const agent = (id: string): AgentProfile => ({
      id,
      handler: ({ attempt, withLock }) =>
        withLock('L', (lease) => {
          if (attempt === 1) throw new Error('again');
          held = lease;
          return hold.promise;
        }),
    });
    mesh.registerAgent(agent('a'));
    const task = await mesh.submitTask({ type: 't' });
    await clock.settle();
    await mesh.unregisterAgent('a');
    mesh.registerAgent(agent('b'));
    await clock.advance(100);
    expect((await task.status()).agentId).toBe('b');
    await mesh.locks.agentLeft('a');
    expect(held?.signal.aborted).toBe(false);
    expect([...mesh.locks.getAllocations()]).toEqual([['L', 'b']]);
    hold.open();
    await clock.settle();
    await task.result();
    await down();
  });

  test('L2: a declared lock that is taken back: the handler hears of it, and has the lease', async () => {
    const { mesh, clock, named, down } = await startMesh({ retryDelay: 10 });
    const seen: unknown[] = [];
    mesh.registerAgent({
      id: 'a',
      handler: async ({ signal, lease, attempt }) => {
        seen.push([lease?.resources, lease?.owner, (lease?.token ?? 0) > 0]);
        if (attempt > 1) return 'second';
        return new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Error)),
        );
      },
    });
    const task = await mesh.submitTask({ id: 'x', type: 't', locks: ['file'] });
    await clock.settle();
    expect(await mesh.locks.forceRelease('file', { graceMs: 100, reason: 'the owner said so' })).toBe(1);
    await clock.settle();
    expect(named('task:failed')).toMatchObject([{ taskId: 'x', code: 'LOCK_REVOKED', final: false }]);
    expect(mesh.locks.getAllocations().size).toBe(0);
    await clock.advance(1_000);
    expect(await task.result()).toBe('second');
    expect(seen).toEqual([
      [['file'], 'x', true],
      [['file'], 'x', true],
    ]);
    await down();
  });

  test('a task without locks has no lease', async () => {
    const { mesh, down } = await startMesh();
    mesh.registerAgent({ id: 'a', handler: ({ lease }) => lease === undefined });
    expect(await mesh.runTask({ type: 't' })).toBe(true);
    await down();
  });

  test('an assigned task holds its locks only when its agent has a slot for it', async () => {
    const { mesh, clock, named, down } = await startMesh();
    const hold = gate();
    const ran: string[] = [];
    mesh.registerAgent({
      id: 'busy',
      maxConcurrentTasks: 1,
      handler: ({ task }) => (task.id === 'long' ? hold.promise : void ran.push(task.id)),
    });
    mesh.registerAgent({ id: 'free', handler: ({ task }) => void ran.push(task.id) });
    await mesh.assignTask({ id: 'long', type: 't' }, 'busy');
    const low = await mesh.assignTask({ id: 'low', type: 't', locks: ['db'] }, 'busy');
    expect(named('task:assigned').map(({ taskId }) => taskId)).toEqual(['long', 'low']);
    await clock.settle();
    expect(mesh.locks.getAllocations().size).toBe(0);
    await mesh.runTask({ id: 'high', type: 't', locks: ['db'], agents: { exclude: ['busy'] } });
    expect(ran).toEqual(['high']);
    hold.open();
    await clock.settle();
    await low.result();
    expect(ran).toEqual(['high', 'low']);
    expect(named('task:assigned').filter(({ taskId }) => taskId === 'low')).toHaveLength(1);
    await down();
  });

  test('tasks that wait for locks at their agent take no more of them than it has slots, and stop nobody else there', async () => {
    const { mesh, clock, down } = await startMesh();
    const lease = await mesh.acquireResource('db', 'somebody');
    const ran: string[] = [];
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: ({ task }) => void ran.push(task.id) });
    for (const id of ['one', 'two', 'three'])
      await mesh.assignTask({ id, type: 't', locks: ['db', `own of ${id}`] }, 'a');
    await mesh.assignTask({ id: 'plain', type: 't' }, 'a');
    await clock.settle();
    expect(ran).toEqual(['plain']);
    expect(mesh.locks.getWaitingRequests().get('db')).toHaveLength(1);
    expect(await mesh.getAgentTaskCount('a')).toBe(3);
    await mesh.submitTask({ id: 'anybody’s', type: 't' });
    await clock.settle();
    expect(ran).toEqual(['plain', 'anybody’s']);
    await lease.release();
    await clock.settle();
    expect(ran).toEqual(['plain', 'anybody’s', 'one', 'two', 'three']);
    expect(mesh.tasks.getSchedulingMetrics()).toMatchObject({ running: 0, queued: 0 });
    await down();
  });

  test('one that has its locks by now is the next to start: others wait for them', async () => {
    const { mesh, clock, down } = await startMesh();
    const lease = await mesh.acquireResource('db', 'somebody');
    const hold = gate();
    const ran: string[] = [];
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: ({ task }) => (task.id === 'busy' ? hold.promise : void ran.push(task.id)),
    });
    await mesh.assignTask({ id: 'locked', type: 't', locks: ['db'] }, 'a');
    await mesh.assignTask({ id: 'busy', type: 't' }, 'a');
    await mesh.assignTask({ id: 'urgent', type: 't', priority: 9 }, 'a');
    await lease.release();
    await clock.settle();
    hold.open();
    await clock.settle();
    expect(ran).toEqual(['locked', 'urgent']);
    await down();
  });

  test('an agent that leaves gives back what waits for locks there, uncounted', async () => {
    const { mesh, clock, named, down } = await startMesh();
    const lease = await mesh.acquireResource('db', 'somebody');
    mesh.registerAgent({ id: 'a', handler: ({ agentId }) => agentId });
    mesh.registerAgent({ id: 'b', handler: ({ agentId, attempt }) => `${agentId} ${attempt}` });
    const task = await mesh.assignTask({ id: 'x', type: 't', locks: ['db'] }, 'a');
    await clock.settle();
    const left = mesh.unregisterAgent('a');
    await clock.settle();
    await left;
    expect(named('task:failed')).toEqual([]);
    await lease.release();
    await clock.settle();
    expect(await task.result()).toBe('b 1');
    await down();
  });
});

describe('gather', () => {
  const open = ({ signal }: { signal: AbortSignal }): Promise<never> =>
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));

  test.each(['cancelled', 'given back'])(
    'a parent that is %s does not end as completed with what it has',
    async (how) => {
      const { mesh, clock } = await startMesh();
      let after = 0;
      mesh.registerAgent({
        id: 'a',
        maxConcurrentTasks: 10,
        handler: {
          slow: open,
          parent: async ({ gather }) => {
            await gather([{ type: 'slow' }]);
            return 'with nothing';
          },
          after: () => void (after += 1),
        },
      });
      const parent = await mesh.submitTask({ type: 'parent' });
      await mesh.submitTask({ type: 'after', dependencies: [parent.id] });
      await clock.advance(10);
      if (how === 'cancelled') await parent.cancel('no more');
      else await mesh.unregisterAgent('a');
      await clock.advance(10);
      expect((await parent.status()).state).toBe(how === 'cancelled' ? 'cancelled' : 'ready');
      expect(after).toBe(0);
    },
  );

  test('a parent whose time is over keeps what it has, and its open parts are cancelled', async () => {
    const { mesh, clock, down } = await startMesh();
    const seen: unknown[] = [];
    let started = 0;
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 10,
      handler: {
        quick: () => 'quick',
        slow: (context) => {
          started += 1;
          return open(context);
        },
        parent: async ({ gather }) => {
          const got = await gather([{ type: 'quick' }, { type: 'slow' }, { type: 'slow' }]);
          seen.push(
            got.results.map(({ status }) => status),
            got.completed,
            got.enough,
          );
        },
      },
    });
    const parent = await mesh.submitTask({
      type: 'parent',
      timeoutMs: 100,
      retry: { maxAttempts: 2, delayMs: 10 },
    });
    await clock.advance(99);
    expect(mesh.tasks.getSchedulingMetrics().running).toBe(2);
    await clock.advance(1_000);
    expect((await parent.status()).status).toBe('dead');
    const attempt = [['completed', 'unfinished', 'unfinished'], 1, false];
    expect(seen).toEqual([...attempt, ...attempt]);
    expect([started, mesh.tasks.getSchedulingMetrics().running]).toEqual([4, 0]);
    const { items } = await mesh.queues.list({ type: 'slow' });
    expect(items.map(({ status }) => status)).toEqual(Array(4).fill('cancelled'));
    await down();
  });

  test('when enough have succeeded the rest is cancelled, or kept, and the parent has its slot again', async () => {
    for (const rest of ['cancel', 'keep'] as const) {
      const { mesh, clock, down } = await startMesh();
      const hold = gate();
      let running: number | undefined;
      mesh.registerAgent({
        id: 'a',
        handler: {
          quick: () => 'quick',
          slow: ({ signal }) => Promise.race([hold.promise, open({ signal })]),
          parent: async ({ gather }) => {
            const got = await gather([{ type: 'slow', id: 's' }, { type: 'quick' }], { minimum: 1, rest });
            running = mesh.tasks.getSchedulingMetrics().running;
            await new Promise((resolve) => clock.after(5, () => resolve(undefined)));
            return got.results.map(({ status }) => status);
          },
        },
      });
      const parent = await mesh.submitTask({ type: 'parent' });
      await clock.advance(10);
      expect(await parent.result()).toEqual(['unfinished', 'completed']);
      expect(running).toBe(rest === 'keep' ? 2 : 1);
      expect((await mesh.getTask('s'))?.status).toBe(rest === 'keep' ? 'running' : 'cancelled');
      hold.open();
      await clock.settle();
      await down();
    }
  });

  test('aborted from outside: rejects with the reason, and the rest is cancelled', async () => {
    const { mesh, clock, down } = await startMesh();
    mesh.registerAgent({ id: 'a', handler: open });
    const handles = await mesh.submitTasks([{ type: 't' }, { type: 't' }]);
    const controller = new AbortController();
    const got = mesh.gather(handles, { signal: controller.signal }).catch((error: Error) => error.message);
    await clock.settle();
    controller.abort(new Error('enough'));
    await clock.settle();
    expect(await got).toBe('enough');
    expect(await Promise.all(handles.map(async (one) => (await one.status()).status))).toEqual([
      'cancelled',
      'cancelled',
    ]);
    await down();
  });

  test('D4: the victim of a deadlock hears of it, whatever its parts do', async () => {
    const { mesh, clock, down } = await startMesh();
    mesh.registerAgent({
      id: 'a',
      handler: async ({ task, gather }) =>
        task.id === 'P'
          ? gather([{ type: 't' }, { type: 't' }]).catch((error: { code: string }) => error.code)
          : 'c',
    });
    await mesh.queues.configure('t', { maxRunning: 1 });
    const parent = await mesh.submitTask({ id: 'P', type: 't' });
    await clock.settle();
    expect(await parent.result()).toBe('DEADLOCK');
    expect((await mesh.queues.counts(['t']))[0]?.states).toMatchObject({
      ready: 0,
      claimed: 0,
      cancelled: 2,
    });
    await down();
  });
});

describe('what others stop', () => {
  test('says nothing about the breaker of the task; a timeout does', async () => {
    for (const [how, state] of [
      ['cancel', 'closed'],
      ['leave', 'closed'],
      ['preempt', 'closed'],
      ['timeout', 'open'],
    ] as const) {
      const { mesh, clock, down } = await startMesh({
        breakers: { failureThreshold: 3 },
        scheduling: { preemption: true },
      });
      const agent = mesh.registerAgent({
        id: 'a',
        maxConcurrentTasks: 5,
        handler: ({ signal, task }) =>
          task.input === 'urgent'
            ? 'done'
            : new Promise((_, reject) =>
                signal.addEventListener('abort', () => reject(signal.reason as Error)),
              ),
      });
      const tasks = await mesh.submitTasks(
        Array.from({ length: 5 }, () => ({
          type: 't',
          breaker: 'api',
          preemptible: true,
          retry: false as const,
          ...(how === 'timeout' ? { timeoutMs: 20 } : {}),
        })),
      );
      await clock.settle();
      expect(mesh.tasks.getSchedulingMetrics().running).toBe(5);
      if (how === 'cancel') await Promise.all(tasks.map((task) => task.cancel('never mind')));
      if (how === 'leave') void agent.leave();
      if (how === 'preempt')
        await mesh.submitTasks(
          Array.from({ length: 5 }, () => ({ type: 't', input: 'urgent', priority: 9 })),
        );
      await clock.advance(50);
      expect([how, mesh.breaker('api').getState()]).toEqual([how, state]);
      if (how !== 'timeout') expect(mesh.breaker('api').getMetrics().ignored).toBeGreaterThan(0);
      await Promise.all(tasks.map((task) => task.cancel().catch(() => undefined)));
      await down();
    }
  });

  test('T10: two managers in one process: each counts its own runs, whoever cancels them', async () => {
    const clock = createTestClock();
    const backend = memory({ shared: true });
    const options = { clock, env: {}, backend, workStealing: false, scheduling: { graceMs: 100 } } as const;
    const a = await CoordinationManager.start({ ...options, seed: 1 });
    const b = await CoordinationManager.start({ ...options, seed: 2 });
    const hold = gate();
    b.registerAgent({ id: 'b', maxConcurrentTasks: 1, handler: () => hold.promise });
    const task = await a.submitTask({ id: 'x', type: 't' });
    await clock.advance(2_000);
    expect(b.tasks.getSchedulingMetrics().running).toBe(1);
    expect((await a.cancelTask('x')).status).toBe('requested');
    await clock.advance(1_000);
    await expect(task.result()).rejects.toMatchObject({ code: 'TASK_CANCELLED' });
    expect(a.tasks.getSchedulingMetrics()).toMatchObject({ running: 0, zombies: 0 });
    expect(b.tasks.getSchedulingMetrics()).toMatchObject({ running: 0, zombies: 1 });
    hold.open();
    await clock.settle();
    expect(b.tasks.getSchedulingMetrics()).toMatchObject({ running: 0, zombies: 0 });
    for (const mesh of [a, b]) {
      const down = mesh.shutdown();
      await clock.advance(60_000);
      await down;
    }
  });
});

test('what waits for its locks at an id is handed to the handler that comes under that id', async () => {
  const { mesh, clock } = await startMesh();
  const lease = await mesh.acquireResource('L', 'somebody');
  const task = await mesh.assignTask({ id: 'x', type: 't', locks: ['L'] }, 'late');
  await clock.settle();
  mesh.registerAgent({ id: 'late', maxConcurrentTasks: 1, handler: () => 'by handler' });
  await clock.settle();
  await lease.release();
  await clock.advance(100);
  expect((await task.status()).status).toBe('completed');
  expect(mesh.tasks.getSchedulingMetrics()).toMatchObject({ running: 0, queued: 0 });
});
