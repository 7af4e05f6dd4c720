import { createServer } from 'node:net';
import { CoordinationError } from '../../src/core/errors.ts';
import { describe, expect, test, vi } from 'vitest';
import { type Backend, CoordinationManager, memory, type MemoryBackend } from '../../src/index.ts';
import { gate } from '../support/mesh.ts';
import { createMesh, type MeshOptions, startMesh } from '../support/started-mesh.ts';

function create(options: MeshOptions = {}) {
  const { mesh, clock, events, down } = createMesh(options);
  const seen: string[] = [];
  events.tap(({ name, payload }) => {
    const code = name === 'system:error' ? ` ${(payload as { code: string }).code}` : '';
    if (name.startsWith('system:')) seen.push(name + code);
  });
  return { mesh, clock, events, seen, down };
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

/** A port of messages that refuses the nth membership. */
function refusingOnce(inner: MemoryBackend['messages'], nth: number): MemoryBackend['messages'] {
  let calls = 0;
  return new Proxy(inner, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key, target);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        if (key === 'subscribe' && ++calls === nth) throw new Error('refused');
        return Reflect.apply(member, target, args) as unknown;
      };
    },
  });
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

  test('G6: one that failed in its very last step is undone as well, and may be tried again', async () => {
    const { backend, counts } = counting(memory());
    const { mesh, clock, events } = create({ backend });
    const emit = vi.spyOn(events, 'emit').mockImplementationOnce((name: string) => {
      throw new Error(`${name}: not yet`);
    });
    await expect(mesh.initialize()).rejects.toThrow('system:ready: not yet');
    expect(emit).toHaveBeenCalledTimes(1);
    expect(counts).toMatchObject({ starts: 1, stops: 1, opened: 1, closed: 1 });
    await expect(mesh.submitTask({ type: 'x' })).rejects.toMatchObject({ code: 'NOT_STARTED' });
    const { checks } = counts;
    await clock.advance(10_000);
    expect(counts.checks).toBe(checks);
    await mesh.initialize();
    mesh.registerAgent({ id: 'a', handler: () => 'done' });
    expect(await mesh.runTask({ type: 'x' })).toBe('done');
    await mesh.shutdown();
  });

  describe('when the second of two agents can’t be announced', () => {
    async function startInVain() {
      const inner = memory({ shared: true });
      const messages = refusingOnce(inner.messages, 2);
      const world = create({ backend: { ...inner, messages } });
      world.mesh.registerAgent({ id: 'a', handler: () => 1 });
      world.mesh.registerAgent({ id: 'b', handler: () => 1 });
      await expect(world.mesh.initialize()).rejects.toThrow('refused');
      return world;
    }

    test('the next start announces both, in its own session', async () => {
      const { mesh } = await startInVain();
      await mesh.initialize();
      expect(await mesh.broadcast('outside', 1)).toEqual({ receivers: 2 });
    });

    test('G6: giving it up leaves no timer behind', async () => {
      const { clock, down } = await startInVain();
      await down();
      await clock.advance(60_000);
      expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    });
  });

  test('one manager that had to start twice does not stop the backend of another', async () => {
    const backend = memory({ shared: true });
    const { mesh: other } = create({ backend });
    await other.initialize();
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { readonly port: number };
    const { mesh, down } = create({ backend, env: { AGENTMESH_HEALTH_PORT: String(port) } });
    await expect(mesh.initialize()).rejects.toThrow('EADDRINUSE');
    await new Promise((resolve) => server.close(resolve));
    await mesh.initialize();
    await down();
    expect(backend.check()).toEqual({ healthy: true });
    other.registerAgent({ id: 'a', handler: () => 'done' });
    expect(await other.runTask({ type: 'x' })).toBe('done');
  });

  test('one that was never started opens and stops nothing', async () => {
    const { backend, counts } = counting(memory());
    const { mesh, down } = create({ backend });
    await down();
    expect(counts).toEqual({ starts: 0, stops: 0, opened: 0, closed: 0, checks: 0 });
    await expect(mesh.initialize()).rejects.toMatchObject({ code: 'STOPPED' });
  });
});

