import { describe, expect, test } from 'vitest';
import type { Backend } from '../../src/core/ports/backend.ts';
import { CoordinationManager, type CoordinationOptions } from '../../src/index.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { startFleet } from '../support/fleet.ts';

/** What a process does with tasks whose agent, or whose next attempt, is another one's. */

type Reach = 'shared' | 'far';
const REACHES: readonly Reach[] = ['shared', 'far'];

/** Processes over one store, in reach as of one process or across a network. */
async function fleet(reach: Reach, size: number, options: CoordinationOptions = {}) {
  const { clock, meshes } = await startFleet(
    size,
    (memory) => (reach === 'far' ? networked<Backend>(memory) : memory),
    options,
  );
  /** Resolves with what a promise comes to in this time; `'open'`: nothing yet. */
  const after = async (ms: number, promise: Promise<unknown>): Promise<unknown> => {
    let outcome: unknown = 'open';
    void promise.then(
      (value) => (outcome = value),
      (error: { readonly code?: string }) => (outcome = error.code),
    );
    for (let left = ms; left > 0; left -= 500) await clock.advance(Math.min(500, left));
    return outcome;
  };
  return { after, meshes };
}

/** A handler that gives up when it is told to. */
function untilAborted({ signal }: { readonly signal: AbortSignal }): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error));
  });
}

describe.each(REACHES)('an agent that another process has (%s)', (reach) => {
  test('gets what is assigned to it here, before and after it is registered there', async () => {
    const { after, meshes } = await fleet(reach, 3);
    const [here, there, third] = meshes as [CoordinationManager, CoordinationManager, CoordinationManager];
    const early = here.assignTask({ id: 'early', type: 't' }, 'b');
    expect(await after(2_500, early)).toMatchObject({ id: 'early' });
    expect((await here.why('early')).sentence).toBe(
      'early waits because no agent may run it (only b, which is not registered in this process: it is left to the one that has it)',
    );
    there.registerAgent({ id: 'b', handler: ({ task }) => `${task.id} at b` });
    expect(await after(2_500, (await early).result())).toBe('early at b');
    for (const id of ['l1', 'l2', 'l3']) {
      const late = here.assignTask({ id, type: 't' }, 'b');
      expect(
        await after(
          2_500,
          late.then((task) => task.result()),
        ),
      ).toBe(`${id} at b`);
    }
    // What a third one submits for it isn't raced for either.
    const only = third.submitTask({ id: 'only', type: 't', agents: { only: 'b' } });
    expect(
      await after(
        2_500,
        only.then((task) => task.result()),
      ),
    ).toBe('only at b');
    expect(here.tasks.getSchedulingMetrics().agents).toBe(0);
  });

  test('gets what is moved to it, waiting or running', async () => {
    const { after, meshes } = await fleet(reach, 2);
    const [here, there] = meshes as [CoordinationManager, CoordinationManager];
    here.registerAgent({
      id: 'a',
      capabilities: ['only a has'],
      maxConcurrentTasks: 1,
      handler: untilAborted,
    });
    const records = ['runs', 'waits'].map((id) => ({ id, type: 't', capabilities: ['only a has'] }));
    await after(500, here.submitTasks(records));
    there.registerAgent({ id: 'b', maxConcurrentTasks: 1, handler: ({ task }) => `${task.id} at b` });
    for (const id of ['waits', 'runs']) {
      await after(1_000, here.tasks.moveTask(id, 'b'));
      expect(
        await after(
          3_000,
          here.tasks.handle(id).then((task) => task.result()),
        ),
      ).toBe(`${id} at b`);
    }
  });

  test('who answers for one from outside registers it', async () => {
    const { after, meshes } = await fleet(reach, 2);
    const [here, there] = meshes as [CoordinationManager, CoordinationManager];
    there.registerAgent({ id: 'outside' });
    const told = there.events.waitFor('task:assigned', { timeoutMs: 10_000 });
    const task = here.assignTask({ id: 'x', type: 't' }, 'outside');
    expect(await after(2_500, told)).toMatchObject({ taskId: 'x', agentId: 'outside' });
    await after(500, there.completeTask('x', 'answered'));
    expect(
      await after(
        2_500,
        task.then((one) => one.result()),
      ),
    ).toBe('answered');
  });
});

describe('what still runs when a shutdown has waited long enough', () => {
  const shutdown = { drainMs: 1_000 };
  /** Runs a task with one attempt on a process that is shut down; the result is that of the other process. */
  async function replaced(reach: Reach, options: CoordinationOptions) {
    const { after, meshes } = await fleet(reach, 2, options);
    const [former, next] = meshes as [CoordinationManager, CoordinationManager];
    former.registerAgent({
      id: 'a',
      handler: untilAborted,
    });
    const task = await next.submitTask({ id: 'long', type: 't', retry: false });
    await after(2_500, Promise.resolve());
    expect((await task.status()).status).toBe('running');
    next.registerAgent({ id: 'b', handler: ({ attempt }) => `attempt ${attempt} at b` });
    expect(await after(2_000, former.shutdown())).toBe(undefined);
    return after(2_500, task.result());
  }

  test.each(REACHES)('runs elsewhere at once, its attempt not counted (%s)', async (reach) => {
    expect(await replaced(reach, { shutdown })).toBe('attempt 1 at b');
  });

  test.each(REACHES)('has failed where `then` is abort (%s)', async (reach) => {
    expect(await replaced(reach, { shutdown: { ...shutdown, then: 'abort' } })).toBe('TASK_FAILED');
  });

  test('has failed in a process of its own, unless it is to be given back', async () => {
    for (const [then, settled] of [
      [undefined, 'task:failed'],
      ['release', 'task:released'],
    ] as const) {
      const clock = createTestClock();
      const mesh = new CoordinationManager({
        clock,
        env: {},
        shutdown: then === undefined ? shutdown : { ...shutdown, then },
      });
      await mesh.initialize();
      const heard: string[] = [];
      mesh.events.tap(({ name }) => void heard.push(name));
      mesh.registerAgent({
        id: 'a',
        handler: untilAborted,
      });
      await mesh.submitTask({ type: 't' });
      await clock.advance(10);
      const over = mesh.shutdown();
      await clock.advance(60_000);
      await over;
      expect(heard.filter((name) => name === 'task:failed' || name === 'task:released')).toEqual([settled]);
    }
  });
});
