import { describe, expect, test } from 'vitest';
import type { SchedulingStrategy } from '../../src/index.ts';
import type { TaskRecord } from '../../src/core/ports/tasks.ts';
import { Agent } from '../../src/scheduler/agent.ts';
import { normaliseAgent } from '../../src/scheduler/normalise.ts';
import { type UnplacedFacts, whyUnplaced } from '../../src/scheduler/why-unplaced.ts';
import { gate } from '../support/mesh.ts';
import { startMesh, type MeshOptions } from '../support/started-mesh.ts';

async function start(options: MeshOptions = {}) {
  const { mesh, clock } = await startMesh({ shutdown: { drainMs: 0 }, ...options });
  const why = async (id: string): Promise<string> => {
    await clock.advance(10);
    return (await mesh.why(id)).sentence;
  };
  return { mesh, clock, why };
}

/** Tasks that want the lock `db`, in this order; the first has it until told. */
async function lineForDb(modes: Readonly<Record<string, 'exclusive' | 'shared'>>) {
  const { mesh, why } = await start();
  const hold = gate();
  mesh.registerAgent({
    id: 'a',
    handler: ({ task, withLock }) =>
      withLock({ resource: 'db', mode: task.input as 'exclusive' | 'shared' }, () =>
        task.id === 'holder' ? hold.promise : undefined,
      ),
  });
  for (const [id, input] of Object.entries(modes)) await mesh.submitTask({ id, type: 't', input });
  return { why, hold };
}

const first: SchedulingStrategy['select'] = (_task, candidates) => candidates[0]?.id;

describe('why: locks', () => {
  test('a holder that is no task ends the chain under its own name', async () => {
    const { mesh, why } = await start();
    mesh.registerAgent({ id: 'a', handler: ({ task, withLock }) => withLock(task.input as string, () => 1) });
    await mesh.acquire('l1', { owner: 'me' });
    await mesh.acquireResource('l2', 'agentX');
    await mesh.submitTask({ id: 't1', type: 't', input: 'l1' });
    await mesh.submitTask({ id: 't2', type: 't', input: 'l2' });
    expect(await why('t1')).toBe('t1 waits for lock l1 held by me');
    expect(await why('t2')).toBe('t2 waits for lock l2 held by agentX');
    expect((await mesh.why('t1')).chain).toMatchObject([{ kind: 'lock', subject: 'l1', holder: 'me' }]);
  });

  test('who waits in front is not said to hold it', async () => {
    const { why, hold } = await lineForDb({ holder: 'exclusive', second: 'exclusive', third: 'exclusive' });
    expect(await why('second')).toBe('second waits for lock db held by holder, which is running on a');
    expect(await why('third')).toBe(
      'third waits for lock db behind second, which waits for lock db held by holder, which is running on a',
    );
    hold.open();
  });

  test('of several in the way, the holder is named before those who wait in front', async () => {
    const { why, hold } = await lineForDb({ holder: 'exclusive', reader: 'shared', writer: 'exclusive' });
    expect(await why('writer')).toBe('writer waits for lock db held by holder, which is running on a');
    hold.open();
  });

  test('a declared wait is no reply', async () => {
    const { mesh, why } = await start();
    const hold = gate();
    mesh.registerAgent({ id: 'a', handler: () => hold.promise });
    await mesh.submitTask({ id: 't', type: 't' });
    await mesh.submitTask({ id: 'other', type: 't' });
    using _declared = mesh.locks.waitsFor('t', 'other', 'the verdict');
    expect(await why('t')).toMatch(/^t waits for the verdict of other, which is running on a$/);
    expect((await mesh.why('t')).chain[0]?.kind).toBe('declared');
    hold.open();
  });
});

