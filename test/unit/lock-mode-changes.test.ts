import { describe, expect, test } from 'vitest';
import { CoordinationError, isCoordinationError } from '../../src/core/errors.ts';
import type { Lease } from '../../src/core/lock-types.ts';
import { CoordinationMetricsCollector } from '../../src/metrics/coordination-metrics-collector.ts';
import { createLateDesk } from '../support/locks/late-desk.ts';
import { createDesk, type LockDesk } from '../support/locks/lock-desk.ts';
import { remoteLocks } from '../support/locks/remote-locks.ts';

const codeOf = (error: unknown): unknown => (isCoordinationError(error) ? error.code : error);
const shared = (resource: string) => ({ resource, mode: 'shared' }) as const;
const empty = { held: 0, waiting: 0 };

describe('a lease that ran out while the loop was blocked', () => {
  const changes: readonly [string, (lease: Lease) => Promise<void>][] = [
    ['upgrade', (lease) => lease.upgrade()],
    ['downgrade', (lease) => lease.downgrade()],
  ];
  for (const [name, change] of changes) {
    for (const renew of [true, false]) {
      test(`L4: ${name}() of it says LEASE_LOST, and nothing is held (renew: ${renew})`, async () => {
        const { locks, block, store, clock } = createLateDesk();
        const lease = await locks.acquire(
          { resource: 'x', mode: name === 'upgrade' ? 'shared' : 'exclusive' },
          { leaseMs: 300, renew },
        );
        block(1_000);
        await expect(change(lease)).rejects.toMatchObject({ code: 'LEASE_LOST' });
        expect(lease.signal.aborted).toBe(true);
        expect(locks.getAllocations()).toEqual(new Map());
        expect(store.live.counts()).toMatchObject(empty);
        await clock.advance(10_000);
        expect(store.live.counts()).toMatchObject(empty);
        expect(await locks.tryAcquire('x')).toBeDefined();
      });
    }
  }

  test('L4: an upgrade of a path gives its folders back as well', async () => {
    const { locks, block, store } = createLateDesk();
    const lease = await locks.acquire({ path: 'src/a', mode: 'shared' }, { leaseMs: 300 });
    block(1_000);
    await expect(lease.upgrade()).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect(store.live.counts()).toMatchObject(empty);
    expect(await locks.tryAcquire({ path: '/' })).toBeDefined();
  });

  test('L4: one that runs out halfway through its upgrade, too', async () => {
    const { locks, crawl, store } = createLateDesk();
    const outcomes = new Set<unknown>();
    for (let step = 10; step <= 320; step += 10) {
      const lease = await locks.acquireAll([shared('x'), shared('y')], { leaseMs: 300, renew: false });
      crawl(step);
      outcomes.add(await lease.upgrade().catch(codeOf));
      crawl(0);
      await lease.release();
      expect(store.live.counts(), `${step} ms for a reading`).toMatchObject(empty);
    }
    expect(outcomes).toEqual(new Set([undefined, 'LEASE_LOST']));
  });

  test('L4: an upgrade that waits ends with it, whoever lets it go on', async () => {
    const { locks, block, store } = createLateDesk();
    const lease = await locks.acquire(shared('x'), { leaseMs: 300 });
    const other = await locks.acquire(shared('x'));
    const upgrade = lease.upgrade().catch(codeOf);
    block(1_000);
    await other.release();
    expect(await upgrade).toBe('LEASE_LOST');
    expect(store.live.counts()).toMatchObject(empty);
  });

  test('L4: a renewal that comes too late doesn’t revive it', async () => {
    const { locks, block, store, clock } = createLateDesk();
    const lease = await locks.acquire('x', { leaseMs: 300 });
    block(1_000);
    await clock.advance(300);
    expect(lease.expiresInMs).toBe(0);
    expect(store.live.counts()).toMatchObject(empty);
  });

  test('L2: a fenced write under it is refused, although no timer has fired', async () => {
    const { locks, block } = createLateDesk();
    const lease = await locks.acquire('x', { leaseMs: 300 });
    block(1_000);
    await expect(lease.fenced(() => 'late')).rejects.toMatchObject({ code: 'STALE_FENCE' });
  });
});

