import { afterEach, describe, expect, test } from 'vitest';
import {
  type Backend,
  CoordinationManager,
  type CoordinationOptions,
  EventBus,
  type Lease,
  memory,
} from '../../src/index.ts';
import { CoordinationError } from '../../src/core/errors.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { gate } from '../support/mesh.ts';

/** G2: one session is the single lease that carries everything; somebody has to keep it. */

const clock = createTestClock();
let seed = 0;
const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function start(options: CoordinationOptions = {}) {
  const events = new EventBus({ clock });
  const errors: string[] = [];
  events.on('system:error', ({ part, code }) => void errors.push(`${part} ${code}`));
  const mesh = new CoordinationManager({ clock, seed: ++seed, env: {}, ...options }, events);
  ends.push(async () => {
    const down = mesh.shutdown();
    await clock.advance(60_000);
    await down;
  });
  await mesh.initialize();
  return { mesh, events, errors };
}

/** A shared backend whose sessions answer as they are told. */
function trickyBackend() {
  const inner = memory({ shared: true });
  const calls = { open: 0, beat: 0, close: 0 };
  const answers: { beat?: () => unknown; open?: () => unknown } = {};
  const sessions = new Proxy(inner.sessions, {
    get(target, key: 'open' | 'beat' | 'close') {
      const member: unknown = Reflect.get(target, key, target);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        calls[key] += 1;
        const told = key === 'close' ? undefined : answers[key];
        return told === undefined ? (Reflect.apply(member, target, args) as unknown) : told();
      };
    },
  });
  const backend: Backend = { ...inner, sessions };
  return { backend, inner, calls, answers };
}

const away = (): never => {
  throw new CoordinationError('BACKEND_UNAVAILABLE', 'away');
};

function lossOf(lease: Lease): string | undefined {
  return lease.signal.aborted ? (lease.signal.reason as CoordinationError).code : undefined;
}

