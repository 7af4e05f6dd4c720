import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { isCoordinationError } from '../../src/core/errors.ts';
import type { LockStore } from '../../src/core/ports/locks.ts';
import { FencedResource } from '../../src/resources/fence.ts';
import { OptimisticLockManager } from '../../src/resources/optimistic-lock-manager.ts';
import { createDesk } from '../support/locks/lock-desk.ts';
import { remoteLocks } from '../support/locks/remote-locks.ts';

const codeOf = (error: unknown): unknown => (isCoordinationError(error) ? error.code : error);

describe('leases of their own', () => {
  test('a lease is renewed at a third of its time until it is released', async () => {
    const kept: number[] = [];
    const { locks, clock } = createDesk(
      {},
      (store, at) =>
        ({
          ...store,
          quick: store.quick,
          live: store.live,
          request: (op, requests) => store.request(op, requests),
          release: (op, items) => store.release(op, items),
          list: (filter, page) => store.list(filter, page),
          keep: (session, refs) => {
            kept.push(at.mono());
            return store.keep(session, refs);
          },
        }) as LockStore,
    );
    const lease = await locks.acquire('x', { leaseMs: 3_000 });
    await clock.advance(10_000);
    expect(lease.signal.aborted).toBe(false);
    expect(lease.expiresInMs).toBeGreaterThan(0);
    expect(kept.length).toBeGreaterThanOrEqual(9);
    await lease.release();
    const renewals = kept.length;
    await clock.advance(10_000);
    expect(kept.length).toBe(renewals);
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('L4: when renewals fail it is given up at two thirds, before the store gives it away', async () => {
    let reachable = true;
    const { locks, clock, named } = createDesk({}, (store) =>
      remoteLocks(store, async (label, call) => {
        if (label === 'keep' && !reachable) throw new Error('unreachable');
        return call();
      }),
    );
    const lease = await locks.acquire('x', { leaseMs: 3_000 });
    const { signal } = lease;
    reachable = false;
    await clock.advance(1_999);
    expect(signal.aborted).toBe(false);
    await clock.advance(2);
    expect(codeOf(signal.reason)).toBe('LEASE_LOST');
    expect(lease.expiresInMs).toBe(0);
    expect(named('resource:expired')).toMatchObject([{ resourceId: 'x' }]);
    await expect(lease.fenced(() => 'late')).rejects.toMatchObject({ code: 'STALE_FENCE' });
    await expect(lease.upgrade()).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });

  test('L3: without renewal it ends, a little early here, and the next one is granted', async () => {
    const { locks, clock } = createDesk();
    const lease = await locks.acquire('x', { leaseMs: 1_000, renew: false });
    const next = locks.acquire('x', 'next');
    await clock.advance(949);
    expect(lease.signal.aborted).toBe(false);
    await clock.advance(2);
    expect(lease.signal.aborted).toBe(true);
    await clock.advance(50);
    expect((await next).token).toBeGreaterThan(lease.token);
    await lease.release();
    expect(locks.getAllocations().get('x')).toBe('next');
  });

  test('a signal read after the end is aborted already', async () => {
    const { locks, clock } = createDesk();
    const lease = await locks.acquire('x', { leaseMs: 100, renew: false });
    await clock.advance(100);
    expect(lease.signal.aborted).toBe(true);
    expect(codeOf(lease.signal.reason)).toBe('LEASE_LOST');
  });

  test('without a lease of its own it lives with the session', async () => {
    const { locks, clock } = createDesk();
    const lease = await locks.acquire('x');
    await clock.advance(86_400_000);
    expect(lease.expiresInMs).toBe(Number.POSITIVE_INFINITY);
    expect(lease.signal.aborted).toBe(false);
  });

  test('what people see of a lease is short', async () => {
    const { locks } = createDesk();
    const lease = await locks.acquireAll(['b', { path: 'src/a.ts' }], { owner: 'ann' });
    expect(lease.resources).toEqual(['b', '/src/a.ts']);
    expect([...lease.tokens.keys()]).toEqual(['b', '/src/a.ts']);
    expect(lease.tokens.get('b')).toBe(lease.token);
    expect(inspect(lease, { breakLength: 200 })).toMatch(
      /^\{ resources: \[ 'b', '\/src\/a\.ts' \], owner: 'ann', token: \d+, status: 'held' \}$/,
    );
  });

  test('upgrade waits for other readers, downgrade lets them in again', async () => {
    const { locks, named } = createDesk();
    const read = { resource: 'doc', mode: 'shared' } as const;
    const mine = await locks.acquire(read);
    const yours = await locks.acquire(read);
    const before = mine.token;
    const upgrade = mine.upgrade();
    await expect(yours.upgrade()).rejects.toMatchObject({ code: 'UPGRADE_CONFLICT' });
    await yours.release();
    await upgrade;
    expect(mine.token).toBeGreaterThan(before);
    expect(await locks.tryAcquire(read)).toBeUndefined();
    await mine.upgrade();
    await mine.downgrade();
    expect(await locks.tryAcquire(read)).toBeDefined();
    await mine.downgrade();
    expect(named('resource:acquired').map(({ mode }) => mode)).toEqual(['shared', 'shared', 'shared']);
    expect(named('resource:converted').map(({ mode }) => mode)).toEqual(['exclusive', 'shared']);
  });

  test('an upgrade ends with its lock', async () => {
    const { locks } = createDesk();
    const read = { resource: 'doc', mode: 'shared' } as const;
    const mine = await locks.acquire(read);
    await locks.acquire(read);
    const upgrade = mine.upgrade().catch(codeOf);
    await mine.release();
    expect(await upgrade).toBe('LEASE_LOST');
    expect(locks.lockUse()).toMatchObject({ waiting: 0 });
  });

  test('units have no modes', async () => {
    const { locks } = createDesk();
    const lease = await locks.acquire({ semaphore: 'gpu', of: 2 });
    await expect(lease.upgrade()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(lease.downgrade()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('fences', () => {
  test('L2: a write with an older token never succeeds once a newer one was seen', async () => {
    const { locks, clock, named } = createDesk();
    const old = await locks.acquire('file', { leaseMs: 100, renew: false });
    await clock.advance(200);
    const fresh = await locks.acquire('file');
    expect(await fresh.fenced((token) => token)).toBe(fresh.token);
    let written = false;
    await expect(
      old.fenced(() => {
        written = true;
      }),
    ).rejects.toMatchObject({ code: 'STALE_FENCE' });
    expect(written).toBe(false);
    expect(named('fence:refused')).toEqual([{ resourceId: 'file', token: old.token, current: fresh.token }]);
  });

  test('L2: a write that was overtaken while it ran is refused', async () => {
    const { locks, clock } = createDesk();
    const old = await locks.acquire('file', { leaseMs: 100, renew: false });
    const slow = Promise.withResolvers<string>();
    const write = old.fenced(() => slow.promise).catch(codeOf);
    await clock.advance(200);
    const fresh = await locks.acquire('file');
    await fresh.fenced(() => 'fresh');
    slow.resolve('old');
    expect(await write).toBe('STALE_FENCE');
  });

  test('L1: a lock that was taken twice by its owner stays good for its first lease', async () => {
    const { locks } = createDesk();
    const first = await locks.acquire('file', { owner: 'ann' });
    const second = await locks.acquire('file', { owner: 'ann', reentrant: true });
    await second.fenced(() => 'inner');
    expect(await first.fenced(() => 'outer')).toBe('outer');
    await second.release();
    expect(locks.getAllocations().get('file')).toBe('ann');
    await first.release();
    expect(locks.getAllocations().size).toBe(0);
  });

  test('a fenced resource guards a place of your own', async () => {
    const file = new FencedResource('file');
    expect(await file.write(5, (token) => token * 2)).toBe(10);
    await expect(file.write(4, () => 'late')).rejects.toMatchObject({ code: 'STALE_FENCE' });
    expect(await file.write(5, () => 'again')).toBe('again');
    expect(file.newest).toBe(5);
    const slow = Promise.withResolvers<void>();
    const overtaken = file.write(6, () => slow.promise).catch(codeOf);
    await file.write(7, () => undefined);
    slow.resolve();
    expect(await overtaken).toBe('STALE_FENCE');
    await expect(file.write(Number.NaN, () => 1)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('optimistic locks', () => {
  test('of two readers of one version the first to update wins', () => {
    const versions = new OptimisticLockManager();
    const first = versions.acquireLock('doc', 'ann');
    const second = versions.acquireLock('doc', 'bob');
    expect(second).toBe(first);
    expect(versions.validateAndUpdate('doc', 'ann', first)).toBe(true);
    expect(versions.validateAndUpdate('doc', 'bob', second)).toBe(false);
    expect(versions.validateAndUpdate('doc', 'ann', versions.version('doc') as number)).toBe(true);
    expect(versions.validateAndUpdate('doc', 'ann', first)).toBe(false);
    expect(versions.validateAndUpdate('doc', 'cid', versions.version('doc') as number)).toBe(false);
    expect(versions.validateAndUpdate('other', 'ann', 1)).toBe(false);
  });

  test('a version never comes again, even if everybody left in between', () => {
    const versions = new OptimisticLockManager();
    const before = versions.acquireLock('doc', 'ann');
    versions.releaseLock('doc', 'ann');
    versions.releaseLock('doc', 'ann');
    expect(versions.version('doc')).toBeUndefined();
    const after = versions.acquireLock('doc', 'bob');
    expect(after).toBeGreaterThan(before);
    expect(versions.validateAndUpdate('doc', 'bob', before)).toBe(false);
  });

  test('an exclusive lock that is given back makes what was read before out of date', async () => {
    const versions = new OptimisticLockManager();
    const { locks } = createDesk({}, undefined, { versions });
    const read = versions.acquireLock('doc', 'ann');
    await locks.withLock({ resource: 'doc', mode: 'shared' }, () => 'nothing changes');
    expect(versions.version('doc')).toBe(read);
    await locks.withLock('doc', () => 'something may have changed');
    expect(versions.validateAndUpdate('doc', 'ann', read)).toBe(false);
  });
});