for (const [where, create] of [
  ['in this process', () => createDesk()],
  ['across a network', () => createDesk({}, (store) => remoteLocks(store, async (_, call) => call()))],
] as const) {
  test(`a lease of its own is renewed after upgrade() and downgrade() too (store ${where})`, async () => {
    const { locks, clock, named } = create();
    const lease = await locks.acquire(shared('x'), { leaseMs: 600 });
    const first = lease.token;
    await lease.upgrade();
    expect(lease.token).toBeGreaterThan(first);
    await clock.advance(5_000);
    await lease.downgrade();
    await clock.advance(5_000);
    await lease.upgrade();
    await clock.advance(5_000);
    expect(lease.signal.aborted).toBe(false);
    expect(named('resource:expired')).toEqual([]);
    await lease.release();
    expect(await locks.tryAcquire('x')).toBeDefined();
  });
}

/** A desk whose store is far: calls arrive, and answers come back, when the test says so. */
function farDesk(): LockDesk & {
  /** Calls and answers of this method wait here. */
  hold(label: string, part: 'call' | 'answer'): void;
  /** Lets everything held go on. */
  go(): Promise<void>;
  fail(label: string, error: Error | undefined): void;
} {
  const held = new Map<string, (() => void)[]>();
  const failing = new Map<string, Error>();
  const stop = async (what: string): Promise<void> => {
    const list = held.get(what);
    if (list !== undefined) await new Promise<void>((resolve) => void list.push(resolve));
  };
  const desk = createDesk({}, (store) =>
    remoteLocks(store, async (label, call) => {
      await stop(`${label} call`);
      const answer = call();
      await stop(`${label} answer`);
      const error = failing.get(label);
      if (error !== undefined) throw error;
      return answer;
    }),
  );
  return {
    ...desk,
    hold: (label, part) => void held.set(`${label} ${part}`, []),
    go: async () => {
      const lists = [...held.values()];
      held.clear();
      for (const list of lists) for (const resume of list) resume();
      await desk.clock.settle();
    },
    fail: (label, error) => void (error === undefined ? failing.delete(label) : failing.set(label, error)),
  };
}

