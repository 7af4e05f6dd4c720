import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { CoordinationError } from '../../src/core/errors.ts';
import type { MessageTransport } from '../../src/core/ports/messages.ts';
import { type Backend, type CoordinationManager, memory } from '../../src/index.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';
import { createMessagingMesh } from '../support/messaging-mesh.ts';
import { createMesh, type MeshOptions } from '../support/started-mesh.ts';

/** G6: whatever becomes of the store, a shutdown comes to its end in its time, everybody hears of it, and nothing is left. */

const DRAIN_MS = 200;
const GRACE_MS = 200;
/** What `shutdown` promises; its last steps take what they do at once. */
const BUDGET_MS = DRAIN_MS + GRACE_MS + 5_000 + 50;

type Mode = 'well' | 'fail' | 'silent';
const MODES = ['fail', 'silent'] as const;

/** A shared backend whose every call is answered with a promise, as told: by the store, by an error, or never. */
function breakable(clock: TestClock) {
  const inner = memory({ shared: true });
  const silence = Promise.withResolvers<void>();
  const state = {
    mode: 'well' as Mode,
    /** Whatever else is answered, this method never is. */
    silentMethod: 'none',
    calls: 0,
    /** How long the end of a session takes. */
    closeMs: 0,
    stops: 0,
    /** Its stop rejects what is pending, as ports demand. */
    rejectsPending: false,
    /** Carries out what was never answered, and answers it. */
    answer: () => silence.resolve(),
  };
  const call = async (send: () => unknown, method = ''): Promise<never> => {
    state.calls += 1;
    if (state.mode === 'fail') throw new CoordinationError('BACKEND_UNAVAILABLE', 'The store is gone');
    if (state.mode === 'silent' || method === state.silentMethod) await silence.promise;
    if (method === 'close' && state.closeMs > 0)
      await new Promise<void>((resolve) => void clock.after(state.closeMs, resolve));
    return send() as never;
  };
  const port = <P extends object>(whole: P): P =>
    new Proxy(whole, {
      get(target, key) {
        if (key === 'quick' || key === 'live') return undefined;
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== 'function') return member;
        return (...args: unknown[]) => call(() => Reflect.apply(member, target, args), String(key));
      },
    });
  const backend: Backend = {
    ...inner,
    tasks: port(inner.tasks),
    locks: port(inner.locks),
    messages: port(inner.messages),
    sessions: port(inner.sessions),
    start: (runtime) => call(() => inner.start(runtime)),
    stop: () => {
      state.stops += 1;
      if (!state.rejectsPending) return call(() => inner.stop());
      silence.reject(new CoordinationError('STOPPED', 'The backend is stopped'));
      return undefined;
    },
    check: () => call(() => inner.check()),
  };
  return { backend, inner, state };
}

function create(options: MeshOptions = {}) {
  const clock = createTestClock();
  const { backend, inner, state } = breakable(clock);
  const shutdown = { drainMs: DRAIN_MS, then: 'release' } as const;
  const world = createMesh({ clock, backend, shutdown, scheduling: { graceMs: GRACE_MS }, ...options });
  return { ...world, inner, state, given: new Promises(clock) };
}

/** Promises that were given out, and what became of them. */
class Promises {
  readonly #clock: TestClock;
  readonly #outcomes = new Map<string, string>();
  readonly #settledAt = new Map<string, number>();

  constructor(clock: TestClock) {
    this.#clock = clock;
  }

  add(name: string, promise: Promise<unknown>): void {
    const settled = (outcome: string): void => {
      this.#outcomes.set(name, outcome);
      this.#settledAt.set(name, this.#clock.mono());
    };
    this.#outcomes.set(name, 'open');
    promise.then(
      () => settled('resolved'),
      (error: { readonly code?: string }) => settled(error.code ?? 'no code'),
    );
  }

  of(name: string): string | undefined {
    return this.#outcomes.get(name);
  }

  at(name: string): number {
    return this.#settledAt.get(name) ?? Number.POSITIVE_INFINITY;
  }

