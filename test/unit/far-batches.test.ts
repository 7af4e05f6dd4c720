import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { memory } from '../../src/backends/memory/memory.ts';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { Settlement } from '../../src/core/ports/tasks.ts';
import { CoordinationError, CoordinationManager } from '../../src/index.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';
import { intercept } from '../../src/testing/wrappers.ts';

/** What a store across a network takes in one call here, and more than that. */
const MOST = 4;
const MANY = 11;

const numbers = Array.from({ length: MANY }, (_, i) => i);

/** A manager over a store that refuses calls that are too large, and what it refused. */
async function narrowMesh() {
  const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
  const store = memory({ shared: true });
  const refused: string[] = [];
  const backend = intercept(networked<Backend>(store, MOST), async (call) => {
    try {
      return await call.send();
    } catch (error) {
      if ((error as { readonly code?: unknown }).code === 'NOT_SUPPORTED') refused.push(String(error));
      throw error;
    }
  });
  const messaging = { maxDeliveries: 1 };
  const mesh = new CoordinationManager({ backend, clock, seed: 1, env: {}, messaging });
  await mesh.initialize();
  onTestFinished(async () => {
    const over = mesh.shutdown();
    await clock.advance(60_000);
    await over;
    expect(refused).toEqual([]);
  });
  return { clock, store, mesh, during: duringOn(clock), refused };
}

/** What comes of something when time goes on. */
function duringOn(clock: TestClock) {
  return async <T>(work: Promise<T>, ms = 5_000): Promise<T> => {
    work.catch(() => undefined);
    await clock.advance(ms);
    return work;
  };
}

describe('no call has more items than the store takes: tasks', () => {
  test('chores, looks at outcomes, lists and counts', async () => {
    const { mesh, during } = await narrowMesh();
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: 2, handler: ({ task }) => task.input });
    const handles = await during(
      Promise.all(
        numbers.map((input) => mesh.submitTask({ type: 't', queue: `q${input}`, input, delayMs: 10 })),
      ),
    );
    expect(await during(Promise.all(handles.map((handle) => handle.result())))).toEqual(numbers);
    expect((await during(mesh.tasks.queues.list())).items).toHaveLength(MANY);
    const counts = await during(mesh.tasks.queues.counts(numbers.map((i) => `q${i}`)));
    expect(counts.map(({ queue }) => queue).toSorted()).toEqual(numbers.map((i) => `q${i}`).toSorted());
    const ids = handles.map(({ id }) => id);
    await expect(during(mesh.tasks.queues.list({ ids }))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await during(mesh.tasks.queues.discard({ ids }))).toEqual({ changed: MANY });
  });

  test('what waits here and runs here is told, and made urgent, however much it is', async () => {
    const { mesh, during } = await narrowMesh();
    const go = Promise.withResolvers<void>();
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: MANY, handler: () => go.promise });
    for (const input of numbers) await during(mesh.submitTask({ type: 'child', input }), 50);
    expect(await during(mesh.getAgentTasks('a'))).toHaveLength(MANY);
    go.resolve();
  });

  test('children that are awaited become urgent when their parent gets a lock', async () => {
    const { mesh, during } = await narrowMesh();
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 2,
      handler: {
        parent: async (context) => {
          const children = await Promise.all(
            numbers.map((input) => context.submit({ type: 'child', input, delayMs: 1_000 })),
          );
          const results = Promise.all(children.map((child) => child.result()));
          return context.withLock('x', () => results);
        },
        child: ({ task }) => task.input,
      },
    });
    const parent = await during(mesh.submitTask({ type: 'parent' }), 100);
    expect(await during(parent.result(), 10_000)).toEqual(numbers);
  });

  test('claims of a dead process', async () => {
    const { mesh, store, during, clock } = await narrowMesh();
    const handles = await during(Promise.all(numbers.map((input) => mesh.submitTask({ type: 't', input }))));
    const boot = { boot: 'dead', leaseMs: 1_000, writer: 1, report: EMPTY_REPORT };
    const { session } = await store.sessions.open(boot);
    const offers = [{ capabilities: [], slots: MANY }];
    const claimed = (await store.tasks.claim(
      { session, sequence: 1 },
      { offers, agents: [], assigned: 0, limit: MANY, start: MANY },
    )) as { readonly claims: readonly unknown[] };
    expect(claimed.claims).toHaveLength(MANY);
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: MANY, handler: ({ task }) => task.input });
    const before = clock.mono();
    expect(await during(Promise.all(handles.map((handle) => handle.result())), 4_000)).toEqual(numbers);
    expect(clock.mono() - before).toBeLessThan(5_000);
  });

  test('tasks pinned to an agent that leaves', async () => {
    const { mesh, during } = await narrowMesh();
    mesh.registerAgent({ id: 'leaver', maxConcurrentTasks: 1, handler: () => new Promise(() => undefined) });
    await during(mesh.tasks.queues.pause('q'));
    const handles = await during(
      Promise.all(numbers.map((input) => mesh.tasks.assignTask({ type: 't', queue: 'q', input }, 'leaver'))),
    );
    const pinned = await during(mesh.tasks.queues.list({ agent: 'leaver', state: ['ready'] }));
    expect(pinned.items).toHaveLength(MANY);
    await during(mesh.unregisterAgent('leaver'));
    mesh.registerAgent({ id: 'heir', maxConcurrentTasks: MANY, handler: ({ task }) => task.input });
    await during(mesh.tasks.queues.resume('q'));
    expect(await during(Promise.all(handles.map((handle) => handle.result())))).toEqual(numbers);
  });

  test('what operators change', async () => {
    const { mesh, during } = await narrowMesh();
    let isBroken = true;
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: MANY,
      handler: ({ task }) => {
        if (isBroken) throw new Error('broken');
        return task.input;
      },
    });
    const handles = await during(
      Promise.all(numbers.map((input) => mesh.submitTask({ type: 't', input, retry: false }))),
    );
    await during(Promise.allSettled(handles.map((handle) => handle.result())));
    isBroken = false;
    const { queues } = mesh.tasks;
    const ids = handles.map(({ id }) => id);
    expect(await during(queues.edit({ ids }, 7))).toMatchObject({ changed: MANY });
    expect(await during(queues.reprioritise({ state: ['dead'] }, 3))).toMatchObject({ changed: MANY });
    expect(await during(queues.redrive({ ids }))).toEqual({ changed: MANY });
    const after = await during(Promise.all(ids.map((id) => mesh.getTask(id))));
    expect(after.map((task) => task?.result)).toEqual(numbers.map(() => 7));
  });
});

