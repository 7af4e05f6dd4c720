import { expect, test } from 'vitest';
import { memory } from '../../src/backends/memory/memory.ts';
import { BoundedSet, MOST_DEPARTED } from '../../src/core/bounded-set.ts';
import { CoordinationManager } from '../../src/index.ts';
import { AgentRegistry } from '../../src/scheduler/agent-registry.ts';
import { AgentPool } from '../../src/scheduler/candidate-pool.ts';
import { normaliseAgent } from '../../src/scheduler/normalise.ts';
import { TaskHistory } from '../../src/scheduler/task-history.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** What has passed through leaves nothing behind that grows with it. */

test('a bounded set keeps the newest; adding one again makes it the newest', () => {
  const set = new BoundedSet<number>(3);
  for (const n of [1, 2, 3, 1, 4]) set.add(n);
  expect([1, 2, 3, 4].map((n) => set.has(n))).toEqual([true, false, true, true]);
  set.delete(1);
  expect([set.has(1), set.size]).toEqual([false, 2]);
});

test('agents that come and leave keep no mailbox, and only the last of their ids are refused', async () => {
  const clock = createTestClock();
  const backend = memory();
  const mesh = await CoordinationManager.start({ clock, seed: 5, env: {}, backend, metrics: false });
  const count = MOST_DEPARTED + 100;
  for (let i = 0; i < count; i++) {
    mesh.registerAgent({ id: `a${i}`, handler: () => 1 });
    await mesh.unregisterAgent(`a${i}`);
  }
  expect(backend.messages.list({}, { limit: 10 }).items).toEqual([]);
  const refused = (id: string): Promise<unknown[]> =>
    Promise.all(
      [mesh.acquireResource('r', id), mesh.sendMessage(id, 'x', 1), mesh.assignTask({ type: 'x' }, id)].map(
        (call) =>
          call.then(
            () => 'welcome',
            (error: { code: string }) => error.code,
          ),
      ),
    );
  expect(await refused(`a${count - 1}`)).toEqual(['UNKNOWN_AGENT', 'UNKNOWN_AGENT', 'UNKNOWN_AGENT']);
  expect(await refused('a0')).toEqual(['welcome', 'welcome', 'welcome']);
  const down = mesh.shutdown();
  await clock.advance(60_000);
  await down;
});

test('messages that expire in very many mailboxes are gone with the next sweep, and their mailboxes with them', async () => {
  const clock = createTestClock();
  const backend = memory();
  const mesh = await CoordinationManager.start({ clock, seed: 5, env: {}, backend, metrics: false });
  for (let i = 0; i < 20_000; i++) await mesh.sendMessage('a', `b${i}`, 1, { expiresInMs: 500 + (i % 7) });
  await mesh.sendMessage('a', 'b0', 1, { expiresInMs: 60_000 });
  await mesh.sendMessage('a', 'b1', 1, { expiresInMs: 100 });
  await clock.advance(1_100);
  // One by one, a thousand a second, it would take 20.
  expect(await mesh.messages.stats()).toMatchObject({ published: 20_002, expired: 20_001, waiting: 1 });
  expect(backend.messages.list({}, { limit: 10 }).items).toHaveLength(1);
  await clock.advance(60_000);
  expect(await mesh.messages.stats()).toMatchObject({ expired: 20_002, waiting: 0 });
  expect(backend.messages.list({}, { limit: 10 }).items).toEqual([]);
  const down = mesh.shutdown();
  await clock.advance(60_000);
  await down;
});

test('very many agents are listed without looking at all of them each time one comes', () => {
  const history = new TaskHistory(10);
  const registry = new AgentRegistry(
    createTestClock(),
    new AgentPool((type, agent) => history.of(type, agent)),
    'alone',
  );
  const { hosted } = registry;
  for (let i = 0; i < 100; i++) registry.named(`x${i}`);
  registry.register(normaliseAgent({ id: 'x1', handler: () => 1 }, 1));
  registry.register(normaliseAgent({ id: 'y', handler: () => 1 }, 1));
  expect(registry.hosted.toSorted()).toEqual(
    [...Array.from({ length: 100 }, (_, i) => `x${i}`), 'y'].toSorted(),
  );
  const before = registry.hosted;
  registry.named('z');
  expect(registry.hosted).toBe(before);
  expect(hosted).toHaveLength(100);
  registry.drain(registry.require('x3'));
  registry.remove(registry.require('x4'));
  registry.named('x3');
  expect(registry.hosted.filter((id) => ['x3', 'x4'].includes(id))).toEqual([]);
  expect(registry.hosted).toHaveLength(100);
});