describe('L6: an upgrade that ends while its grant is on its way', () => {
  const ends: readonly [string, (lease: Lease, desk: LockDesk) => Promise<unknown>, unknown][] = [
    [
      'by time',
      async (lease, { clock }) => {
        const upgrade = lease.upgrade({ timeoutMs: 30 }).catch(codeOf);
        await clock.advance(50);
        return upgrade;
      },
      'LOCK_TIMEOUT',
    ],
    [
      'by its signal',
      async (lease, { clock }) => {
        const controller = new AbortController();
        const upgrade = lease.upgrade({ signal: controller.signal }).catch(codeOf);
        await clock.settle();
        controller.abort('enough');
        return upgrade;
      },
      'enough',
    ],
  ];
  for (const [how, end, outcome] of ends) {
    for (const part of ['call', 'answer'] as const) {
      test(`${how}, its ${part} under way: the lock has the modes and the token again that it had`, async () => {
        const desk = farDesk();
        const { locks, store, clock } = desk;
        const lease = await locks.acquire(shared('x'));
        const { token } = lease;
        desk.hold('request', part);
        expect(await end(lease, desk)).toBe(outcome);
        await desk.go();
        expect(lease.token).toBe(token);
        const reader = await locks.tryAcquire(shared('x'));
        expect(reader).toBeDefined();
        await reader?.release();
        await lease.upgrade();
        await lease.release();
        await clock.settle();
        expect(store.live.counts()).toMatchObject(empty);
      });

      test(`${how}, its ${part} under way: release() ends the lock, whichever comes first`, async () => {
        const desk = farDesk();
        const { locks, store } = desk;
        const lease = await locks.acquire(shared('x'));
        desk.hold('request', part);
        expect(await end(lease, desk)).toBe(outcome);
        await lease.release();
        await desk.go();
        expect(store.live.counts()).toMatchObject(empty);
      });
    }
  }

  test('one that the store refuses after that keeps no later one waiting', async () => {
    const desk = farDesk();
    const { locks, clock } = desk;
    const mine = await locks.acquire(shared('x'));
    const yours = await locks.acquire(shared('x'));
    const their = yours.upgrade().catch(codeOf);
    await clock.settle();
    desk.hold('request', 'answer');
    const first = mine.upgrade({ timeoutMs: 30 }).catch(codeOf);
    await clock.advance(50);
    expect(await first).toBe('LOCK_TIMEOUT');
    const second = mine.upgrade().catch(codeOf);
    await desk.go();
    expect(await second).toBe('UPGRADE_CONFLICT');
    await mine.release();
    await clock.advance(2_000);
    expect(await their).toBeUndefined();
  });

  test('a lease that is renewed meanwhile is not taken for lost', async () => {
    const desk = farDesk();
    const { locks, store, clock, named } = desk;
    const lease = await locks.acquire(shared('x'), { leaseMs: 600 });
    desk.hold('request', 'answer');
    const upgrade = lease.upgrade({ timeoutMs: 10_000 });
    await clock.advance(3_000);
    expect(lease.signal.aborted).toBe(false);
    await desk.go();
    await upgrade;
    await clock.advance(3_000);
    expect(named('resource:expired')).toEqual([]);
    await lease.release();
    expect(store.live.counts()).toMatchObject(empty);
  });

  test('a renewal that an upgrade overtakes is asked for again', async () => {
    const desk = farDesk();
    const { locks, clock, named } = desk;
    const lease = await locks.acquire(shared('x'), { leaseMs: 600 });
    desk.hold('keep', 'call');
    await clock.advance(210);
    await lease.upgrade();
    await desk.go();
    await clock.advance(5_000);
    expect(named('resource:expired')).toEqual([]);
    expect(lease.signal.aborted).toBe(false);
  });

  test('a second upgrade or a downgrade meanwhile is refused at once, and later it works', async () => {
    const desk = farDesk();
    const { locks } = desk;
    const lease = await locks.acquire({ resource: 'x', mode: 'update' });
    desk.hold('request', 'answer');
    const upgrade = lease.upgrade();
    await expect(lease.upgrade()).rejects.toMatchObject({ code: 'UPGRADE_CONFLICT' });
    await expect(lease.downgrade()).rejects.toMatchObject({ code: 'UPGRADE_CONFLICT' });
    await desk.go();
    await upgrade;
    await lease.downgrade();
    expect(await locks.tryAcquire(shared('x'))).toBeDefined();
  });

  test('of two upgrades that wait for the end of one, only the first goes on', async () => {
    const desk = farDesk();
    const { locks, store, clock } = desk;
    const lease = await locks.acquire(shared('x'));
    desk.hold('request', 'answer');
    const first = lease.upgrade({ timeoutMs: 30 }).catch(codeOf);
    await clock.advance(50);
    expect(await first).toBe('LOCK_TIMEOUT');
    const next = [lease.upgrade().catch(codeOf), lease.upgrade().catch(codeOf)];
    await desk.go();
    expect(await Promise.all(next)).toEqual([undefined, 'UPGRADE_CONFLICT']);
    expect(await locks.tryAcquire(shared('x'))).toBeUndefined();
    await lease.release();
    expect(store.live.counts()).toMatchObject(empty);
  });

  test('an upgrade that comes while a downgrade is on its way follows it', async () => {
    const desk = farDesk();
    const { locks, store, clock } = desk;
    const lease = await locks.acquire('x');
    desk.hold('release', 'call');
    const down = lease.downgrade();
    const up = lease.upgrade();
    await clock.settle();
    await desk.go();
    await down;
    await up;
    expect(await locks.tryAcquire(shared('x'))).toBeUndefined();
    await lease.release();
    expect(store.live.counts()).toMatchObject(empty);
  });

  test('a downgrade whose answer is an error can be asked for again', async () => {
    const desk = farDesk();
    const { locks } = desk;
    const lease = await locks.acquire('x');
    desk.fail('release', new CoordinationError('NOT_SUPPORTED', 'no'));
    await expect(lease.downgrade()).rejects.toMatchObject({ code: 'NOT_SUPPORTED' });
    desk.fail('release', undefined);
    await lease.downgrade();
    expect(await locks.tryAcquire(shared('x'))).toBeDefined();
    expect(desk.named('resource:converted').map(({ mode }) => mode)).toEqual([
      'shared',
      'exclusive',
      'shared',
    ]);
  });

  test('a request given up before its outcome became unknown is withdrawn when that is known', async () => {
    const desk = farDesk();
    const { locks, clock, store } = desk;
    desk.fail('request', new CoordinationError('OUTCOME_UNKNOWN', 'lost'));
    const wait = locks.acquire('x', { timeoutMs: 100 }).catch(codeOf);
    await clock.advance(200);
    expect(await wait).toBe('LOCK_TIMEOUT');
    expect(store.live.counts()).toMatchObject({ held: 1 });
    await clock.advance(60_000);
    expect(store.live.counts()).toMatchObject(empty);
  });
});