describe('why: limits of a queue', () => {
  test('a limit of a group only when that many of the group run', async () => {
    const { mesh, clock, why } = await start();
    const hold = gate();
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: () => hold.promise });
    await mesh.queues.configure('q', { maxRunningPerGroup: 1 });
    await mesh.submitTask({ id: 'other', type: 'else' });
    await clock.settle();
    await mesh.submitTask({ id: 'g1-1', type: 't', queue: 'q', group: 'g1' });
    expect(await why('g1-1')).toBe('g1-1 waits for a slot of a taken by other, which is running on a');
    mesh.registerAgent({ id: 'b', handler: () => hold.promise });
    await clock.settle();
    await mesh.submitTask({ id: 'g1-2', type: 't', queue: 'q', group: 'g1' });
    expect(await why('g1-2')).toBe('g1-2 waits for the limit q (maxRunningPerGroup 1 of g1)');
    hold.open();
  });

  test('a limit of a group that nothing of the group has reached is no reason', async () => {
    const facts = (claimed: number): UnplacedFacts => ({
      agents: () => [new Agent(normaliseAgent({ id: 'a' }, 1), false, 0)],
      queue: async () =>
        ({ queue: 'q', settings: { paused: false, maxRunningPerGroup: 2 }, states: {} }) as never,
      claimedOf: async () => claimed,
      freeInProcess: () => 1,
      strategy: () => 'capability',
      drained: () => false,
      company: 'alone',
    });
    const record = {
      id: 't',
      state: 'ready',
      body: { queue: 'q', type: 't', group: 'g', capabilities: [] },
    } as unknown as TaskRecord;
    expect(await whyUnplaced(record, 0, facts(1))).toMatchObject({ kind: 'slot', subject: 'a' });
    expect(await whyUnplaced(record, 0, facts(2))).toMatchObject({ kind: 'limit', subject: 'q' });
  });

  test('a process that was drained', async () => {
    const { mesh, why } = await start();
    mesh.registerAgent({ id: 'a', handler: () => 1 });
    await mesh.queues.configure('q', { maxRunningPerGroup: 1 });
    await mesh.tasks.drain();
    await mesh.submitTask({ id: 't', type: 'q', group: 'g' });
    expect(await why('t')).toBe(
      't waits because no agent may run it (this process starts nothing any more: it was drained)',
    );
  });

  test('a limit of the queue, and the one over all agents', async () => {
    const { mesh, why } = await start({ scheduling: { maxConcurrentTasks: 1 } });
    const hold = gate();
    mesh.registerAgent({ id: 'a', handler: () => hold.promise });
    await mesh.queues.configure('q', { maxRunning: 1 });
    await mesh.submitTask({ id: 'one', type: 'q' });
    await mesh.submitTask({ id: 'two', type: 'q' });
    await mesh.submitTask({ id: 'free', type: 'other' });
    expect(await why('two')).toBe('two waits for the limit q (maxRunning 1)');
    expect(await why('free')).toBe('free waits for the limit maxConcurrentTasks');
    hold.open();
  });
});

describe('why: agents', () => {
  test('all excluded, none registered, a missing capability, no handler, draining, another pinned to', async () => {
    const { mesh, why } = await start();
    await mesh.submitTask({ id: 'early', type: 't' });
    expect(await why('early')).toBe('early waits because no agent may run it (no agent is registered)');
    mesh.registerAgent({ id: 'a', handler: { t: () => 1 } });
    mesh.registerAgent({ id: 'b', handler: { t: () => 1, approve: () => 1 } });
    const tasks = [
      [{ id: 'excl', type: 't', agents: { exclude: ['a', 'b'] } }, 'it excludes a, b'],
      [{ id: 'caps', type: 'approve', capabilities: ['approve'] }, 'needs approve'],
      [{ id: 'type', type: 'paint' }, 'a, b without a handler for paint'],
      [{ id: 'only', type: 't', agents: { only: 'nobody' } }, 'only nobody'],
    ] as const;
    for (const [task, detail] of tasks) {
      await mesh.submitTask(task);
      expect(await why(task.id)).toBe(`${task.id} waits because no agent may run it (${detail})`);
      expect((await mesh.why(task.id)).chain[0]?.kind).toBe('no-capable-agent');
    }
    const drained = mesh.registerAgent({ id: 'c', capabilities: ['c'], handler: () => 1 });
    await drained.drain();
    await mesh.submitTask({ id: 'drain', type: 't', capabilities: ['c'] });
    expect(await why('drain')).toBe('drain waits because no agent may run it (c draining)');
  });

  test('a load limit of its own, and a strategy that would rather wait', async () => {
    const { mesh, clock, why } = await start();
    const hold = gate();
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: 2, handler: () => hold.promise });
    await mesh.submitTask({ id: 'one', type: 't' });
    await clock.settle();
    await mesh.submitTask({ id: 'calm', type: 't', agents: { maxLoadRatio: 0.25 } });
    expect(await why('calm')).toBe('calm waits for the limit maxLoadRatio (a above 0.25)');
    mesh.tasks.registerStrategy({
      name: 'picky',
      select: (task, candidates, context) =>
        task.id === 'no' ? undefined : first(task, candidates, context),
    });
    mesh.tasks.setDefaultStrategy('picky');
    await mesh.submitTask({ id: 'no', type: 't' });
    expect(await why('no')).toBe('no waits because strategy picky gives it to nobody now');
    hold.open();
  });
});

