import { describe, expect, onTestFinished, test } from 'vitest';
import { memory } from '../../src/backends/memory/memory.ts';
import { CoordinationManager, type Lease } from '../../src/index.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { LockAnswer, LockStore } from '../../src/core/ports/locks.ts';
import type { BackendTime, SessionNumber } from '../../src/core/ports/words.ts';
import { WaitPolls } from '../../src/resources/wait-polls.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { hintless } from '../../src/testing/wrappers.ts';

interface Counts {
  calls: number;
  refs: number;
}

/** Two managers on one store that they reach over a network; of the second it is counted what its waits ask. */
async function twoProcesses(wrap: (backend: Backend) => Backend = (backend) => backend) {
  const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
  const store = memory({ shared: true });
  const asked: Counts = { calls: 0, refs: 0 };
  const start = async (backend: Backend): Promise<CoordinationManager> => {
    const mesh = new CoordinationManager({
      backend,
      clock,
      env: {},
      workStealing: false,
      deadlockDetection: false,
      session: { leaseMs: 600_000 },
    });
    await mesh.initialize();
    return mesh;
  };
  const other = await start(networked<Backend>(store));
  const mesh = await start(wrap(counting(networked<Backend>(store), asked)));
  onTestFinished(async () => {
    const over = Promise.all([mesh.shutdown(), other.shutdown()]);
    await clock.advance(60_000);
    await over;
  });
  const turns = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  return { clock, mesh, other, asked, turns };
}

/** Counts what is asked of the locks with `keep`. */
function counting(backend: Backend, asked: Counts): Backend {
  const locks = backend.locks as NonNullable<Backend['locks']>;
  const counted: typeof locks = new Proxy(locks, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== 'function') return method;
      return (...args: unknown[]): unknown => {
        if (name === 'keep') {
          asked.calls += 1;
          asked.refs += (args[1] as readonly unknown[]).length;
        }
        return Reflect.apply(method, target, args);
      };
    },
  });
  return new Proxy(backend, {
    get: (target, name): unknown => (name === 'locks' ? counted : Reflect.get(target, name)),
  });
}

/** `count` waits for one lock in one process, each given back as soon as it is held. */
function crowd(mesh: CoordinationManager, count: number, resource: (i: number) => string = () => 'hot') {
  const order: number[] = [];
  const failed: string[] = [];
  const begin = (timeoutMs: number): Promise<unknown> =>
    Promise.all(
      Array.from({ length: count }, (_, i) =>
        mesh.acquire(resource(i), { owner: `owner-${i}`, timeoutMs }).then(
          (lock: Lease) => {
            order.push(i);
            return lock.release();
          },
          (error: { readonly code: string }) => void failed.push(error.code),
        ),
      ),
    );
  return { order, failed, begin };
}

describe('many waits for one lock in one process', () => {
  test('L7: each grant asks about the one that was granted, not about all that wait', async () => {
    const { mesh, other, asked, turns } = await twoProcesses();
    const held = await other.acquire('hot', { owner: 'first' });
    const { order, begin } = crowd(mesh, 1_000);
    const all = begin(600_000);
    await turns(50);
    Object.assign(asked, { calls: 0, refs: 0 });
    await held.release();
    await all;
    expect(order).toEqual(Array.from({ length: 1_000 }, (_, i) => i));
    expect(asked.refs).toBeLessThanOrEqual(1_100);
  });

  test('also of waits for several resources, whatever they have in common', async () => {
    const { mesh, other, asked, turns } = await twoProcesses();
    const held = await other.acquire({ path: 'src/last.ts' }, { owner: 'first' });
    const paths = Array.from({ length: 300 }, (_, i) => `src/${i}.ts`);
    const blocking = await Promise.all(
      paths.map((path, i) => other.acquire({ path }, { owner: `holder-${i}` })),
    );
    const waits = [...paths, 'src/last.ts'].map((path, i) => mesh.acquire({ path }, { owner: `owner-${i}` }));
    await turns(50);
    Object.assign(asked, { calls: 0, refs: 0 });
    await held.release();
    await (await (waits.at(-1) as Promise<Lease>)).release();
    expect(asked.refs).toBeLessThanOrEqual(2);
    await Promise.all(blocking.map((lock) => lock.release()));
    for (const wait of waits.slice(0, -1)) await (await wait).release();
  });

  test('who releases knows without a hint which of its own waits goes on', async () => {
    const { mesh, other, asked, turns } = await twoProcesses(hintless);
    await other.acquire('hot', { owner: 'first' });
    void crowd(mesh, 200).begin(600_000);
    const first = await mesh.acquire('mine', { owner: 'x' });
    const second = mesh.acquire('mine', { owner: 'y' });
    await turns(50);
    Object.assign(asked, { calls: 0, refs: 0 });
    await first.release();
    await (await second).release();
    expect(asked).toEqual({ calls: 1, refs: 1 });
  });

  test('a lost hint costs a second', async () => {
    const { clock, mesh, other, asked, turns } = await twoProcesses(hintless);
    const pass = async (ms: number, until = (): boolean => false): Promise<void> => {
      for (let passed = 0; passed < ms && !until(); passed += 50) {
        await clock.advance(50);
        await turns(5);
      }
    };
    const held = await other.acquire('hot', { owner: 'first' });
    const { order, begin } = crowd(mesh, 100);
    void begin(600_000);
    await turns(100);
    await pass(4_000);
    expect(order).toEqual([]);
    expect(asked.refs).toBeGreaterThanOrEqual(300);
    expect(asked.refs).toBeLessThanOrEqual(400);
    await held.release();
    await pass(1_100, () => order.length > 0);
    expect(order[0]).toBe(0);
  });

  test('L6: nothing is asked about waits that have ended', async () => {
    const { clock, mesh, other, asked, turns } = await twoProcesses();
    const held = await other.acquire('hot', { owner: 'first' });
    const { failed, begin } = crowd(mesh, 500);
    const all = begin(500);
    await turns(50);
    await clock.advance(500);
    await all;
    expect(failed).toEqual(Array.from({ length: 500 }, () => 'LOCK_TIMEOUT'));
    await turns(50);
    Object.assign(asked, { calls: 0, refs: 0 });
    await clock.advance(3_000);
    await held.release();
    await turns(10);
    expect(asked).toEqual({ calls: 0, refs: 0 });
  });
});

