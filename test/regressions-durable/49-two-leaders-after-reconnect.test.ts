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

/** Defect 49: a leader that was cut off past its lease took itself for the leader when it was back, beside the new one (Curator-696). */
interface Candidates {
  elect(which: 'first' | 'second', leaseMs: number): Promise<void>;
  /** The first can't reach the store, or can again. */
  cutOff(isCutOff: boolean): void;
  isLeader(which: 'first' | 'second'): boolean;
}

export async function scenario(candidates: Candidates): Promise<void> {
  await candidates.elect('first', 500);
  expect(candidates.isLeader('first')).toBe(true);
  candidates.cutOff(true);
  await candidates.elect('second', 30_000);
  expect(['first', 'second'].filter((which) => candidates.isLeader(which as 'first'))).toEqual(['second']);
  candidates.cutOff(false);
  await sleep(300);
  expect(['first', 'second'].filter((which) => candidates.isLeader(which as 'first'))).toEqual(['second']);
}

async function naive(): Promise<Candidates> {
  const { world, proxy } = await behindProxy(newWorld('redis'));
  const clients = { first: plainRedis({}, world.url), second: plainRedis() };
  const leaders = new Set<string>();
  const { key } = clients.first;
  return {
    async elect(which, leaseMs) {
      while ((await clients[which].client.set(key, which, 'PX', leaseMs, 'NX')) !== 'OK') await sleep(50);
      leaders.add(which);
    },
    cutOff: (isCutOff) => proxy.be(isCutOff ? 'held' : 'forwarding'),
    isLeader: (which) => leaders.has(which),
  };
}

async function ours(direct: World): Promise<Candidates> {
  const { world, proxy } = await behindProxy(direct);
  const [first, second] = await Promise.all([startMesh(world), startMesh(direct)]);
  const meshes = { first, second };
  const signals = new Map<string, AbortSignal>();
  return {
    async elect(which, leaseMs) {
      const { signal } = await meshes[which].locks.acquire('leader', { leaseMs, timeoutMs: 5_000 });
      signals.set(which, signal);
    },
    cutOff: (isCutOff) => proxy.be(isCutOff ? 'held' : 'forwarding'),
    isLeader: (which) => signals.get(which)?.aborted === false,
  };
}

test('defect 49: who was elected once takes itself for the leader', async () => {
  await expect(scenario(await naive())).rejects.toThrow();
});

test.each(STORES)('defect 49: on %s it has stepped down before there is another', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
