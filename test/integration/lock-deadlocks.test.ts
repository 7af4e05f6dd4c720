import { describe, expect, test } from 'vitest';
import type { RedisStore } from '../../src/backends/redis/connection.ts';
import { DeadlockError } from '../../src/core/deadlock-error.ts';
import type { Operations } from '../../src/core/operations.ts';
import type { LockItem, LockStore, WaitRef } from '../../src/core/ports/locks.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { cycleThrough, findDeadlocks } from '../../src/resources/find-deadlock.ts';
import { lockWaits } from '../../src/resources/lock-waits.ts';
import { findStuck } from '../../src/resources/reduce.ts';
import { SnapshotWaits } from '../../src/resources/snapshot-waits.ts';
import { openCaller } from '../../src/testing/suites/caller.ts';
import { item, LockWorld, requestOf } from '../../src/testing/suites/locks/world.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';
import { Bustle, judge, pagedLocks, type Verdicts } from '../support/locks/paged-pictures.ts';
import { postgresEnvironment } from '../support/postgres-environment.ts';
import { redisEnvironment } from '../support/redis-environment.ts';

const seed = `${process.env['FC_SEED']}`;
const LOOKS = Number(process.env['LOCK_LOOKS'] ?? 150);

/** A lock store, and the pictures that it gives while things happen. */
interface Scene {
  readonly env: SuiteEnvironment;
  pictures(between: () => Promise<void>): LockStore;
}

const SCENES: readonly (readonly [name: string, open: () => Promise<Scene>])[] = [
  [
    'PostgreSQL',
    async () => {
      const env = await postgresEnvironment();
      return { env, pictures: () => env.backend.locks as LockStore };
    },
  ],
  [
    'Redis',
    async () => {
      let store: RedisStore | undefined;
      const env = await redisEnvironment((backend) => backend, {
        ports: (given) => {
          store = given;
          return {};
        },
      });
      return { env, pictures: (between) => pagedLocks(store as RedisStore, between) };
    },
  ],
];

/** A path lock: of a file below the folder that all share. */
function file(name: string): LockItem[] {
  return [
    { resource: '/', mode: 'intent-exclusive' },
    { resource: name, mode: 'exclusive' },
  ];
}

/** The waits of these owners, who are all in a deadlock. */
async function refsOf({ store }: LockWorld, ...owners: readonly string[]): Promise<WaitRef[]> {
  const waits = new SnapshotWaits(await store.snapshot());
  const [members] = findDeadlocks(findStuck(waits.waiting(), waits));
  expect(members?.map(({ id }) => id).toSorted()).toEqual(owners.toSorted());
  return owners.flatMap((owner) => waits.waits(owner).map(({ ref }) => ref));
}

