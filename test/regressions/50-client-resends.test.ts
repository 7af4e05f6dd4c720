import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { untilAnswered, useRedis } from '../support/redis-backends.ts';
import { type RedisServer, startRedis } from '../support/servers/redis-server.ts';

/** Defect 50: a client that sends again what was not answered carries it out twice, and nobody learns of it. */

const CUTS = 20;

let server: RedisServer;
let proxy: FaultProxy;

beforeAll(async () => {
  server = await startRedis();
  proxy = await startFaultProxy({ port: server.port });
});
afterAll(async () => {
  await proxy.close();
  await server.stop();
});

test('50: every increment whose reply was lost is carried out once', async () => {
  await using mesh = await useRedis({ url: `redis://127.0.0.1:${proxy.port}` });
  const { state } = mesh.backend;
  const before = proxy.cuts;
  for (let i = 0; i < CUTS; i++) {
    const [entry] = (await untilAnswered(() => state.get(['n/count']))).entries;
    const swap = {
      key: 'n/count',
      expected: entry?.revision ?? 0,
      value: ((entry?.value as number) ?? 0) + 1,
    };
    const op = mesh.op();
    proxy.cutReplies(1, (request) => request.includes(String(mesh.session)));
    const { swapped } = await untilAnswered(() => state.compareAndSet(op, [swap]));
    expect(swapped).toBe(true);
  }
  expect(proxy.cuts - before).toBe(CUTS);
  expect((await untilAnswered(() => state.get(['n/count']))).entries[0]?.value).toBe(CUTS);
});

test('50: a client as it comes counts some of them twice, without an error', async () => {
  const naive = new Redis(`redis://127.0.0.1:${proxy.port}`, { retryStrategy: () => 5 });
  // It prints each cut otherwise.
  naive.on('error', () => undefined);
  for (let i = 0; i < CUTS; i++) {
    await naive.ping();
    proxy.cutReplies(1, (request) => request.includes('naive'));
    await naive.incr('naive');
  }
  const count = Number(await naive.get('naive'));
  naive.disconnect();
  expect(count).toBeGreaterThan(CUTS);
});