test('L6: an upgrade that is ended by somebody who is told before it takes its grant back', async () => {
  const { locks, bus, store } = createDesk();
  const controller = new AbortController();
  const mine = await locks.acquire(shared('z'));
  const { token } = mine;
  // Both are granted in one step, and whoever waits for y is told first.
  const yours = await locks.acquireAll([shared('z'), 'y']);
  const next = locks.acquire('y');
  const upgrade = mine.upgrade({ signal: controller.signal }).catch(codeOf);
  bus.on('resource:acquired', ({ resourceId }) => {
    if (resourceId === 'y') controller.abort('enough');
  });
  await yours.release();
  expect(await upgrade).toBe('enough');
  expect(mine.token).toBe(token);
  const reader = await locks.tryAcquire(shared('z'));
  expect(reader).toBeDefined();
  for (const lease of [reader, mine, await next]) await lease?.release();
  expect(store.live.counts()).toMatchObject(empty);
});

describe('bad inputs of an upgrade', () => {
  test.each([
    ['null', null],
    [
      'a proxy that throws',
      new Proxy(
        {},
        {
          ownKeys: () => {
            throw new Error('trap');
          },
        },
      ),
    ],
    ['an unknown key', { timeout: 1 }],
    ['a negative time', { timeoutMs: -1 }],
    ['no signal', { signal: {} }],
  ])('%s is refused with a code, and changes nothing', async (_what, options) => {
    const { locks } = createDesk();
    const lease = await locks.acquire(shared('x'));
    const error = await lease.upgrade(options as never).catch((thrown: unknown) => thrown);
    expect(isCoordinationError(error)).toBe(true);
    expect(await locks.tryAcquire(shared('x'))).toBeDefined();
  });
});

describe('events of upgrades and downgrades', () => {
  test('a change of mode is neither a grant nor a release: counts stay true', async () => {
    const { locks, bus, named } = createDesk();
    const collector = new CoordinationMetricsCollector(undefined, bus);
    collector.start();
    const lease = await locks.acquire(shared('x'), { owner: 'ann' });
    await lease.upgrade();
    expect(named('resource:converted')).toMatchObject([
      { resourceId: 'x', agentId: 'ann', mode: 'exclusive', token: lease.token, waitedMs: 0 },
    ]);
    await lease.downgrade();
    expect(named('resource:converted').at(-1)).toMatchObject({ mode: 'shared', token: lease.token });
    expect(collector.getCurrentMetrics().resourceMetrics).toMatchObject({ heldResources: 1, acquired: 1 });
    await lease.release();
    const { resourceMetrics } = collector.getCurrentMetrics();
    expect(resourceMetrics).toMatchObject({
      heldResources: 0,
      resourceUtilization: 0,
      acquired: 1,
      released: 1,
    });
    collector.stop();
  });

  test('an upgrade that had to wait, and waits of one turn, are not counted as waiting for ever', async () => {
    const { locks, bus, clock } = createDesk();
    const collector = new CoordinationMetricsCollector(undefined, bus);
    collector.start();
    const waiting = (): number => collector.getCurrentMetrics().resourceMetrics.waitingRequests;
    const mine = await locks.acquire(shared('x'));
    const yours = await locks.acquire(shared('x'));
    const upgrade = mine.upgrade();
    expect(waiting()).toBe(1);
    await clock.advance(10);
    await yours.release();
    await upgrade;
    expect(waiting()).toBe(0);
    const next = locks.acquire('x');
    await mine.release();
    await next;
    expect(waiting()).toBe(0);
    collector.stop();
  });
});