describe('polls', () => {
  /** A store that knows of nothing but waits, and writes down what it is asked, and when. */
  function polls() {
    const clock = createTestClock();
    const asked = new Map<string, number[]>();
    const calls: (() => void)[] = [];
    const state = { isSlow: false, isFailing: false, ended: new Set<string>() };
    const answerOf = (id: string): LockAnswer =>
      state.ended.has(id)
        ? { status: 'lost' }
        : { status: 'waiting', wait: { id, version: 0 }, ahead: 0, suspect: true, holders: [] };
    const store = {
      keep: async (_: SessionNumber, refs: readonly { readonly id: string }[]) => {
        for (const { id } of refs) asked.set(id, [...(asked.get(id) ?? []), clock.mono()]);
        if (state.isFailing) throw new Error('It is away');
        const answers = refs.map(({ id }) => answerOf(id));
        if (state.isSlow) await new Promise<void>((resolve) => calls.push(resolve));
        return { at: 0 as BackendTime, answers };
      },
    } as unknown as LockStore;
    const under = new WaitPolls({ store, session: () => 1 as SessionNumber, clock, most: 250 });
    const ended: string[] = [];
    const add = (id: string, resources: readonly string[] = ['r']): void => {
      under.add({
        id,
        resources,
        ended: () => {
          ended.push(id);
          under.remove(id);
        },
      });
    };
    return { clock, asked, calls, state, under, ended, add };
  }

  test('of 3,000 waits go round, 2,000 a second', async () => {
    const { clock, asked, add } = polls();
    for (let i = 0; i < 3_000; i++) add(`w${i}`);
    await clock.advance(10_000);
    const times = [...asked.values()];
    expect(times).toHaveLength(3_000);
    expect(times.flat().length).toBeLessThanOrEqual(18_100);
    for (const [first, ...later] of times) {
      let before = first as number;
      expect(later.length).toBeGreaterThanOrEqual(4);
      for (const at of later) {
        expect(at - before).toBeLessThanOrEqual(1_600);
        before = at;
      }
    }
  });

  test('news that comes while the store is being asked is asked about once more, however much it is', async () => {
    const { clock, asked, calls, state, under, ended, add } = polls();
    state.isSlow = true;
    add('w');
    for (let i = 0; i < 5; i++) {
      under.wake('w');
      under.wakeAt('r');
      await clock.advance(1);
    }
    expect(asked.get('w')).toHaveLength(1);
    state.ended.add('w');
    for (let i = 0; i < 5; i++) {
      calls.pop()?.();
      await clock.advance(1);
    }
    expect(asked.get('w')).toHaveLength(2);
    expect(ended).toEqual(['w']);
  });

  test.each([
    ['by id', (under: WaitPolls) => under.wake('w')],
    ['of a resource', (under: WaitPolls) => under.wakeAt('r')],
    ['of anything', (under: WaitPolls) => under.wakeAll()],
  ])('news that overtakes the answer of a request is not lost: %s', async (_, wake) => {
    const { clock, asked, under, add } = polls();
    under.wake('w');
    under.expect('w');
    under.expect('other');
    wake(under);
    add('w');
    under.remove('other');
    add('other');
    await clock.advance(1);
    expect([...asked.keys()]).toEqual(['w']);
  });

  test('news from before a request went out is not of it', async () => {
    const { clock, asked, under, add } = polls();
    under.wake('w');
    under.wakeAll();
    under.expect('w');
    add('w');
    await clock.advance(1);
    expect(asked.size).toBe(0);
  });

  test('news of a resource without a name is asked about of those that are for it', async () => {
    const { clock, asked, under, add } = polls();
    add('both', ['a', 'b']);
    add('other', ['c']);
    under.wakeAt('b');
    under.wake('unknown');
    await clock.advance(1);
    expect([...asked.keys()]).toEqual(['both']);
    under.remove('both');
    under.wakeAt('b');
    await clock.advance(1);
    expect(asked.get('both')).toHaveLength(1);
  });

  test('a store that fails is asked again a second later', async () => {
    const { clock, asked, state, under, ended, add } = polls();
    state.isFailing = true;
    state.ended.add('w');
    add('w');
    under.wakeAll();
    await clock.advance(1);
    expect(asked.get('w')).toHaveLength(1);
    state.isFailing = false;
    await clock.advance(1_050);
    expect(asked.get('w')).toHaveLength(2);
    expect(ended).toEqual(['w']);
  });
});
