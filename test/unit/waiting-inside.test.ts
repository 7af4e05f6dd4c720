import { afterEach, expect, test } from 'vitest';
import { type AgentHandle, CoordinationManager, type CoordinationError } from '../../src/index.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { gate } from '../support/mesh.ts';

/** What a handler waits for without its context must not wait for the handler. */

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

type Inside = (mesh: CoordinationManager, agent: AgentHandle) => Promise<unknown>;

/** A mesh with one agent of two slots: tasks of type `x` do this, others end when the gate opens. */
async function start(inside: Inside) {
  const clock = createTestClock();
  const mesh = await CoordinationManager.start({ clock, seed: 5, env: {}, scheduling: { graceMs: 60_000 } });
  const open = gate();
  ends.push(async () => {
    open.open();
    const down = mesh.shutdown();
    await clock.advance(200_000);
    await down;
  });
  const agent = mesh.registerAgent({
    id: 'a',
    maxConcurrentTasks: 2,
    handler: ({ task }) => (task.type === 'x' ? inside(mesh, agent) : open.promise),
  });
  await mesh.submitTask({ type: 'other' });
  const outcomes: string[] = [];
  const task = await mesh.submitTask({ type: 'x' });
  void task.result().then(
    () => outcomes.push('done'),
    (error: CoordinationError) => outcomes.push((error.cause as CoordinationError).code),
  );
  await clock.settle();
  return { mesh, clock, open, outcomes };
}

test('onIdle inside a handler is refused at once: its own task would have to end first', async () => {
  const { outcomes } = await start((mesh) => mesh.onIdle());
  expect(outcomes).toEqual(['NOT_SUPPORTED']);
});

test.each<[string, Inside]>([
  ['handle.drain()', (_, agent) => agent.drain()],
  ['tasks.drain()', (mesh) => mesh.tasks.drain()],
])('%s inside a handler waits for all other work, not for its own', async (_, inside) => {
  const { clock, open, outcomes } = await start(inside);
  await clock.advance(10_000);
  expect(outcomes).toEqual([]);
  open.open();
  await clock.settle();
  expect(outcomes).toEqual(['done']);
});

test.each<[string, Inside]>([
  ['unregisterAgent(self)', (mesh) => mesh.unregisterAgent('a')],
  ['handle.leave()', (_, agent) => agent.leave()],
])(
  '%s inside a handler waits for the other work of the agent, then hears that its own is stopped too',
  async (_, inside) => {
    let told: unknown;
    const { mesh, clock, open } = await start((...given) => {
      const left = inside(...given);
      left.catch((error: unknown) => (told = error));
      return left;
    });
    await clock.advance(10_000);
    expect(told).toBeUndefined();
    open.open();
    await clock.settle();
    expect(told).toMatchObject({ message: expect.stringContaining('agent a left') as string });
    mesh.registerAgent({ id: 'b', handler: () => 'elsewhere' });
    await clock.settle();
    expect((await mesh.queues.list({ state: ['completed'] })).items.map(({ type }) => type)).toContain('x');
    await expect(mesh.acquireResource('r', 'a')).rejects.toMatchObject({ code: 'UNKNOWN_AGENT' });
  },
);

test('calls from outside go on waiting for everything that runs', async () => {
  const { mesh, clock, open } = await start(() => Promise.resolve());
  const drained: string[] = [];
  void mesh.onIdle().then(() => drained.push('idle'));
  void mesh.tasks.drain().then(() => drained.push('drained'));
  await clock.advance(10_000);
  expect(drained).toEqual([]);
  open.open();
  await clock.settle();
  expect(drained.toSorted()).toEqual(['drained', 'idle']);
});