describe('no call has more items than the store takes: messages', () => {
  test('one receiver of many, many receivers of one, chores', async () => {
    const { mesh, during } = await narrowMesh();
    const got: unknown[] = [];
    for (const i of numbers) mesh.registerAgent({ id: `r${i}`, handler: () => undefined });
    await during(Promise.all(numbers.map((i) => mesh.sendMessage('s', 'one', { i }))));
    for (const i of numbers) mesh.messages.subscribe(`r${i}`, ({ payload }) => void got.push(payload));
    mesh.messages.subscribe('one', ({ payload }) => void got.push(payload), { concurrency: MANY });
    await during(Promise.all(numbers.map((i) => mesh.sendMessage('s', `r${i}`, { i }))));
    expect(got).toHaveLength(2 * MANY);
    await during(mesh.messages.performMaintenance());
    // All of these end in one turn.
    const go = Promise.withResolvers<void>();
    mesh.messages.subscribe('together', () => go.promise, { concurrency: MANY });
    await during(Promise.all(numbers.map((i) => mesh.sendMessage(`s${i}`, 'together', { i }))));
    expect(await during(mesh.messages.stats())).toMatchObject({ handling: MANY });
    go.resolve();
    await during(Promise.resolve(), 100);
    expect(await during(mesh.messages.stats())).toMatchObject({ delivered: 3 * MANY, handling: 0 });
  });

  test('dead letters', async () => {
    const { mesh, during } = await narrowMesh();
    let isBroken = true;
    const got: unknown[] = [];
    mesh.messages.subscribe('one', ({ payload }) => {
      if (isBroken) throw new Error('broken');
      got.push(payload);
    });
    await during(Promise.all(numbers.map((i) => mesh.sendMessage('s', 'one', i))));
    isBroken = false;
    const { items } = await during(mesh.messages.deadLetters());
    expect(items).toHaveLength(MANY);
    expect(await during(mesh.messages.redrive({ ids: items.map(({ id }) => id) }))).toBe(MANY);
    expect(got).toHaveLength(MANY);
    isBroken = true;
    await during(Promise.all(numbers.map((i) => mesh.sendMessage('s', 'one', i))));
    expect(await during(mesh.messages.discard())).toBe(MANY);
  });
});

