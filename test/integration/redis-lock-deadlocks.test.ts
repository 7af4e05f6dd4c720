import { describe, expect, test } from 'vitest';
import type { RedisStore } from '../../src/backends/redis/connection.ts';
import type { LockItem, LockStore, WaitRef } from '../../src/core/ports/locks.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { findDeadlocks } from '../../src/resources/find-deadlock.ts';
import { findStuck } from '../../src/resources/reduce.ts';
import { SnapshotWaits } from '../../src/resources/snapshot-waits.ts';
import { openCaller } from '../../src/testing/suites/caller.ts';
import { LockWorld } from '../../src/testing/suites/locks/world.ts';
import { Bustle, judge, pagedLocks, type Verdicts } from '../support/locks/paged-pictures.ts';
import { redisEnvironment } from '../support/redis-environment.ts';

const LOOKS = Number(process.env['REDIS_LOCK_LOOKS'] ?? 150);

describe('a picture that is read in pieces', () => {
  const modes = (resource: string): readonly LockItem[] => [
    { resource, mode: 'exclusive' },
    { resource, mode: 'exclusive' },
    { resource, mode: 'shared' },
  ];
  const units: LockItem = { resource: 'units', mode: { units: 1, of: 2 } };
  const wishes = [...modes('a'), ...modes('b'), ...modes('c'), units, units];

  /** Looks again and again while things happen between any two scripts. */
  async function look(rounds: number, seed: string, witnesses: 'cycle' | 'all'): Promise<Verdicts> {
    const verdicts = { found: 0, aborted: 0, unjust: 0 };
    let store: RedisStore | undefined;
    const real = await redisEnvironment((backend) => backend, {
      ports: (given) => {
        store = given;
        return {};
      },
    });
    try {
      const { op } = await openCaller(real);
      const locks = real.backend.locks as LockStore;
      const random = createRandom(seed);
      const bustle = new Bustle(locks, op, random, wishes);
      const between = async (): Promise<void> => {
        while (random.next() < 0.4) await bustle.step();
      };
      const paged = pagedLocks(store as RedisStore, between);
      for (let round = 0; round < rounds; round++) {
        for (let i = 0; i < 6; i++) await bustle.step();
        await judge(paged, locks, bustle, op, between, witnesses, verdicts);
      }
    } finally {
      await real.stop();
    }
    return verdicts;
  }

  test('D1: ends no wait that could have gone on, and D2: ends those that could not', async () => {
    const verdicts = await look(LOOKS, `look ${process.env['FC_SEED']}`, 'all');
    console.info(`FC_SEED=${process.env['FC_SEED']}`, JSON.stringify(verdicts));
    expect(verdicts.aborted).toBeGreaterThan(0);
    expect(verdicts.aborted, 'some of what it shows is past').toBeLessThan(verdicts.found);
    expect(verdicts.unjust).toBe(0);
  });
});

describe('what a deadlock hangs on', () => {
  test('D2: locks that come and go beside it, on folders that all share, keep nobody from ending it', async () => {
    const real = await redisEnvironment();
    try {
      const world = new LockWorld(real, await openCaller(real));
      const file = (name: string): LockItem[] => [
        { resource: '/', mode: 'intent-exclusive' },
        { resource: name, mode: 'exclusive' },
      ];
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
    } finally {
      await real.stop();
    }
  });

  test('D1: a wait that stands, but for somebody else by now, is no witness', async () => {
    const real = await redisEnvironment();
    try {
      const world = new LockWorld(real, await openCaller(real));
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
    } finally {
      await real.stop();
    }
  });

  test('a deadlock of units stands only while everybody stands still who could give enough of them, not only the cycle that is reported', async () => {
    const real = await redisEnvironment();
    try {
      const world = new LockWorld(real, await openCaller(real));
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
    } finally {
      await real.stop();
    }
  });
});