describe('G6: shutdown of a mesh whose store is gone', () => {
  const gone = new CoordinationError('BACKEND_UNAVAILABLE', 'gone');
  /** A shared backend whose ports answer with promises, and as told from then on. */
  function leaving(answer: () => Promise<unknown>) {
    const inner = memory({ shared: true });
    const state = { isGone: false };
    const port = <P extends object>(whole: P): P =>
      new Proxy(whole, {
        get(target, key) {
          const member: unknown = Reflect.get(target, key, target);
          if (key === 'quick' || key === 'live') return undefined;
          if (typeof member !== 'function') return member;
          return async (...args: unknown[]) =>
            state.isGone ? answer() : (Reflect.apply(member, target, args) as unknown);
        },
      });
    const { tasks, locks, messages, sessions } = inner;
    const ports = {
      tasks: port(tasks),
      locks: port(locks),
      messages: port(messages),
      sessions: port(sessions),
    };
    return { state, backend: { ...inner, ...ports } };
  }

  test.each([
    ['refuses everything', 0, () => Promise.reject(gone)],
    ['refuses everything, so that the session was lost', 25_000, () => Promise.reject(gone)],
    ['never answers', 0, () => new Promise(() => undefined)],
    ['never answers, so that the session was lost', 25_000, () => new Promise(() => undefined)],
  ])('it %s: it comes to its end, and nothing is left', async (_, goneForMs, answer) => {
    const { backend, state } = leaving(answer);
    const { mesh, clock } = create({ backend });
    await mesh.initialize();
    mesh.registerAgent({
      id: 'a',
      handler: ({ signal }) => new Promise((resolve) => signal.addEventListener('abort', resolve)),
    });
    mesh.subscribe('b', () => undefined);
    await mesh.acquireResource('r', 'x');
    await mesh.submitTask({ type: 't' });
    await clock.settle();
    state.isGone = true;
    await clock.advance(goneForMs);
    let isDown = false;
    const down = mesh.shutdown().then(() => {
      isDown = true;
    });
    await clock.advance(45_000);
    expect(isDown).toBe(true);
    await down;
    await clock.advance(60_000);
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('agents that leave', () => {
  test('before the start: they are gone without an error, and refused after it', async () => {
    const { mesh } = create();
    mesh.registerAgent({ id: 'a', handler: () => 'done' });
    await mesh.unregisterAgent('a');
    await mesh.initialize();
    await expect(mesh.acquireResource('r', 'a')).rejects.toMatchObject({ code: 'UNKNOWN_AGENT' });
    await expect(mesh.sendMessage('a', 'b', 1)).rejects.toMatchObject({ code: 'UNKNOWN_AGENT' });
    expect(await mesh.broadcast('outside', 1)).toEqual({ receivers: 0 });
    mesh.registerAgent({ id: 'a', handler: () => 'done' });
    await expect(mesh.acquireResource('r', 'a')).resolves.toBeDefined();
    expect(await mesh.runTask({ type: 'x' })).toBe('done');
  });

  test('one that never came: the call is refused, and nothing is taken from an external agent of that id', async () => {
    const { mesh } = create();
    await mesh.initialize();
    const lease = await mesh.acquireResource('r', 'external');
    await expect(mesh.unregisterAgent('external')).rejects.toMatchObject({ code: 'UNKNOWN_AGENT' });
    expect(lease.signal.aborted).toBe(false);
    await expect(mesh.acquireResource('s', 'external')).resolves.toBeDefined();
    await expect(mesh.sendMessage('external', 'b', 1)).resolves.toBeTypeOf('string');
  });

  test('one that was silent for too long leaves everywhere: its locks are given back, and its id is refused', async () => {
    const { mesh, clock } = create();
    await mesh.initialize();
    const agent = mesh.registerAgent({ id: 'far', silenceMs: 1_000 });
    await mesh.acquireResource('r', 'far');
    await clock.advance(900);
    agent.beat();
    await clock.advance(900);
    expect(mesh.locks.getAllocations().get('r')).toBe('far');
    await clock.advance(200);
    expect(mesh.locks.getAllocations()).toEqual(new Map());
    await expect(mesh.acquireResource('r', 'far')).rejects.toMatchObject({ code: 'UNKNOWN_AGENT' });
    await expect(mesh.sendMessage('far', 'b', 1)).rejects.toMatchObject({ code: 'UNKNOWN_AGENT' });
    expect(await mesh.broadcast('outside', 1)).toEqual({ receivers: 0 });
  });

  test('one that comes while its mailbox can’t be made: that is reported', async () => {
    const inner = memory({ shared: true });
    const { mesh, seen, clock } = create({
      backend: { ...inner, messages: refusingOnce(inner.messages, 1) },
    });
    await mesh.initialize();
    mesh.registerAgent({ id: 'a', handler: () => 'done' });
    await clock.settle();
    expect(seen).toEqual(['system:ready', 'system:error ERROR']);
  });

  test('twice: the second call finds nothing to do', async () => {
    const { mesh } = create();
    await mesh.initialize();
    const agent = mesh.registerAgent({ id: 'a', handler: () => 'done' });
    await agent.leave();
    await expect(mesh.unregisterAgent('a')).resolves.toBeUndefined();
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

test('a process that the store tells to leave is not ready any more, and says why', async () => {
  const inner = memory({ shared: true });
  let isTold = false;
  const backend: Backend = {
    ...inner,
    sessions: {
      open: (request) => inner.sessions.open(request),
      close: (session) => inner.sessions.close(session),
      list: (page) => inner.sessions.list(page),
      beat: (session, report) => {
        const answer = inner.sessions.beat(session, report);
        if (!isTold || answer.status !== 'alive') return answer;
        return { ...answer, orders: [{ kind: 'upgrade', oldestWriter: 7 }] };
      },
    },
  };
  const { mesh, clock, seen } = create({ backend });
  await mesh.initialize();
  expect(await mesh.getHealthStatus()).toMatchObject({ healthy: true });
  isTold = true;
  await clock.advance(20_000);
  expect(seen).toContain('system:error SCHEMA_MISMATCH');
  expect((await mesh.getHealthStatus()).components['manager']).toEqual({
    healthy: false,
    error: 'the schema asks for writers of level 7: this build takes no more tasks',
  });
});

test('T2: two managers with one seed on a shared backend make the same ids, and no task takes the place of another', async () => {
  const backend = memory({ shared: true });
  const { mesh: one } = await startMesh({ backend, seed: 9 });
  const { mesh: other } = await startMesh({ backend, seed: 9 });
  const first = await one.submitTask({ type: 't', input: 'first' });
  await expect(other.submitTask({ type: 't', input: 'second' })).rejects.toMatchObject({
    code: 'IDEMPOTENCY_CONFLICT',
  });
  expect((await other.getTask(first.id))?.input).toBe('first');
});

test('an external agent answers to the manager that assigned the task', async () => {
  const backend = memory({ shared: true });
  const { mesh: one, clock } = await startMesh({ backend, seed: 1 });
  const { mesh: other } = await startMesh({ backend, seed: 2 });
  one.registerAgent({ id: 'outside' });
  const task = await one.submitTask({ type: 't' });
  await clock.settle();
  await expect(other.completeTask(task.id, 1)).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: `Task ${task.id} was assigned by another manager`,
  });
  await one.completeTask(task.id, 1);
  expect(await task.result()).toBe(1);
});

test('on a Node that is too old its version is said, not what is missing there', () => {
  const { withResolvers } = Promise;
  try {
    Reflect.deleteProperty(Promise, 'withResolvers');
    expect(() => new CoordinationManager()).toThrow(
      expect.objectContaining({
        code: 'NOT_SUPPORTED',
        message: `agentmesh needs Node 22.12 or newer, this is ${process.version}`,
      }) as Error,
    );
  } finally {
    Object.defineProperty(Promise, 'withResolvers', {
      value: withResolvers,
      configurable: true,
      writable: true,
    });
  }
});