describe('no call has more than 1 MiB of what users send', () => {
  test('tasks, their results, and messages', async () => {
    const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
    const sizes = new Map<string, number[]>();
    const watched = intercept<Backend>(memory({ shared: true }), ({ port, method, args, send }) => {
      const name = `${port}.${method}`;
      // Of a claim only its reference goes over a network.
      const text = JSON.stringify(args, (key, value: unknown) => (key === 'claim' ? undefined : value));
      sizes.set(name, [...(sizes.get(name) ?? []), text.length]);
      return send();
    });
    const backend = networked(watched);
    const mesh = new CoordinationManager({ backend, clock, seed: 1, env: {} });
    await mesh.initialize();
    onTestFinished(async () => {
      const over = mesh.shutdown();
      await clock.advance(60_000);
      await over;
    });
    const text = 'x'.repeat(200 * 1024);
    const go = Promise.withResolvers<void>();
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: MANY, handler: () => go.promise.then(() => text) });
    const submitted = Promise.all(numbers.map((id) => mesh.submitTask({ type: 't', input: { text, id } })));
    await clock.advance(1_000);
    const results = Promise.all((await submitted).map((task) => task.result()));
    go.resolve();
    await clock.advance(3_000);
    expect((await results).every((result) => result === text)).toBe(true);
    const got: unknown[] = [];
    mesh.messages.subscribe('r', ({ payload }) => void got.push(payload), { concurrency: MANY });
    const sent = Promise.all(numbers.map((id) => mesh.sendMessage('s', 'r', { text, id })));
    await clock.advance(3_000);
    await sent;
    expect(got).toHaveLength(MANY);
    for (const name of ['tasks.enqueue', 'tasks.settle', 'messages.publish']) {
      const calls = sizes.get(name) ?? [];
      expect(Math.max(...calls), name).toBeLessThan(1.01 * 1024 * 1024);
      expect(calls.filter((size) => size > 800 * 1024).length, name).toBeGreaterThan(1);
    }
  });
});

describe('no call has more items than the store takes: locks', () => {
  test('renewals, and holders that are told to go', async () => {
    const { mesh, during } = await narrowMesh();
    const leases = await during(
      Promise.all(
        numbers.map((i) =>
          mesh.locks.acquire({ resource: 'x', mode: 'shared' }, { owner: `o${i}`, leaseMs: 1_000 }),
        ),
      ),
      100,
    );
    await during(Promise.resolve(), 3_000);
    expect(leases.filter(({ signal }) => signal.aborted)).toEqual([]);
    expect(await during(mesh.locks.forceRelease('x', { graceMs: 10 }), 3_000)).toBe(MANY);
    expect(leases.every(({ signal }) => signal.aborted)).toBe(true);
  });
});

test.for([
  { ordered: true, together: 2 },
  { ordered: false, together: 1 },
])(
  'a store that keeps the order of calls ($ordered) is sent $together enqueues at once',
  async ({ ordered, together }) => {
    const calls: { readonly ids: readonly string[]; readonly land: () => void }[] = [];
    const store = networked<Backend>(memory({ shared: true }), MOST);
    const backend = intercept(
      { ...store, capabilities: { ...store.capabilities, ordered } },
      async (call) => {
        if (call.port === 'tasks' && call.method === 'enqueue') {
          const ids = (call.args[1] as readonly { readonly id: string }[]).map(({ id }) => id);
          await new Promise<void>((land) => calls.push({ ids, land }));
        }
        return call.send();
      },
    );
    const mesh = await CoordinationManager.start({ backend, env: {} });
    const ids = numbers.map((i) => `t${i}`);
    const stored = mesh.submitTasks(ids.map((id) => ({ id, type: 't' })));
    await vi.waitUntil(() => calls.length === together);
    expect(calls.flatMap((call) => call.ids)).toEqual(ids.slice(0, together * MOST));
    for (let n = 0; n < Math.ceil(MANY / MOST); n++) {
      await vi.waitUntil(() => calls.length > n);
      calls[n]?.land();
    }
    await stored;
    expect(calls.flatMap((call) => call.ids)).toEqual(ids);
    await mesh.shutdown();
  },
);

