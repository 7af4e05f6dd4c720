import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import {
  behindProxy,
  newWorld,
  plainRedis,
  startMesh,
  STORES,
  type World,
} from '../support/durable/stores.ts';

/**
 * Defect 48: renewal went on after the release, so that a lock was kept for a successor that had died (Redisson #7272), and stopped for
 * good when a connection was lost (#3194).
 */
interface Locks {
  acquire(leaseMs: number): Promise<{ release(): Promise<void> }>;
  /** As a process that dies at once: nobody renews it. */
  acquireAndDie(leaseMs: number): Promise<void>;
  cutConnections(): void;
  /** Whether another process gets it within this time. */
  isGranted(withinMs: number): Promise<boolean>;
}

const LEASE = 600;

export async function scenario(locks: Locks): Promise<void> {
  const lease = await locks.acquire(LEASE);
  locks.cutConnections();
  await sleep(2 * LEASE);
  expect(await locks.isGranted(0)).toBe(false);
  await lease.release();
  await locks.acquireAndDie(LEASE);
  expect(await locks.isGranted(LEASE + 1_000)).toBe(true);
}

/** A watchdog that is never told of the release. */
async function naive(): Promise<Locks> {
  const { world, proxy } = await behindProxy(newWorld('redis'));
  const { client, key } = plainRedis({}, world.url);
  const other = plainRedis();
  const timers: NodeJS.Timeout[] = [];
  return {
    async acquire(leaseMs) {
      await client.set(key, 'me', 'PX', leaseMs, 'NX');
      timers.push(setInterval(() => void client.pexpire(key, leaseMs).catch(() => undefined), leaseMs / 3));
      return { release: async () => void (await client.del(key)) };
    },
    acquireAndDie: async (leaseMs) => void (await other.client.set(key, 'dead', 'PX', leaseMs, 'NX')),
    cutConnections: () => proxy.cutAll(),
    async isGranted(withinMs) {
      const end = performance.now() + withinMs;
      do {
        if ((await other.client.set(key, 'other', 'PX', 100, 'NX')) === 'OK') return true;
        await sleep(50);
      } while (performance.now() < end);
      if (withinMs > 0) for (const timer of timers) clearInterval(timer);
      return false;
    },
  };
}

async function ours(direct: World): Promise<Locks> {
  const { world, proxy } = await behindProxy(direct);
  const session = { leaseMs: 30_000 };
  const [mesh, other] = await Promise.all([startMesh(world, { session }), startMesh(direct, { session })]);
  return {
    acquire: (leaseMs) => mesh.locks.acquire('x', { leaseMs }),
    acquireAndDie: async (leaseMs) => void (await other.locks.acquire('x', { leaseMs, renew: false })),
    cutConnections: () => proxy.cutAll(),
    isGranted: (withinMs) =>
      other.locks.acquire('x', { timeoutMs: withinMs }).then(
        async (lease) => {
          await lease.release();
          return true;
        },
        () => false,
      ),
  };
}

test('defect 48: a watchdog that goes on keeps a lock for nobody', async () => {
  await expect(scenario(await naive())).rejects.toThrow();
});

test.each(STORES)(
  'defect 48: on %s renewal outlives a lost connection and ends with the lock',
  async (store) => {
    await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
  },
);