describe.each(SCENES)('%s: what a deadlock hangs on', (_, open) => {
  async function inWorld(body: (world: LockWorld, scene: Scene) => Promise<void>): Promise<void> {
    const scene = await open();
    try {
      await body(new LockWorld(scene.env, await openCaller(scene.env)), scene);
    } finally {
      await scene.env.stop();
    }
  }

  test('D1: ends no wait that could have gone on, and D2: ends those that could not', async () => {
    const modes = (resource: string): readonly LockItem[] => [
      { resource, mode: 'exclusive' },
      { resource, mode: 'exclusive' },
      { resource, mode: 'shared' },
      { resource, mode: 'intent-exclusive' },
    ];
    const units: LockItem = { resource: 'units', mode: { units: 1, of: 2 } };
    const wishes = [...modes('a'), ...modes('b'), ...modes('c'), units, units];
    const verdicts: Verdicts = { found: 0, aborted: 0, unjust: 0 };
    await inWorld(async ({ store, caller }, { pictures }) => {
      const random = createRandom(`look ${seed}`);
      const bustle = new Bustle(store, () => caller.op(), random, wishes);
      // While a picture is read, and before a wait is ended by it.
      const between = async (): Promise<void> => {
        while (random.next() < 0.6) await bustle.step();
      };
      // Few deadlocks are found, and now and then all of them still stand when they are ended.
      const oneKind = (): boolean => verdicts.aborted === 0 || verdicts.aborted === verdicts.found;
      for (let round = 0; round < LOOKS || (oneKind() && round < 10 * LOOKS); round++) {
        for (let i = 0; i < 6; i++) await bustle.step();
        await judge(pictures(between), store, bustle, () => caller.op(), between, 'all', verdicts);
      }
    });
    console.info(`FC_SEED=${seed}`, JSON.stringify(verdicts));
    expect(verdicts.aborted).toBeGreaterThan(0);
    expect(verdicts.aborted, 'some of what it shows is past').toBeLessThan(verdicts.found);
    expect(verdicts.unjust).toBe(0);
  });

  test('D2: locks that come and go beside it, on folders that all share, keep nobody from ending it', () =>
    inWorld(async (world) => {
      await world.take('a', file('/a'));
      await world.take('b', file('/b'));
      await world.wait('a-b', file('/b'), { owner: 'a' });
      await world.wait('b-a', file('/a'), { owner: 'b' });
      const waits = new SnapshotWaits(await world.store.snapshot());
      const [wait] = waits.waits('a').map(({ ref }) => ref);
      const passing = await world.take('c', file('/c'));
      await world.wait('d', file('/c'));
      await world.release(passing);
      const witnesses = waits.waits('b').map(({ ref }) => ref);
      const { aborted } = await world.store.abort(world.caller.op(), wait as WaitRef, [], witnesses);
      expect(aborted).toBe(true);
    }));

  test('D2: under steady traffic below the same folder a deadlock is ended at the first look', () =>
    inWorld(async (world, { env }) => {
      const names = ['/a', '/b', '/c'];
      for (const name of names) await world.take(name, file(name));
      for (const [i, name] of names.entries())
        await world.wait(`${name}+`, file(names[(i + 1) % 3] as string), { owner: name });
      let passed = 0;
      let isOver = false;
      const traffic = [1, 2, 3].map(async (lane) => {
        const other = await new LockWorld(env, world.caller).other(`lane ${lane}`);
        for (let i = 0; !isOver; i++) {
          const grant = await other.take(`${lane}-${i}`, file(`/lane-${lane}`));
          await other.release(grant);
          passed += 1;
        }
      });
      let looks = 0;
      for (let aborted = false; !aborted && looks < 20; ) {
        looks += 1;
        const waits = new SnapshotWaits(await world.store.snapshot('/a'));
        const [members] = findDeadlocks(findStuck(waits.waiting(), waits));
        expect(members?.map(({ id }) => id).toSorted()).toEqual(names);
        const refs = names.flatMap((name) => waits.waits(name).map(({ ref }) => ref));
        const before = passed;
        // As long as a look takes that isn't the only thing its process does.
        while (passed < before + 3) await new Promise((resolve) => setImmediate(resolve));
        const [wait, ...witnesses] = refs as [WaitRef, ...WaitRef[]];
        ({ aborted } = await world.store.abort(world.caller.op(), wait, [], witnesses));
      }
      isOver = true;
      await Promise.all(traffic);
      expect(looks).toBe(1);
    }));

  test('D1: an owner that has come to hold what it waits for beside others waits for nobody there', () =>
    inWorld(async (world) => {
      await world.take('h', item('x', 'shared'));
      await world.take('o-k', 'k', { owner: 'o' });
      await world.take('q', 'y');
      await world.wait('c', 'x');
      await world.wait('h-k', 'k', { owner: 'h' });
      // Behind c, which waits for h, which waits for o.
      await world.wait('o-xy', [...item('x', 'shared'), ...item('y')], { owner: 'o' });
      const [wait, ...witnesses] = await refsOf(world, 'o', 'c', 'h');
      await world.take('o-x', item('x', 'shared'), { owner: 'o', priority: 1_000 });
      const { aborted } = await world.store.abort(world.caller.op(), wait as WaitRef, [], witnesses);
      expect(aborted).toBe(false);
    }));

  test('D1: an upgrade that was taken back is in the way of nobody', () =>
    inWorld(async (world) => {
      const g = await world.take('g', item('x', 'shared'));
      await world.take('g-up', 'x', { owner: 'g', upgradeOf: g });
      await world.take('v', 'k');
      await world.take('q', 'y');
      await world.wait('g-k', 'k', { owner: 'g' });
      await world.wait('v-xy', [...item('x', 'intent-shared'), ...item('y')], { owner: 'v' });
      const [wait, ...witnesses] = await refsOf(world, 'g', 'v');
      await world.release({ id: 'g-up' });
      const { aborted } = await world.store.abort(world.caller.op(), wait as WaitRef, [], witnesses);
      expect(aborted).toBe(false);
    }));

  test("D1: a lease that is over stands in nobody's way, also when more has run out than one call ends", () =>
    inWorld(async (world, { env }) => {
      const lease = (leaseMs: number) => ({ lease: { leaseMs } });
      const many = Array.from({ length: 150 }, (_, i) =>
        requestOf(`m${i}`, `many-${i}`, { owner: 'm', ...lease(90) }),
      );
      await world.store.request(world.caller.op(), many);
      await world.take('a', 'x', lease(100));
      await world.take('b', 'y');
      await world.wait('a-y', 'y', { owner: 'a' });
      await world.wait('b-x', 'x', { owner: 'b' });
      const waits = new SnapshotWaits(await world.store.snapshot());
      await env.pass(200);
      const [wait, witness] = ['b', 'a'].flatMap((id) => waits.waits(id).map(({ ref }) => ref)) as [
        WaitRef,
        WaitRef,
      ];
      const { aborted } = await world.store.abort(world.caller.op(), wait, [], [witness]);
      expect(aborted).toBe(false);
      await expect.poll(async () => (await world.keep('b-x')).status).toBe('granted');
    }));

  test('D1: a wait that stands, but for somebody else by now, is no witness', () =>
    inWorld(async (world) => {
      const x = await world.take('a', 'x');
      await world.take('b', 'y');
      await world.wait('c', 'x');
      await world.wait('b-x', 'x', { owner: 'b' });
      await world.wait('a-y', 'y', { owner: 'a' });
      const waits = new SnapshotWaits(await world.store.snapshot());
      const refs = (id: string): readonly WaitRef[] => waits.waits(id).map(({ ref }) => ref);
      // c gets x: when it has finished, b goes on, and then a.
      await world.release({ ...x, revoke: { graceMs: 0, reason: 'by an operator' } });
      const [wait] = refs('a') as [WaitRef];
      const { aborted } = await world.store.abort(world.caller.op(), wait, [], refs('b'));
      expect(aborted).toBe(false);
    }));

  test('D2: a deadlock with hundreds in its knot is ended by its cycle: no call has more witnesses than the store takes items', () =>
    inWorld(async (world, { env }) => {
      const { caller } = world;
      await world.take('h', 'x');
      await world.take('last-z', 'z', { owner: 'last' });
      // The last of the queue waits for all in front of it, and they for it: all of them are members.
      const queue = Array.from({ length: 240 }, (_, i) => requestOf(`w${i}`, 'x', {}));
      await world.store.request(caller.op(), queue);
      await world.wait('last-x', 'x', { owner: 'last' });
      await world.wait('h-z', 'z', { owner: 'h' });
      const counts: number[] = [];
      const store = {
        snapshot: (around?: string) => world.store.snapshot(around),
        abort: (...args: Parameters<LockStore['abort']>) => {
          counts.push(args[3].length);
          return world.store.abort(...args);
        },
      } as LockStore;
      const operations = { session: caller.session, run: (send) => send(caller.op()) } as Operations;
      const { runtime } = env;
      const source = lockWaits({ runtime, store, operations, owners: { records: () => [] } });
      const picture = await source.picture?.('h');
      const waits = new SnapshotWaits(await world.store.snapshot('h'));
      const [members] = findDeadlocks(findStuck(waits.waiting(), waits));
      expect(members?.length).toBe(242);
      const victim = members?.find(({ id }) => id === 'h') as NonNullable<typeof members>[number];
      const cycle = cycleThrough(victim);
      const error = new DeadlockError({ cycle, agents: [], resources: [], survivor: 'last' });
      const nodes = members?.map(({ id }) => id);
      expect(await picture?.abort('h', error, nodes)).toBe(true);
      expect(counts).toEqual([1]);
    }));

  test('a deadlock of units stands only while everybody stands still who could give enough of them, not only the cycle that is reported', () =>
    inWorld(async (world) => {
      const unit: LockItem[] = [{ resource: 'units', mode: { units: 1, of: 2 } }];
      for (const resource of ['x', 'y']) await world.take(`a-${resource}`, resource, { owner: 'a' });
      await world.take('b', unit);
      await world.take('c', unit);
      await world.wait('a-unit', unit, { owner: 'a' });
      await world.wait('b-x', 'x', { owner: 'b' });
      await world.wait('c-y', 'y', { owner: 'c' });
      const waits = new SnapshotWaits(await world.store.snapshot());
      const [members] = findDeadlocks(findStuck(waits.waiting(), waits));
      expect(members?.map(({ id }) => id).toSorted()).toEqual(['a', 'b', 'c']);
      const refs = (id: string): readonly WaitRef[] => waits.waits(id).map(({ ref }) => ref);
      // c goes on without y: it will give its unit back, and a will have it.
      await world.release({ id: 'c-y' });
      const [wait] = refs('a') as [WaitRef];
      const all = await world.store.abort(world.caller.op(), wait, [], [...refs('b'), ...refs('c')]);
      expect(all.aborted, 'with all of them as witnesses').toBe(false);
      const cycle = await world.store.abort(world.caller.op(), wait, [], refs('b'));
      expect(cycle.aborted, 'with those of one cycle only').toBe(true);
    }));
});