/** A mesh whose store refuses calls of this method as `isRefused` says; what it was sent, and what was reported. */
async function refusingMesh(method: 'settle' | 'claim', isRefused: (asked: never) => boolean) {
  const asked: never[] = [];
  const store = networked<Backend>(memory({ shared: true }), 100);
  const backend = intercept(store, async (call) => {
    if (call.port === 'tasks' && call.method === method) {
      asked.push(call.args[1] as never);
      if (isRefused(call.args[1] as never)) throw new CoordinationError('NOT_SUPPORTED', 'too big');
    }
    return call.send();
  });
  const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
  const mesh = new CoordinationManager({ backend, clock, seed: 1, env: {} });
  const errors: unknown[] = [];
  mesh.events.on('system:error', (payload) => errors.push(payload));
  await mesh.initialize();
  onTestFinished(async () => {
    const over = mesh.shutdown();
    await clock.advance(60_000);
    await over;
  });
  return { mesh, clock, asked, errors, during: duringOn(clock) };
}

describe('what the store refuses as a whole', () => {
  const batch = (settlements: readonly Settlement[]) => settlements.map(({ claim }) => claim.task);

  test('ends are stored in parts, but for the one that it refuses: that task is dead with the refusal', async () => {
    const { mesh, during, asked, errors } = await refusingMesh('settle', (settlements) =>
      (settlements as readonly Settlement[]).some(
        ({ claim, as }) => claim.task === 't3' && as === 'complete',
      ),
    );
    const ids = Array.from({ length: 8 }, (_, i) => `t${i}`);
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: 8, handler: ({ task }) => task.id });
    const handles = await during(mesh.submitTasks(ids.map((id) => ({ id, type: 't' }))));
    const ends = handles.map((handle) => handle.result().catch((error: unknown) => error));
    expect(await during(Promise.all(ends))).toMatchObject(
      ids.map((id) => (id === 't3' ? { code: 'TASK_FAILED', cause: { code: 'NOT_SUPPORTED' } } : id)),
    );
    expect(asked.map((settlements) => batch(settlements).length).toSorted((a, b) => b - a)).toEqual([
      8, 4, 4, 2, 2, 1, 1, 1,
    ]);
    expect(errors).toEqual([]);
    expect(await during(mesh.getTask('t3') as Promise<unknown>)).toMatchObject({ status: 'dead' });
  });

  test('ends that it refuses one by one too are given up together soon', async () => {
    const { mesh, during, asked, errors } = await refusingMesh('settle', () => true);
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: 64, handler: () => 'done' });
    await during(mesh.submitTasks(Array.from({ length: 64 }, () => ({ type: 't' }))));
    // 64, 32, …, 1 and 8 ends alone, each as it was and as a dead letter.
    expect(asked.length).toBeLessThan(35);
    expect(errors.length).toBeLessThan(20);
    expect(errors).toContainEqual(expect.objectContaining({ code: 'NOT_SUPPORTED' }));
  });

  test('a claim is asked for again with half of its size, and grows again', async () => {
    const { mesh, during, asked, errors } = await refusingMesh(
      'claim',
      ({ limit }: { limit: number }) => limit > 3,
    );
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: 16, handler: ({ task }) => task.id });
    const ids = Array.from({ length: 16 }, (_, i) => `t${i}`);
    const handles = await during(mesh.submitTasks(ids.map((id) => ({ id, type: 't' }))));
    expect(await during(Promise.all(handles.map((handle) => handle.result())))).toEqual(ids);
    const sizes = asked.map(({ limit }: { limit: number }) => limit);
    expect(sizes.slice(0, 4)).toEqual([16, 8, 4, 2]);
    expect(sizes.slice(4)).toContain(4);
    expect(errors).toEqual([]);
  });

  test('a claim of one that is refused is reported, and asked for again after a second', async () => {
    const { mesh, clock, during, asked, errors } = await refusingMesh('claim', () => true);
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: 4, handler: () => 'done' });
    const sizes = (): number[] => asked.map(({ limit }: { limit: number }) => limit);
    await during(mesh.submitTask({ type: 't' }), 500);
    expect(sizes().slice(0, 3)).toEqual([4, 2, 1]);
    const before = { asked: asked.length, errors: errors.length };
    expect(errors).toContainEqual(expect.objectContaining({ code: 'NOT_SUPPORTED' }));
    await clock.advance(10_000);
    expect(asked.length - before.asked).toBe(errors.length - before.errors);
    expect(asked.length - before.asked).toBeLessThanOrEqual(10);
    expect(new Set(sizes().slice(before.asked))).toEqual(new Set([1]));
  });
});
