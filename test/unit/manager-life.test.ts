import { createServer } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import {
  type Backend,
  CoordinationManager,
  type CoordinationOptions,
  EventBus,
  memory,
  type MemoryBackend,
} from '../../src/index.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { gate } from '../support/mesh.ts';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

function create(options: CoordinationOptions = {}) {
  const clock = createTestClock();
  const events = new EventBus({ clock });
  const seen: string[] = [];
  events.tap(({ name, payload }) => {
    const code = name === 'system:error' ? ` ${(payload as { code: string }).code}` : '';
    if (name.startsWith('system:')) seen.push(name + code);
  });
  const mesh = new CoordinationManager({ clock, seed: 5, env: {}, ...options }, events);
  const down = async (): Promise<void> => {
    const over = mesh.shutdown();
    await clock.advance(60_000);
    await over;
  };
  ends.push(down);
  return { mesh, clock, seen, down };
}

/** A backend that counts what is opened and closed. */
function counting(inner: MemoryBackend, start: Backend['start'] = (runtime) => inner.start(runtime)) {
  const counts = { starts: 0, stops: 0, opened: 0, closed: 0, checks: 0 };
  const backend: Backend = {
    ...inner,
    sessions: {
      open: (request) => {
        counts.opened += 1;
        return inner.sessions.open(request);
      },
      close: (session) => {
        counts.closed += 1;
        return inner.sessions.close(session);
      },
      beat: (session, report) => inner.sessions.beat(session, report),
      list: (page) => inner.sessions.list(page),
    },
    start: (runtime) => {
      counts.starts += 1;
      return start(runtime);
    },
    check: () => {
      counts.checks += 1;
      return inner.check();
    },
    stop: () => {
      counts.stops += 1;
      inner.stop();
    },
  };
  return { backend, counts };
}

describe('a start that does not come to its end', () => {
  test('G6: shutdown while it starts: initialize rejects with STOPPED, nothing is accepted, everything is closed', async () => {
    const inner = memory();
    const open = gate();
    const { backend, counts } = counting(inner, async (runtime) => {
      await open.promise;
      return inner.start(runtime);
    });
    const { mesh, seen } = create({ backend });
    const starting = mesh.initialize().then(
      () => 'started',
      (error: { code: string }) => error.code,
    );
    const down = mesh.shutdown();
    open.open();
    expect(await starting).toBe('STOPPED');
    for (let i = 0; i < 5; i++)
      await expect(mesh.submitTask({ type: 'x' })).rejects.toMatchObject({ code: 'STOPPED' });
    await down;
    await expect(mesh.submitTask({ type: 'x' })).rejects.toMatchObject({ code: 'STOPPED' });
    expect(counts).toMatchObject({ starts: 1, stops: 1, opened: 0 });
    expect(seen).toEqual([]);
  });

  test('G6: shutdown in the last step of a start: it comes to no end either, and its session is closed', async () => {
    const inner = memory();
    const open = gate();
    const { backend, counts } = counting(inner);
    const messages: object = new Proxy(inner.messages, {
      get(target, key) {
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== 'function') return member;
        if (key !== 'subscribe') return member.bind(target) as unknown;
        return (...args: unknown[]) =>
          open.promise.then(() => Reflect.apply(member, target, args) as unknown);
      },
    });
    const { mesh, clock, seen } = create({ backend: { ...backend, messages } as Backend });
    mesh.registerAgent({ id: 'a', handler: () => 1 });
    const starting = mesh.initialize().then(
      () => 'started',
      (error: { code: string }) => error.code,
    );
    await clock.settle();
    expect(counts.opened).toBe(1);
    const down = mesh.shutdown();
    open.open();
    expect(await starting).toBe('STOPPED');
    await expect(mesh.submitTask({ type: 'x' })).rejects.toMatchObject({ code: 'STOPPED' });
    await down;
    expect(counts).toMatchObject({ starts: 1, stops: 1, opened: 1, closed: 1 });
    expect(seen).toEqual([]);
  });

  test('G6: one that failed late gives back its session and its backend, and may be tried again', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { readonly port: number };
    const { backend, counts } = counting(memory());
    const { mesh, seen } = create({ backend, env: { AGENTMESH_HEALTH_PORT: String(port) } });
    for (let i = 0; i < 3; i++) await expect(mesh.initialize()).rejects.toThrow('EADDRINUSE');
    expect(counts).toMatchObject({ starts: 3, stops: 3, opened: 3, closed: 3 });
    await expect(mesh.submitTask({ type: 'x' })).rejects.toMatchObject({ code: 'NOT_STARTED' });
    await new Promise((resolve) => server.close(resolve));
    await mesh.initialize();
    mesh.registerAgent({ id: 'a', handler: () => 'done' });
    expect(await mesh.runTask({ type: 'x' })).toBe('done');
    await mesh.shutdown();
    expect(counts).toMatchObject({ starts: 4, stops: 4, opened: 4, closed: 4 });
    expect(seen).toEqual(['system:ready', 'system:shutdown']);
  });

  test('one that was never started opens and stops nothing', async () => {
    const { backend, counts } = counting(memory());
    const { mesh, down } = create({ backend });
    await down();
    expect(counts).toEqual({ starts: 0, stops: 0, opened: 0, closed: 0, checks: 0 });
    await expect(mesh.initialize()).rejects.toMatchObject({ code: 'STOPPED' });
  });
});

describe('before and after', () => {
  test('agents that come before the start are no error, get broadcasts, and work from the start on', async () => {
    const { mesh, clock, seen } = create();
    mesh.registerAgent({ id: 'a', handler: () => 'done' });
    mesh.registerAgent({ id: 'b', capabilities: ['never'], handler: () => 'no' });
    await clock.advance(5_000);
    expect(seen).toEqual([]);
    await mesh.initialize();
    expect(await mesh.broadcast('outside', 'hello')).toEqual({ receivers: 2 });
    expect(await mesh.runTask({ type: 'x' })).toBe('done');
    expect(seen).toEqual(['system:ready']);
  });

  test('G6: after shutdown its session is closed and health asks nobody any more', async () => {
    const inner = memory();
    const { backend, counts } = counting(inner);
    const { mesh, clock, down } = create({ backend });
    await mesh.initialize();
    await clock.advance(10_000);
    const { checks } = counts;
    expect(checks).toBeGreaterThan(5);
    await down();
    expect(counts).toMatchObject({ opened: 1, closed: 1, stops: 1 });
    inner.start({ clock } as never);
    expect(inner.sessions.list({ limit: 10, state: 'alive' }).items).toEqual([]);
    await clock.advance(60_000);
    expect(counts.checks).toBe(checks);
  });
});