  get open(): readonly string[] {
    return [...this.#outcomes].flatMap(([name, outcome]) => (outcome === 'open' ? [name] : []));
  }
}

/** Shuts down, and expects that it comes to its end in time, with everything settled and nothing armed. */
async function expectEnd({ mesh, clock, given }: ReturnType<typeof create>): Promise<void> {
  const before = clock.mono();
  given.add('shutdown', mesh.shutdown());
  await clock.advance(BUDGET_MS);
  expect(given.of('shutdown')).toBe('resolved');
  expect(given.open).toEqual([]);
  expect(given.at('shutdown') - before).toBeLessThanOrEqual(BUDGET_MS);
  expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
}

/** Work of every kind that is under way when the store goes. */
async function busy(mesh: CoordinationManager, clock: TestClock, given: Promises): Promise<() => void> {
  mesh.registerAgent({
    id: 'obeys',
    handler: ({ signal }) => new Promise((resolve) => signal.addEventListener('abort', resolve)),
  });
  mesh.registerAgent({ id: 'ignores', handler: () => new Promise(() => undefined) });
  mesh.registerAgent({ id: 'idle', capabilities: ['rare'], handler: () => 1 });
  const subscription = mesh.subscribe('b', () => new Promise(() => undefined));
  await subscription.ready;
  for (let i = 0; i < 4; i++) {
    const task = await mesh.submitTask({ type: 't', input: i });
    given.add(`result ${i}`, task.result());
  }
  const delayed = await mesh.submitTask({
    type: 't',
    delayMs: 60_000,
    deadline: new Date(clock.wall() + 1e6),
  });
  given.add('result of a delayed task', delayed.result());
  given.add('onIdle', mesh.onIdle());
  const lease = await mesh.acquire('held');
  await mesh.acquireResource('held too', 'idle');
  given.add('lock that waits', mesh.acquire('held', { timeoutMs: Number.POSITIVE_INFINITY }));
  given.add('request', mesh.request('a', 'b', 1, { timeoutMs: 1e9 }));
  given.add('iteration', mesh.messages.messages('c')[Symbol.asyncIterator]().next());
  await clock.advance(10);
  return () => {
    given.add('release', lease.release());
    given.add('unsubscribe', subscription.unsubscribe());
  };
}

/** A call of every kind that changes something. */
function callEverything(mesh: CoordinationManager, given: Promises): void {
  for (let i = 0; i < 3; i++) {
    given.add(`submitTask ${i}`, mesh.submitTask({ type: 't' }));
    given.add(`sendMessage ${i}`, mesh.sendMessage('a', 'b', i));
  }
  given.add('runTask', mesh.runTask({ type: 't' }));
  given.add('submitTasks', mesh.submitTasks([{ type: 't' }, { type: 't' }]));
  given.add('assignTask', mesh.assignTask({ type: 't' }, 'outside'));
  given.add('cancelTask', mesh.cancelTask('x'));
  given.add('acquire', mesh.acquire('new'));
  given.add('tryAcquire', mesh.locks.tryAcquire('new'));
  given.add(
    'withLock',
    mesh.withLock(['one', 'two'], () => 1),
  );
  given.add('releaseResource', mesh.releaseResource('held too', 'idle'));
  given.add('broadcast', mesh.broadcast('a', 1));
  given.add('request of now', mesh.request('a', 'b', 1, { timeoutMs: 1e9 }));
  given.add('ready', mesh.subscribe('d', () => 1).ready);
  given.add('redrive', mesh.messages.redrive());
  given.add('maintenance of messages', mesh.messages.performMaintenance());
}

/** Calls that only ask, and one that asks before it changes something. */
function askEverything(mesh: CoordinationManager, given: Promises): void {
  given.add('getTask', mesh.getTask('x'));
  given.add('why', mesh.why('x'));
  given.add('list', mesh.queues.list());
  given.add('stats', mesh.messages.stats());
  given.add('deadLetters', mesh.messages.deadLetters());
  given.add('unregisterAgent', mesh.unregisterAgent('idle'));
}

describe.each(MODES)('G6: shutdown of a mesh whose store answers every call with: %s', (mode) => {
  test('with work under way: everybody hears of the end', async () => {
    const world = create();
    const { mesh, clock, state, given } = world;
    await mesh.initialize();
    const giveBack = await busy(mesh, clock, given);
    state.mode = mode;
    giveBack();
    await expectEnd(world);
  });

  test('with calls under way: none is left without an answer, and none goes out any more', async () => {
    const world = create();
    const { mesh, clock, state, given } = world;
    await mesh.initialize();
    await busy(mesh, clock, given);
    state.mode = mode;
    callEverything(mesh, given);
    await clock.advance(1_500);
    await expectEnd(world);
    const { calls } = state;
    await clock.advance(60_000);
    expect(state.calls).toBe(calls);
  });
});

test('G6: who only asks a store that is silent hears of the end from the backend, whose stop rejects what is pending', async () => {
  const world = create();
  const { mesh, clock, state, given } = world;
  await mesh.initialize();
  await busy(mesh, clock, given);
  state.mode = 'silent';
  state.rejectsPending = true;
  callEverything(mesh, given);
  askEverything(mesh, given);
  await expectEnd(world);
});

test('G6: of calls that are never answered, those that wait for their turn hear of the end too', async () => {
  const world = create();
  const { mesh, state, given, clock } = world;
  await mesh.initialize();
  const limit = memory().capabilities.maxInFlight;
  state.mode = 'silent';
  for (let i = 0; i < limit + 100; i++) given.add(`submitTask ${i}`, mesh.submitTask({ type: 't' }));
  await clock.settle();
  expect(state.calls).toBeLessThan(limit + 50);
  await expectEnd(world);
  expect(given.of('submitTask 0')).toBe('STOPPED');
  expect(given.of(`submitTask ${limit + 99}`)).toBe('STOPPED');
});

test('G6: shutdown of an idle mesh whose store is silent ends in its time too', async () => {
  const world = create();
  await world.mesh.initialize();
  world.state.mode = 'silent';
  await expectEnd(world);
  expect(world.state.stops).toBe(1);
});

describe.each(MODES)('G6: a store that is gone (%s) is waited for once, not by each part in turn', (mode) => {
  const STORE_MS = 5_000;
  /** The session and the backend have half a second each. */
  const CLOSE_MS = 1_000 + 50;

  /** What a shutdown with the default times takes. */
  async function shutdownMs({ mesh, clock, given, state }: ReturnType<typeof create>): Promise<number> {
    await clock.advance(100);
    state.mode = mode;
    await clock.advance(700);
    const before = clock.mono();
    given.add('shutdown', mesh.shutdown());
    await clock.advance(20_000);
    expect(given.open).toEqual([]);
    return given.at('shutdown') - before;
  }

  async function started() {
    const world = create({ shutdown: {}, scheduling: {} });
    await world.mesh.initialize();
    return world;
  }

  test('by a mesh that has locks, subscriptions and idle agents', async () => {
    const world = await started();
    const { mesh } = world;
    mesh.registerAgent({ id: 'idle', handler: () => 1 });
    await mesh.subscribe('b', () => undefined).ready;
    await mesh.acquire('held');
    await mesh.acquireResource('held too', 'idle');
    expect(await shutdownMs(world)).toBeLessThanOrEqual(STORE_MS + CLOSE_MS);
  });

  test('by a mesh that has nothing to store', async () => {
    expect(await shutdownMs(await started())).toBeLessThanOrEqual(STORE_MS + CLOSE_MS);
  });

  test('after handlers that obey: from when the last has ended', async () => {
    const world = await started();
    const { mesh } = world;
    mesh.registerAgent({
      id: 'obeys',
      handler: ({ signal }) => new Promise((resolve) => signal.addEventListener('abort', resolve)),
    });
    await mesh.submitTask({ type: 't' });
    await mesh.acquire('held');
    const drainMs = 5_000;
    expect(await shutdownMs(world)).toBeLessThanOrEqual(drainMs + STORE_MS + CLOSE_MS);
  });
});

test('G6: a silent store that comes back while the mesh stops: what it answers then changes nothing', async () => {
  const world = create();
  const { mesh, clock, state, given } = world;
  await mesh.initialize();
  await busy(mesh, clock, given);
  state.mode = 'silent';
  callEverything(mesh, given);
  given.add('shutdown', mesh.shutdown());
  await clock.advance(1_000);
  state.mode = 'well';
  await clock.advance(BUDGET_MS - 1_000);
  expect(given.open).toEqual([]);
  expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
});

test('G6: calls of a former session hear of the end as those of the last one do', async () => {
  const world = create();
  const { mesh, state, given, inner, clock } = world;
  await mesh.initialize();
  state.silentMethod = 'enqueue';
  given.add('submitTask', mesh.submitTask({ type: 't' }));
  await clock.settle();
  inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
  await mesh.sendMessage('a', 'b', 1);
  expect(inner.sessions.list({ limit: 10 }).items).toHaveLength(2);
  given.add('submitTask in the next session', mesh.submitTask({ type: 't' }));
  state.mode = 'fail';
  await expectEnd(world);
  expect(given.of('submitTask')).toBe('STOPPED');
  expect(given.of('submitTask in the next session')).toBe('STOPPED');
});

test('G6: when one call uses up the time of all, the session and the backend are closed in time nevertheless', async () => {
  const world = create();
  const { mesh, events, clock, state, inner } = world;
  const failed: string[] = [];
  events.on('system:error', ({ part }) => void failed.push(part));
  await mesh.initialize();
  state.silentMethod = 'claim';
  mesh.registerAgent({ id: 'a', handler: () => 1 });
  await mesh.submitTask({ type: 't' });
  await clock.settle();
  state.closeMs = 400;
  await expectEnd(world);
  expect(inner.sessions.list({ limit: 10, state: 'alive' }).items).toEqual([]);
  expect(state.stops).toBe(1);
  expect(failed.filter((part) => part === 'session' || part === 'backend')).toEqual([]);
});

test('G6: handlers of messages have what those of tasks left of the time, so that the store keeps its own', async () => {
  const world = create({ shutdown: { drainMs: 4_000 } });
  const { mesh, clock, given } = world;
  await mesh.initialize();
  await busy(mesh, clock, given);
  await mesh.sendMessage('a', 'b', 1);
  await clock.settle();
  given.add('shutdown', mesh.shutdown());
  await clock.advance(4_000 + GRACE_MS + 50);
  expect(given.open).toEqual([]);
  expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
});

describe.each(['start', 'open', 'subscribe'] as const)('G6: shutdown during a start whose %s', (step) => {
  /** Starts with agents to announce; the store goes before this step. */
  function starting(mode: Mode) {
    const world = create();
    const { mesh, state, given } = world;
    mesh.registerAgent({ id: 'a', handler: () => 1 });
    mesh.registerAgent({ id: 'b', handler: () => 1 });
    const before = { start: 0, open: 1, subscribe: 2 }[step];
    let calls = 0;
    Object.defineProperty(state, 'calls', {
      get: () => calls,
      set: (next: number) => {
        calls = next;
        if (calls === before + 1) state.mode = mode;
      },
    });
    given.add('initialize', mesh.initialize());
    return world;
  }

  test('never answers: both come to their end', async () => {
    const world = starting('silent');
    await world.clock.advance(1_000);
    expect(world.given.of('initialize')).toBe('open');
    await expectEnd(world);
    expect(world.given.of('initialize')).toBe('STOPPED');
  });

  test('is answered after both have come to their end: that is undone', async () => {
    const world = starting('silent');
    await world.clock.advance(1_000);
    await expectEnd(world);
    world.state.mode = 'well';
    world.state.answer();
    await world.clock.advance(1_000);
    expect(world.inner.sessions.list({ limit: 10, state: 'alive' }).items).toEqual([]);
    expect(world.state.stops).toBe(1);
    expect(world.clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });
});

test('G6: a router used alone ends in its time when its store is silent, and what waits to be sent is refused', async () => {
  const { clock, backend, router } = await createMessagingMesh();
  const { messages } = backend as { readonly messages: MessageTransport };
  let isSilent = false;
  const transport = new Proxy(messages, {
    get: (target, key) => {
      const member: unknown = Reflect.get(target, key, target);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) =>
        isSilent ? new Promise(() => undefined) : (Reflect.apply(member, target, args) as unknown);
    },
  });
  const alone = await router('alone', {}, transport);
  const given = new Promises(clock);
  await alone.subscribe('b', () => new Promise(() => undefined)).ready;
  await alone.send('a', 'b', 1);
  await clock.settle();
  isSilent = true;
  // The only one that is sent: whoever made its operations ends it.
  void alone.send('a', 'b', 2);
  for (let i = 3; i < 6; i++) given.add(`send ${i}`, alone.send('a', 'b', i));
  given.add('shutdown', alone.shutdown({ drainMs: 200 }));
  await clock.advance(5_250);
  expect(given.open).toEqual([]);
  expect(given.of('shutdown')).toBe('resolved');
  expect(given.of('send 3')).toBe('STOPPED');
  await expect(alone.send('a', 'b', 9)).rejects.toMatchObject({ code: 'STOPPED' });
  expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
});

test('G6: a process whose store fails ends by itself at once when the shutdown is over', async () => {
  const code = `
    import { CoordinationManager, memory } from '../../src/index.ts';
    const inner = memory({ shared: true });
    let isGone = false;
    const gone = Object.assign(new Error('gone'), { code: 'BACKEND_UNAVAILABLE' });
    const port = (whole) => new Proxy(whole, {
      get(target, key) {
        const member = Reflect.get(target, key, target);
        if (key === 'quick' || key === 'live') return undefined;
        if (typeof member !== 'function') return member;
        return async (...args) => {
          if (isGone) throw gone;
          return member.apply(target, args);
        };
      },
    });
    const { tasks, locks, messages, sessions } = inner;
    const backend = {
      ...inner, tasks: port(tasks), locks: port(locks), messages: port(messages), sessions: port(sessions),
    };
    const mesh = await CoordinationManager.start({ backend, shutdown: { drainMs: 20 } });
    isGone = true;
    const calls = [mesh.submitTask({ type: 'x' }), mesh.sendMessage('a', 'b', 1), mesh.acquire('r')];
    for (const call of calls) call.catch((error) => console.log(error.code));
    await new Promise((resolve) => setTimeout(resolve, 100));
    await mesh.shutdown();
    const down = performance.now();
    process.on('exit', (code) => console.log('exit', code, performance.now() - down < 1_000 ? 'at once' : 'late'));
  `;
  const options = { timeout: 20_000, cwd: import.meta.dirname };
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', code],
    options,
  );
  expect(stdout.split('\n').sort()).toEqual(['', 'STOPPED', 'STOPPED', 'STOPPED', 'exit 0 at once']);
}, 25_000);
