import { describe, expect, onTestFinished, test } from 'vitest';
import { memory } from '../../src/backends/memory/memory.ts';
import { type CoordinationEvent, CoordinationManager, DeadlockError, EventBus } from '../../src/index.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

/** Several managers on one store that they reach over a network, on one clock. */
async function fleet(size: number) {
  const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
  const store = memory({ shared: true });
  const events: CoordinationEvent[] = [];
  const meshes = await Promise.all(
    Array.from({ length: size }, async (_, i) => {
      const bus = new EventBus({ clock });
      bus.tap((event) => events.push(event));
      const backend = networked<Backend>(store);
      const mesh = new CoordinationManager({ backend, clock, seed: i, env: {}, workStealing: false }, bus);
      await mesh.initialize();
      return mesh;
    }),
  );
  onTestFinished(async () => {
    const over = Promise.all(meshes.map((mesh) => mesh.shutdown()));
    await clock.advance(60_000);
    await over;
  });
  return {
    clock,
    events,
    meshes: meshes as [CoordinationManager, CoordinationManager, ...CoordinationManager[]],
  };
}

/** Lets time pass until it settles. @returns how long that took, ms */
async function until(clock: TestClock, end: Promise<unknown>, mostMs = 30_000): Promise<number> {
  let settled = false;
  const done = (): void => {
    settled = true;
  };
  end.then(done, done);
  let passed = 0;
  for (; passed < mostMs; passed += 20) {
    await clock.advance(20);
    if (settled) return passed;
  }
  throw new Error(`Nothing after ${mostMs} ms`);
}

describe('deadlocks between processes', () => {
  test('D2 D3: crossed locks: one victim within a second, told with the cycle; the other goes on', async () => {
    const { clock, meshes } = await fleet(2);
    const [a, b] = meshes;
    const held = [await a.acquire('A', { owner: 'one' }), await b.acquire('B', { owner: 'two' })];
    const waits = [
      a.acquire('B', { owner: 'one', timeoutMs: 20_000 }),
      b.acquire('A', { owner: 'two', timeoutMs: 20_000 }),
    ];
    // A victim gives back what it has.
    const ends = waits.map((wait, i) =>
      wait.then(
        () => 'granted',
        (error: unknown) => held[i]?.release().then(() => error),
      ),
    );
    expect(await until(clock, Promise.race(ends))).toBeLessThan(1_000);
    await until(clock, Promise.all(ends));
    const [victim, ...others] = (await Promise.all(ends)).toSorted((end) => (end === 'granted' ? 1 : -1));
    expect(others).toEqual(['granted']);
    expect(victim).toBeInstanceOf(DeadlockError);
    expect((victim as DeadlockError).resources.toSorted()).toEqual(['A', 'B']);
  });

  test('D2: a parent holds a lock that its child wants in another process', async () => {
    const { clock, meshes } = await fleet(2);
    const [a, b] = meshes;
    let victims = 0;
    a.registerAgent({
      id: 'parents',
      handler: {
        parent: ({ withLock, submit }) =>
          withLock('L', async () => (await submit({ type: 'child' })).result()),
      },
    });
    b.registerAgent({
      id: 'children',
      handler: {
        child: ({ withLock }) =>
          withLock('L', () => 'had it').catch((error: unknown) => {
            if (error instanceof DeadlockError) victims += 1;
            return 'went without';
          }),
      },
    });
    const parent = await a.submitTask({ type: 'parent' });
    const result = parent.result();
    const ms = await until(clock, result);
    expect(await result).toBe('went without');
    expect(victims).toBe(1);
    expect(ms).toBeLessThan(2_500);
  });

  test('D2: two parents, each of which holds the lock that the other one’s child wants', async () => {
    const { clock, meshes } = await fleet(2);
    const [a, b] = meshes;
    const victims: string[] = [];
    for (const [mesh, own, other] of [
      [a, 'L1', 'L2'],
      [b, 'L2', 'L1'],
    ] as const) {
      mesh.registerAgent({
        id: `parent-${own}`,
        handler: {
          [`parent-${own}`]: ({ withLock, submit, sleep }) =>
            withLock(own, async () => {
              await sleep(100);
              return (await submit({ type: `child-${own}` })).result();
            }),
        },
      });
      mesh.registerAgent({
        id: `child-of-${other}`,
        handler: {
          [`child-${other}`]: ({ withLock, task }) =>
            withLock(own, () => 'had it').catch((error: unknown) => {
              if (!(error instanceof DeadlockError)) throw error;
              victims.push(task.id);
              return 'went without';
            }),
        },
      });
    }
    const parents = await Promise.all([
      a.submitTask({ type: 'parent-L1' }),
      b.submitTask({ type: 'parent-L2' }),
    ]);
    const results = Promise.all(parents.map((parent) => parent.result()));
    await until(clock, results);
    expect(new Set(await results)).toEqual(new Set(['had it', 'went without']));
    expect(victims).toHaveLength(1);
  });

  test('D1: nobody is a victim where a published wait has ended', async () => {
    const { clock, meshes, events } = await fleet(2);
    const [a, b] = meshes;
    a.registerAgent({
      id: 'parents',
      handler: {
        parent: ({ withLock, submit, sleep }) =>
          withLock('L', async () => {
            for (let i = 0; i < 5; i++) await (await submit({ type: 'child', input: i })).result();
            await sleep(500);
            return 'done';
          }),
      },
    });
    b.registerAgent({
      id: 'children',
      maxConcurrentTasks: 4,
      handler: {
        child: ({ sleep }) => sleep(400),
        taker: ({ withLock }) => withLock('L', () => 'had it'),
      },
    });
    const parent = await a.submitTask({ type: 'parent' });
    const takers = await Promise.all([1, 2].map(() => b.submitTask({ type: 'taker' })));
    const results = Promise.all([parent, ...takers].map((task) => task.result()));
    await until(clock, results);
    expect(await results).toEqual(['done', 'had it', 'had it']);
    expect(events.map(({ name }) => name)).not.toContain('deadlock:detected');
  });
});
