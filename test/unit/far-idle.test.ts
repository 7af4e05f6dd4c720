import { expect, onTestFinished, test } from 'vitest';
import { memory } from '../../src/backends/memory/memory.ts';
import { type Backend, CoordinationManager, type Hint } from '../../src/index.ts';
import { Rest } from '../../src/core/rest.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { hintless } from '../../src/testing/wrappers.ts';

/** What a worker that has nothing to do asks of a store across a network, and that it finds in time what no hint told it of (G4). */

/** Counts what is asked of a backend, by port and method. */
function counting(backend: Backend) {
  const counts = new Map<string, number>();
  const asked = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1);
  const counted: Record<string, unknown> = { ...backend };
  for (const port of ['sessions', 'tasks', 'locks', 'messages', 'state'] as const)
    counted[port] = new Proxy(backend[port] as object, {
      get(target, key) {
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== 'function') return member;
        return (...args: unknown[]) => {
          asked(`${port}.${String(key)}`);
          return Reflect.apply(member, target, args) as unknown;
        };
      },
    });
  counted['check'] = () => {
    asked('check');
    return backend.check();
  };
  return { backend: counted as unknown as Backend, counts };
}

async function world({ hints = true } = {}) {
  const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
  const store = memory({ shared: true });
  const tell: ((hint: Hint) => void)[] = [];
  const join = async (seed: number) => {
    const far = networked<Backend>(store);
    const { backend, counts } = counting(hints ? far : hintless(far));
    const told: Backend = {
      ...backend,
      onHint(interest, listener) {
        tell.push(listener);
        return backend.onHint(interest, listener);
      },
    };
    const mesh = new CoordinationManager({ backend: told, clock, seed, env: {} });
    await mesh.initialize();
    onTestFinished(async () => {
      const over = mesh.shutdown();
      await clock.advance(60_000);
      await over;
    });
    return { mesh, counts };
  };
  return { clock, store, join, tell };
}

test('rests grow to their bound, never pass it, differ by chance, and begin again', () => {
  const rest = new Rest({ firstMs: 100, mostMs: 1_000, random: createRandom(1) });
  const rests = Array.from({ length: 50 }, () => rest.next());
  const bounds = [100, 200, 400, 800, ...Array<number>(46).fill(1_000)];
  rests.forEach((ms, i) => {
    expect(ms).toBeLessThanOrEqual(bounds[i] as number);
    expect(ms).toBeGreaterThan(0.8 * (bounds[i] as number));
  });
  expect(new Set(rests).size).toBe(50);
  rest.reset();
  expect(rest.next()).toBeLessThanOrEqual(100);
});

test('an idle worker with agents and a subscription asks less than twice a second, whatever it has done before', async () => {
  const { clock, join } = await world();
  const { mesh, counts } = await join(1);
  for (const id of ['a', 'b']) mesh.registerAgent({ id, handler: () => 1 });
  mesh.subscribe('c', () => undefined);
  const task = mesh.runTask({ type: 'x' });
  await mesh.sendMessage('a', 'c', 1);
  await clock.advance(30_000);
  expect(await task).toBe(1);
  counts.clear();
  await clock.advance(100_000);
  const sum = [...counts.values()].reduce((all, one) => all + one, 0);
  expect(sum / 100, JSON.stringify(Object.fromEntries(counts))).toBeLessThanOrEqual(1.8);
  expect(counts.get('tasks.claim')).toBeGreaterThan(49);
  expect(counts.get('check')).toBeUndefined();
});

test('without hints a task that another process made ready is found within 2 s', async () => {
  const { clock, join } = await world({ hints: false });
  const { mesh: worker } = await join(1);
  const { mesh: client } = await join(2);
  worker.registerAgent({ id: 'a', handler: () => 1 });
  const began: number[] = [];
  worker.events.on('task:started', () => void began.push(clock.mono()));
  for (let i = 0; i < 10; i++) {
    await clock.advance(15_000 + 317 * i);
    const from = clock.mono();
    await client.submitTask({ type: 'x' });
    await clock.advance(2_010);
    expect(began).toHaveLength(i + 1);
    expect((began[i] as number) - from).toBeLessThanOrEqual(2_010);
  }
});

test('without hints a message is found within 5 s, and an answer to what was just asked within a second', async () => {
  const { clock, join } = await world({ hints: false });
  const { mesh: here } = await join(1);
  const { mesh: there } = await join(2);
  const got: unknown[] = [];
  there.subscribe('b', ({ payload }) => void got.push(payload));
  await clock.advance(60_000);
  await here.sendMessage('a', 'b', 1);
  await clock.advance(5_010);
  expect(got).toEqual([1]);
  there.subscribe('c', async (message) => void (await message.reply('pong')));
  await clock.advance(60_000);
  const from = clock.mono();
  const asked = here.request('a', 'c', 'ping').then(() => clock.mono() - from);
  await clock.advance(7_000);
  expect(await asked).toBeLessThanOrEqual(6_020);
});

test('a reconnect is answered at once, whatever the rest', async () => {
  const { clock, join, tell } = await world();
  const { mesh, counts } = await join(1);
  mesh.registerAgent({ id: 'a', handler: () => 1 });
  mesh.subscribe('b', () => undefined);
  await clock.advance(60_000);
  counts.clear();
  for (const listener of tell) listener({ about: 'reconnected' });
  await clock.settle();
  expect([...counts.keys()].toSorted()).toEqual(
    expect.arrayContaining(['messages.receive', 'sessions.beat', 'tasks.claim']),
  );
});

test('a store that falls silent is noticed within 4 s by who is idle, and that it is back at once', async () => {
  const { clock, store } = await world();
  let away = false;
  const silent = (): never => {
    throw Object.assign(new Error('away'), { code: 'BACKEND_UNAVAILABLE' });
  };
  const far = networked<Backend>(store);
  const tasks = new Proxy(far.tasks as object, {
    get: (target, key) => {
      const member: unknown = Reflect.get(target, key, target);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) =>
        away ? new Promise(() => undefined) : Reflect.apply(member, target, args);
    },
  });
  const backend = {
    ...far,
    tasks,
    check: () => (away ? silent() : { healthy: true }),
  } as unknown as Backend;
  const mesh = new CoordinationManager({ backend, clock, seed: 3, env: {}, messaging: {}, metrics: false });
  const said: string[] = [];
  mesh.events.on('backend:lost', () => void said.push('lost'));
  mesh.events.on('backend:recovered', () => void said.push('recovered'));
  await mesh.initialize();
  await clock.advance(30_000);
  away = true;
  await clock.advance(4_000);
  expect(said).toEqual(['lost']);
  away = false;
  await clock.advance(1_000);
  expect(said).toEqual(['lost', 'recovered']);
  const over = mesh.shutdown();
  await clock.advance(60_000);
  await over;
});