describe('a session on a shared backend', () => {
  test('G2: beats keep it for hours: tasks, locks and subscriptions go on, and health says so', async () => {
    const { backend, calls } = trickyBackend();
    const { mesh, errors } = await start({ backend });
    mesh.registerAgent({ id: 'a', handler: () => 'done' });
    const got: unknown[] = [];
    mesh.subscribe('b', ({ payload }) => void got.push(payload));
    const lease = await mesh.acquire('db');
    await clock.advance(3_600_000);
    const running = mesh.runTask({ type: 'x' });
    await mesh.sendMessage('a', 'b', 1);
    await clock.settle();
    expect(await running).toBe('done');
    expect(got).toEqual([1]);
    expect(lossOf(lease)).toBeUndefined();
    await expect(mesh.locks.tryAcquire('db')).resolves.toBeUndefined();
    expect(calls).toEqual({ open: 1, beat: 360, close: 0 });
    expect((await mesh.getHealthStatus()).components['session']).toMatchObject({ healthy: true });
    expect(errors).toEqual([]);
  });

  test('G2: the lease is renewed at a third, and the report says who is there', async () => {
    const { backend, inner, calls } = trickyBackend();
    const { mesh } = await start({ backend });
    mesh.registerAgent({ id: 'a', capabilities: ['c'], maxConcurrentTasks: 3, handler: () => 1 });
    await clock.advance(9_990);
    expect(calls.beat).toBe(0);
    await clock.advance(20);
    expect(calls.beat).toBe(1);
    const [known] = inner.sessions.list({ limit: 10 }).items;
    expect(known?.report).toMatchObject({
      pid: process.pid,
      load: { running: 0, slots: 3 },
      agents: [{ id: 'a', capabilities: ['c'], slots: 3, draining: false }],
    });
  });

  test('a lease that ran out unseen: locks are lost, then everything works in a new session', async () => {
    const { backend, inner, calls } = trickyBackend();
    const { mesh, errors } = await start({ backend });
    mesh.registerAgent({ id: 'a', handler: () => 'done' });
    const got: unknown[] = [];
    mesh.subscribe('b', ({ payload }) => void got.push(payload));
    mesh.subscribe('answers', async (message) => {
      if (message.payload !== 'all') await message.reply('pong');
    });
    const pong = mesh.request('a', 'answers', 1);
    await clock.settle();
    expect(await pong).toBe('pong');
    const lease = await mesh.acquire('db');
    const [before] = inner.sessions.list({ limit: 10 }).items;
    // As a loop that was blocked for longer than the lease finds it.
    inner.sessions.close(before?.session as never);
    const sent = mesh.sendMessage('a', 'b', 'meanwhile');
    await clock.settle();
    await expect(sent).resolves.toBeTypeOf('string');
    expect(lossOf(lease)).toMatch(/LEASE_LOST|SESSION_EXPIRED/);
    expect(calls.open).toBe(2);
    expect(errors).toEqual(['session SESSION_EXPIRED']);
    const running = mesh.runTask({ type: 'x' });
    const asked = mesh.request('a', 'answers', 2);
    await mesh.sendMessage('a', 'b', 'later');
    const { receivers } = await mesh.broadcast('somebody', 'all');
    await clock.settle();
    expect(await running).toBe('done');
    expect(await asked).toBe('pong');
    expect(got).toEqual(['meanwhile', 'later', 'all']);
    expect(receivers).toBe(3);
    await expect(mesh.acquire('db', { timeoutMs: 10 })).resolves.toBeDefined();
    expect((await mesh.getHealthStatus()).healthy).toBe(true);
  });

  test('the beat finds that it has run out, without anybody calling anything', async () => {
    const { backend, inner, calls } = trickyBackend();
    const { mesh } = await start({ backend });
    const lease = await mesh.acquire('db');
    inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
    await clock.advance(10_000);
    expect(calls.open).toBe(2);
    expect(lossOf(lease)).toMatch(/LEASE_LOST|SESSION_EXPIRED/);
  });

  test('no beat answered for two thirds: locks are given up before the store may pass them on; health says why; then it heals', async () => {
    const { backend, inner, calls, answers } = trickyBackend();
    const { mesh, errors } = await start({ backend });
    const close = inner.sessions.close.bind(inner.sessions);
    const [former] = inner.sessions.list({ limit: 1 }).items;
    const lease = await mesh.acquire('db');
    answers.beat = away;
    answers.open = away;
    await clock.advance(11_000);
    expect((await mesh.getHealthStatus()).components['session']).toMatchObject({
      healthy: false,
      error: expect.stringMatching(
        /^its beat failed with BACKEND_UNAVAILABLE; 9000 ms of its lease are left$/,
      ),
    });
    expect(lossOf(lease)).toBeUndefined();
    // As a store that is out of reach: it tells nobody of what ended.
    inner.sessions.close = () => ({ at: 0 as never });
    await clock.advance(9_001);
    expect(lossOf(lease)).toMatch(/LEASE_LOST|SESSION_EXPIRED/);
    inner.sessions.close = close;
    inner.sessions.close(former?.session as never);
    expect((await mesh.getHealthStatus()).error).toBe(
      'session: it is lost, and a new one could not be opened: BACKEND_UNAVAILABLE',
    );
    delete answers.beat;
    delete answers.open;
    await clock.advance(1_100);
    expect((await mesh.getHealthStatus()).healthy).toBe(true);
    expect(errors).toEqual(['session SESSION_EXPIRED']);
    // The former session keeps nothing for anybody.
    expect(inner.sessions.list({ limit: 10, state: 'alive' }).items).toHaveLength(1);
    expect(calls.close).toBe(1);
    await expect(mesh.locks.tryAcquire('db')).resolves.toBeDefined();
  });

  test('a beat that never answers counts as one that failed', async () => {
    const { backend, answers } = trickyBackend();
    const { mesh, errors } = await start({ backend });
    answers.beat = () => new Promise(() => undefined);
    await clock.advance(20_100);
    expect(errors).toEqual(['session SESSION_EXPIRED']);
    delete answers.beat;
    await clock.advance(10_000);
    expect((await mesh.getHealthStatus()).healthy).toBe(true);
  });

  test('what is asked for while there is no session waits for the next one, and is refused in the end', async () => {
    const { backend, inner, answers } = trickyBackend();
    const { mesh } = await start({ backend });
    answers.open = () => Promise.reject(new CoordinationError('BACKEND_UNAVAILABLE', 'away'));
    inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
    const early = mesh.sendMessage('a', 'b', 1).then(
      () => 'sent',
      (error: CoordinationError) => error.code,
    );
    await clock.advance(29_900);
    const late = mesh.sendMessage('a', 'b', 2).then(() => 'sent');
    await clock.advance(200);
    expect(await early).toBe('BACKEND_UNAVAILABLE');
    delete answers.open;
    await clock.advance(1_100);
    expect(await late).toBe('sent');
  });

  test('an answer to open that was lost is asked for again with the same boot', async () => {
    const { backend, inner, answers, calls } = trickyBackend();
    answers.open = () => {
      delete answers.open;
      throw new CoordinationError('OUTCOME_UNKNOWN', 'cut');
    };
    await start({ backend });
    expect(calls.open).toBe(2);
    expect(inner.sessions.list({ limit: 10 }).items).toHaveLength(1);
  });

  test('shutdown ends it: what it carries is free at once, and nothing beats any more', async () => {
    const { backend, inner, calls } = trickyBackend();
    const { mesh } = await start({ backend });
    const other = await start({ backend });
    const down = mesh.shutdown();
    await clock.advance(100);
    await down;
    expect(calls.close).toBe(1);
    expect(inner.sessions.list({ limit: 10, state: 'alive' }).items).toHaveLength(1);
    const { beat } = calls;
    await clock.advance(10_000);
    expect(calls.beat - beat).toBe(1);
    expect((await other.mesh.getHealthStatus()).healthy).toBe(true);
  });
});

