import { Cluster } from 'ioredis';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { fenced, once } from '../../src/backends/redis/fenced.ts';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import { refusalOf, untilAnswered, type UsedRedis, useRedis } from '../support/redis-backends.ts';
import { type RedisCluster, startRedisCluster } from '../support/servers/redis-cluster.ts';
import type { RedisServer } from '../support/servers/redis-server.ts';

let cluster: RedisCluster;

beforeAll(async () => {
  cluster = await startRedisCluster();
}, 60_000);
afterAll(async () => {
  await cluster.stop();
});

/** A mesh and the one node that has all its keys. */
async function meshOnNode(mesh: string): Promise<{ used: UsedRedis; home: RedisServer }> {
  const used = await useRedis({ cluster: { nodes: cluster.nodes }, mesh, commandTimeoutMs: 2_000 });
  const keys = await Promise.all(
    cluster.servers.map(async (server) => ({
      server,
      found: await server.cli('--scan', '--pattern', `agentmesh:{${mesh}}:*`),
    })),
  );
  const homes = keys.filter(({ found }) => found !== '');
  expect(homes).toHaveLength(1);
  return { used, home: (homes[0] as (typeof homes)[number]).server };
}

/** Hints come through again, whichever node the listening connection was on. */
async function heardBy({ backend, op }: UsedRedis): Promise<void> {
  let heard = 0;
  using _listener = backend.onHint([{ about: 'state', prefix: 'h/' }], () => (heard += 1));
  for (let i = 0; heard === 0; i++) {
    expect(i, 'a hint within 10 s').toBeLessThan(200);
    await backend.state.compareAndSet(op(), [{ key: `h/${i}`, expected: 0, value: i }]);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test('a mesh whose node is down is refused in time, and goes on with it; others never notice', async () => {
  const first = await meshOnNode('mesh-0');
  let other = await meshOnNode('mesh-1');
  for (let i = 2; other.home === first.home; i++) {
    await other.used[Symbol.asyncDispose]();
    other = await meshOnNode(`mesh-${i}`);
  }
  const { backend, session, op } = first.used;
  await backend.state.compareAndSet(op(), [{ key: 'a/1', expected: 0, value: 'kept' }]);
  for (const server of cluster.servers)
    await server.cli('config', 'set', 'cluster-require-full-coverage', 'no');
  await first.home.kill9();
  const began = performance.now();
  expect(['BACKEND_UNAVAILABLE', 'OUTCOME_UNKNOWN']).toContain(
    await refusalOf(backend.state.compareAndSet(op(), [{ key: 'a/2', expected: 0, value: 1 }])),
  );
  expect(await refusalOf(backend.state.get(['a/1']))).toBe('BACKEND_UNAVAILABLE');
  expect(performance.now() - began).toBeLessThan(5_000);
  expect((await other.used.backend.sessions.beat(other.used.session, EMPTY_REPORT)).status).toBe('alive');
  await first.home.start();
  const { entries } = await untilAnswered(() => backend.state.get(['a/1']), 15_000);
  expect(entries[0]?.value).toBe('kept');
  expect((await backend.sessions.beat(session, EMPTY_REPORT)).status).toBe('alive');
  await heardBy(first.used);
  await first.used[Symbol.asyncDispose]();
  await other.used[Symbol.asyncDispose]();
});

test('the node of a mesh that was started anew writes its log anew, asked by who is there or by who comes; no other does', async () => {
  const { used, home } = await meshOnNode('crashed');
  const others = cluster.servers.filter((server) => server !== home);
  const rewrites = async (server: RedisServer): Promise<number> =>
    Number(/aof_rewrites:(\d+)/.exec(await server.cli('info', 'persistence'))?.[1]);
  const whenHomeHas = (): Promise<void> =>
    vi.waitFor(async () => expect(await rewrites(home)).toBe(1), 20_000);
  const before = await Promise.all(others.map(rewrites));
  const beat = () => used.backend.sessions.beat(used.session, EMPTY_REPORT);
  await beat();
  await home.kill9();
  await home.start();
  // Nothing tells a cluster's client that a node was started anew: that it lacks the script does.
  await untilAnswered(beat, 15_000);
  await whenHomeHas();
  await used[Symbol.asyncDispose]();
  await home.kill9();
  await home.start();
  const late = await untilAnswered(
    () => useRedis({ cluster: { nodes: cluster.nodes }, mesh: 'crashed', commandTimeoutMs: 2_000 }),
    15_000,
  );
  expect(late.report.problems).toEqual([]);
  await whenHomeHas();
  await late[Symbol.asyncDispose]();
  expect(await Promise.all(others.map(rewrites))).toEqual(before);
});

test('writes under a fence are of one slot, which the hash tag names', async () => {
  const client = new Cluster(
    cluster.nodes.map(({ host, port }) => ({ host, port })),
    { slotsRefreshTimeout: 5_000 },
  );
  const fence = { resource: 'mail', token: 1 };
  const options = { hashTag: 'orders' };
  const mail = () => once(client, fence, [['RPUSH', '{orders}:outbox', 'a']], options);
  await client.set('{orders}:outbox', 'of another type');
  await expect(mail()).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringMatching(/^RPUSH failed: WRONGTYPE/),
  });
  await client.del('{orders}:outbox');
  expect(await mail()).toBe(true);
  expect(await mail()).toBe(false);
  expect(await client.lrange('{orders}:outbox', 0, -1)).toEqual(['a']);
  for (const write of [once, fenced])
    await expect(write(client, fence, [['RPUSH', '{orders}:outbox', 'a']])).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      hint: expect.stringContaining('`hashTag`'),
    });
  client.disconnect();
});
