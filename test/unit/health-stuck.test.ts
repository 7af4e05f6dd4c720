import { describe, expect, test } from 'vitest';
import { type Backend, CoordinationError, memory } from '../../src/index.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { intercept } from '../../src/testing/wrappers.ts';
import { createMesh, type MeshOptions } from '../support/started-mesh.ts';

/** Whatever stands still is found within 2 s of its due time, with the part and the reason. */

/** A backend of whose ports one method never answers while told so. */
function hanging(port: 'tasks' | 'messages' | 'locks', method: string, shared = false) {
  const inner = memory({ shared });
  const state = { hangs: false };
  const wrapped: object = new Proxy(inner[port], {
    get(target, key) {
      const member: unknown = Reflect.get(target, key, target);
      if (port === 'locks' && (key === 'quick' || key === 'live')) return undefined;
      if (typeof member !== 'function') return member;
      if (key !== method) return member.bind(target) as unknown;
      return (...args: unknown[]) =>
        state.hangs ? new Promise(() => undefined) : (Reflect.apply(member, target, args) as unknown);
    },
  });
  const backend = { ...inner, [port]: wrapped } as unknown as Backend;
  return { backend, state };
}

async function start(options: MeshOptions) {
  const { mesh, clock, events } = createMesh(options);
  const problems: (readonly string[])[] = [];
  events.on('system:healthcheck', (verdict) => void problems.push(verdict.problems));
  await mesh.initialize();
  return { mesh, clock, problems };
}

describe('a part that stands still', () => {
  test('a task sweep that was asked for while nothing was due, and never answers', async () => {
    const { backend, state } = hanging('tasks', 'sweep');
    const { mesh, clock, problems } = await start({ backend });
    mesh.registerAgent({ id: 'a', handler: () => 1 });
    await clock.advance(3_000);
    state.hangs = true;
    await mesh.performMaintenance();
    const task = await mesh.submitTask({ type: 'x', delayMs: 50 });
    await clock.advance(2_100);
    expect((await task.status()).status).toBe('pending');
    expect(problems.at(-1)?.join()).toMatch(
      /^scheduler: its sweep, or the record of what ended, is overdue for \d+ ms$/,
    );
    expect(mesh.tasks.overdueMs()).toBeGreaterThanOrEqual(2_000);
  });

  test('a store across a network that doesn’t store how tasks ended', async () => {
    const store = networked<Backend>(memory({ shared: true }));
    let isFull = true;
    const backend = intercept(store, async (call) => {
      if (call.method === 'settle' && isFull)
        throw new CoordinationError('BACKEND_UNAVAILABLE', 'The disk is full');
      return call.send();
    });
    const far = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
    const { mesh, clock, problems } = await start({ backend, clock: far });
    mesh.registerAgent({ id: 'a', handler: () => 1 });
    const stored = mesh.submitTask({ type: 'x' });
    await clock.advance(5_000);
    expect(problems.at(-1)?.join()).toMatch(/^scheduler: its sweep, or the record of what ended, is overdue/);
    isFull = false;
    await clock.advance(10_000);
    expect(problems.at(-1)).toEqual([]);
    const task = (await stored).status();
    await clock.advance(1_000);
    expect((await task).status).toBe('completed');
  });

  test('a sweep of messages that never answers', async () => {
    const { backend, state } = hanging('messages', 'sweep');
    const { mesh, clock, problems } = await start({ backend });
    state.hangs = true;
    await mesh.sendMessage('a', 'offline', 1, { expiresInMs: 100 });
    await clock.advance(3_100);
    expect(problems.at(-1)?.join()).toMatch(/^messages: its chores are overdue for \d+ ms$/);
  });

  test('a sweep of messages that failed is tried again', async () => {
    const backend = memory();
    const { mesh, clock } = await start({ backend });
    const sweep = backend.messages.sweep.bind(backend.messages);
    let failures = 0;
    backend.messages.sweep = (...args) => {
      if (failures++ < 3) throw new Error('not now');
      return sweep(...args);
    };
    await mesh.sendMessage('a', 'offline', 1, { expiresInMs: 100 });
    await clock.advance(6_000);
    expect(failures).toBeGreaterThan(3);
    expect(await mesh.messages.stats()).toMatchObject({ waiting: 0, expired: 1 });
  });

  test('messages that are asked for and never come', async () => {
    const { backend, state } = hanging('messages', 'receive');
    const { mesh, clock, problems } = await start({ backend });
    state.hangs = true;
    mesh.subscribe('b', () => undefined);
    await mesh.sendMessage('a', 'b', 1);
    await clock.advance(2_100);
    expect(problems.at(-1)?.join()).toMatch(/^messages: its chores are overdue for \d+ ms$/);
  });

  test('leases whose renewal is never answered', async () => {
    const { backend, state } = hanging('locks', 'keep');
    const { mesh, clock, problems } = await start({ backend });
    state.hangs = true;
    await mesh.acquire('r', { leaseMs: 3_000 });
    await clock.advance(1_000);
    expect(problems.at(-1)).toEqual([]);
    await clock.advance(2_100);
    expect(problems.at(-1)?.join()).toMatch(/^resources: its renewals are overdue for \d+ ms$/);
  });

  test('what is only slow is healthy, and after a shutdown nothing is overdue', async () => {
    const { mesh, clock, problems } = await start({});
    mesh.registerAgent({ id: 'a', handler: () => 1 });
    await mesh.submitTask({ type: 'x', delayMs: 3_600_000 });
    await mesh.sendMessage('a', 'offline', 1);
    await clock.advance(600_000);
    expect(problems.flat()).toEqual([]);
    const down = mesh.shutdown();
    await clock.advance(10_000_000);
    await down;
    expect([mesh.tasks.overdueMs(), mesh.messages.overdueMs(), mesh.locks.overdueMs()]).toEqual([0, 0, 0]);
  });
});