describe('why: handlers that wait', () => {
  test('for a reply, in their sleep, and for children', async () => {
    const { mesh, why } = await start();
    mesh.registerAgent({
      id: 'a',
      capabilities: ['w'],
      handler: async ({ task, request, sleep, submit }) => {
        if (task.id === 'ask') return request('deaf', 1, 5_000).catch(() => 'none');
        if (task.id === 'sleeper') return sleep(5_000);
        const kids = await Promise.all(
          ['k1', 'k2'].map((id) => submit({ id, type: 'kid', capabilities: ['none'] })),
        );
        return Promise.all(kids.map((kid) => kid.result()));
      },
    });
    for (const id of ['ask', 'sleeper', 'parent'])
      await mesh.submitTask({ id, type: 't', capabilities: ['w'] });
    expect(await why('ask')).toBe('ask waits for a reply of deaf');
    expect((await mesh.why('ask')).chain).toMatchObject([{ kind: 'reply', subject: 'deaf' }]);
    expect(await why('sleeper')).toBe('sleeper is running on a (it sleeps)');
    expect(await why('parent')).toBe(
      'parent waits for its child k1 (and 1 more), which waits because no agent may run it (needs none)',
    );
  });

  test('for a slot that another task has, or for the limit over all agents', async () => {
    const { mesh, clock, why } = await start();
    const hold = gate();
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, sleep }) => (task.id === 'napper' ? sleep(5) : hold.promise),
    });
    await mesh.submitTask({ id: 'napper', type: 't' });
    await clock.settle();
    await mesh.submitTask({ id: 'second', type: 't' });
    await mesh.assignTask({ id: 'pinned', type: 't' }, 'a');
    expect(await why('napper')).toBe('napper waits for a slot of a taken by second, which is running on a');
    expect(await why('pinned')).toMatch(
      /^pinned is assigned to a \(.*\), which waits for a slot of a taken by second, which is running on a$/,
    );
    hold.open();
  });
});

describe('why: time', () => {
  test('a dependency that nobody knows is named once', async () => {
    const { mesh, why } = await start();
    await mesh.submitTask({ id: 'd', type: 't', dependencies: ['ghost'] });
    await mesh.submitTask({ id: 'e', type: 't', dependencies: ['ghost', 'd'] });
    expect(await why('d')).toBe('d waits for task ghost (no such task is known)');
    expect(await why('e')).toMatch(/^e waits for task ghost \(no such task is known; and 1 more\)$/);
  });

  test('of a breaker and a delay, the later one', async () => {
    const { mesh, why } = await start({ breakers: { timeout: 200 } });
    mesh.registerAgent({ id: 'a', handler: () => 1 });
    mesh.breaker('api').forceState('open');
    await mesh.submitTask({ id: 'soon', type: 't', breaker: 'api' });
    await mesh.submitTask({ id: 'late', type: 't', breaker: 'api', delayMs: 60_000 });
    expect(await why('soon')).toBe('soon waits for breaker api');
    expect(await why('late')).toMatch(/^late is due in 599\d\d ms/);
  });
});
