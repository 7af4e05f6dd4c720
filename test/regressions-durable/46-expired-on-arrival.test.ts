import { expect, test } from 'vitest';
import {
  behindProxy,
  newWorld,
  plainRedis,
  startMesh,
  STORES,
  type World,
} from '../support/durable/stores.ts';

/** Defect 46: a lock whose lease was over when the answer came was handed out as valid (redlock #296). */
interface Locks {
  /** From now on an answer travels so long. */
  slowDown(delayMs: number): void;
  /** Whether it was given a lock to work under. */
  acquires(leaseMs: number): Promise<boolean>;
}

export async function scenario(locks: Locks): Promise<void> {
  expect(await locks.acquires(800)).toBe(true);
  locks.slowDown(500);
  expect(await locks.acquires(800)).toBe(false);
}

async function naive(): Promise<Locks> {
  const { world, proxy } = await behindProxy(newWorld('redis'));
  const { client, key } = plainRedis({}, world.url);
  let count = 0;
  return {
    slowDown: (delayMs) => proxy.be({ delayMs }),
    acquires: async (leaseMs) => (await client.set(`${key}:${count++}`, 'me', 'PX', leaseMs, 'NX')) === 'OK',
  };
}

async function ours(direct: World): Promise<Locks> {
  const { world, proxy } = await behindProxy(direct);
  const mesh = await startMesh(world, { session: { leaseMs: 30_000 } });
  let count = 0;
  return {
    slowDown: (delayMs) => proxy.be({ delayMs }),
    async acquires(leaseMs) {
      const name = `x-${count++}`;
      const held = await mesh.locks.acquire(name, { leaseMs, renew: false, timeoutMs: 2_000 }).then(
        ({ signal }) => !signal.aborted,
        () => false,
      );
      proxy.be('forwarding');
      return held;
    },
  };
}

test('defect 46: what is granted is taken for held, however late it comes', async () => {
  await expect(scenario(await naive())).rejects.toThrow();
});

test.each(STORES)('defect 46: on %s a lease counts from when it was asked for', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