describe('orders of the store', () => {
  test('a task that runs in one manager is cancelled through another: told at once, by a hint', async () => {
    const { backend } = trickyBackend();
    const { mesh: here } = await start({ backend });
    const { mesh: there } = await start({ backend });
    const reasons: unknown[] = [];
    there.registerAgent({
      id: 'b',
      handler: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason);
            reject(signal.reason as Error);
          });
        }),
    });
    const task = await here.submitTask({ type: 'x' });
    const result = task.result().catch((error: CoordinationError) => error.code);
    await clock.advance(1_100);
    expect(there.tasks.getSchedulingMetrics().running).toBe(1);
    await here.cancelTask(task.id, 'enough');
    await clock.advance(10);
    expect(await result).toBe('TASK_CANCELLED');
    expect(reasons).toEqual([expect.objectContaining({ code: 'TASK_CANCELLED' })]);
    expect(there.tasks.getSchedulingMetrics().running).toBe(0);
  });

  test('what a beat brings back is obeyed', async () => {
    const { backend, inner, answers } = trickyBackend();
    const { mesh } = await start({ backend });
    const stopped: unknown[] = [];
    mesh.registerAgent({
      id: 'a',
      handler: ({ signal }) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            stopped.push((signal.reason as CoordinationError).code);
            resolve(undefined);
          });
        }),
    });
    const task = await mesh.submitTask({ type: 'x' });
    task.result().catch(() => undefined);
    await clock.settle();
    const [record] = inner.tasks.get([task.id]);
    const order = { kind: 'cancel', task: task.id, token: record?.token, reason: 'told by a beat' };
    answers.beat = () => ({ at: 0, status: 'alive', expiresAt: 0, orders: [order] });
    await clock.advance(9_990);
    expect(stopped).toEqual([]);
    await clock.advance(20);
    expect(stopped).toEqual(['TASK_CANCELLED']);
  });

  test('a claim that another session took over is dropped: its handler is told, and its result is not stored', async () => {
    const { backend, inner } = trickyBackend();
    const { mesh } = await start({ backend });
    const open = gate();
    let told: unknown;
    mesh.registerAgent({
      id: 'a',
      handler: async ({ signal }) => {
        await open.promise;
        told = signal.reason;
      },
    });
    const task = await mesh.submitTask({ type: 'x' });
    await clock.settle();
    mesh.tasks.obey([{ kind: 'taken', task: task.id, token: 1 as never }]);
    expect(mesh.tasks.getSchedulingMetrics().running).toBe(1);
    const [record] = inner.tasks.get([task.id]);
    mesh.tasks.obey([{ kind: 'taken', task: task.id, token: record?.token as never }]);
    open.open();
    await clock.settle();
    expect(told).toMatchObject({ message: expect.stringContaining('taken') });
    expect(mesh.tasks.getSchedulingMetrics().running).toBe(0);
    expect((await task.status()).status).toBe('running');
  });
});

test('G2: what comes between the end of a session and the next one, single calls too, is carried out in the next one', async () => {
  const backend = memory({ shared: true });
  const { mesh } = await start({ backend });
  mesh.registerAgent({ id: 'a', handler: () => 'done' });
  const sessions = backend.sessions;
  for (const { session } of (await sessions?.list({ limit: 10 }))?.items ?? [])
    await sessions?.close(session);
  const one = mesh.runTask({ type: 't' });
  const many = mesh.submitTasks([{ type: 't' }, { type: 't' }]);
  const lock = mesh.acquire('r');
  await clock.advance(40_000);
  expect(await one).toBe('done');
  expect(await Promise.all((await many).map((handle) => handle.result()))).toEqual(['done', 'done']);
  await (await lock).release();
});
