import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RedisStore } from '../../src/backends/redis/connection.ts';
import { defineScript, type Script } from '../../src/backends/redis/scripts.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { FROZEN_CLOCK } from '../support/redis-environment.ts';
import { type RedisServer, startRedis } from '../support/servers/redis-server.ts';

const TAG = 'scripts:{test}:';
const NOW = 1_735_689_600_000_000;

let server: RedisServer;
let client: Redis;
let store: RedisStore;

beforeAll(async () => {
  server = await startRedis();
  client = new Redis(server.url);
  await client.ping();
  store = new RedisStore({ tag: TAG, commandTimeoutMs: 5_000, clock: FROZEN_CLOCK });
  store.use(client, createRuntime());
});
afterAll(async () => {
  client.disconnect();
  await server.stop();
});
beforeEach(async () => {
  await client.flushall();
  await client.set(`${TAG}test:now`, NOW);
});

const run = (script: Script, ...args: (string | number)[]): Promise<unknown> =>
  store.run(script, args, 'write');

describe('what every script begins with', () => {
  const TOKENS = defineScript('tokens', 'return int(tokens(tonumber(ARGV[1])))');
  const TOKEN = defineScript('token', 'return { int(token()), int(token()) }');

  test('L1: tokens strictly increase, ahead of a standing clock, with it, and after all was lost', async () => {
    expect(await run(TOKEN)).toEqual([`${NOW}`, `${NOW + 1}`]);
    expect(await run(TOKENS, 100)).toBe(`${NOW + 2}`);
    expect(await run(TOKENS, 1)).toBe(`${NOW + 102}`);
    await client.set(`${TAG}test:now`, NOW + 1_000);
    expect(await run(TOKENS, 1)).toBe(`${NOW + 1_000}`);
    await client.flushall();
    await client.set(`${TAG}test:now`, NOW + 2_000);
    expect(await run(TOKENS, 1)).toBe(`${NOW + 2_000}`);
    // A clock that was set back.
    await client.set(`${TAG}test:now`, NOW);
    expect(await run(TOKENS, 1)).toBe(`${NOW + 2_001}`);
  });

  const ADD = defineScript(
    'add',
    `local known = begin(ARGV[1], ARGV[2], ARGV[3] == 'even expired')
     if known then return known end
     return finish(ARGV[1], ARGV[2], 'sum ' .. redis.call('INCRBY', K .. 'sum', ARGV[2]))`,
  );
  const open = (session: number, forUs: number): Promise<unknown> =>
    client.hset(`${TAG}o:${session}`, 'x', NOW + forUs);

  test('G1: an operation is carried out once, in whatever order it comes, and the last 32 are remembered', async () => {
    await open(7, 1_000);
    for (const sequence of [2, 1, 3]) await run(ADD, 7, sequence);
    expect(await Promise.all([2, 1, 3].map((sequence) => run(ADD, 7, sequence)))).toEqual([
      'sum 2',
      'sum 3',
      'sum 6',
    ]);
    for (let sequence = 4; sequence <= 32; sequence++) await run(ADD, 7, sequence);
    for (const sequence of [34, 33]) await run(ADD, 7, sequence);
    expect(await run(ADD, 7, 3)).toBe('sum 6');
    await expect(run(ADD, 7, 2)).rejects.toMatchObject({
      code: 'SESSION_EXPIRED',
      message: 'Operation 2 is too old to be known',
    });
    expect(await client.hlen(`${TAG}o:7`)).toBe(2 + 32);
  });

  test('a session that is over is refused; a settle is let in, and leaves nothing behind', async () => {
    await open(7, 1_000);
    await client.set(`${TAG}test:now`, NOW + 1_000);
    await expect(run(ADD, 7, 1)).rejects.toMatchObject({
      code: 'SESSION_EXPIRED',
      message: 'Session 7 is not open',
    });
    expect(await run(ADD, 7, 1, 'even expired')).toBe('sum 1');
    expect(await run(ADD, 7, 1, 'even expired')).toBe('sum 2');
    expect(await run(ADD, 8, 1, 'even expired')).toBe('sum 3');
    expect(await client.exists(`${TAG}o:8`)).toBe(0);
  });

  test('hints are sent once a script, whatever is in their names', async () => {
    const heard: string[] = [];
    const listener = new Redis(server.url);
    await listener.subscribe(`${TAG}hints`);
    listener.on('message', (_channel: string, text: string) => heard.push(text));
    const HINTS = defineScript('hints', `for _, name in ipairs(ARGV) do hint('tasks', name) end`);
    await run(HINTS, 'a b', 'a b', '*', 'a b', '%s\u202e');
    await expect.poll(() => heard.length).toBe(3);
    expect(heard).toEqual(['tasks a b', 'tasks *', 'tasks %s\u202e']);
    listener.disconnect();
  });

  test('large integers are printed in full, and sessions are told alive from over', async () => {
    const SHOW = defineScript(
      'show',
      `return { int(now()), int(2^53 - 1), tostring(alive(7)), tostring(alive('8')) }`,
    );
    await open(7, 1);
    expect(await run(SHOW)).toEqual([`${NOW}`, '9007199254740991', 'true', 'false']);
  });

  test('without another clock the time is that of the server, and stands still inside of a script', async () => {
    const real = new RedisStore({ tag: TAG, commandTimeoutMs: 5_000 });
    real.use(client, createRuntime());
    const TWICE = defineScript(
      'twice',
      `local first = now() for i = 1, 1e5 do end return { int(first), int(now()) }`,
    );
    const [first, second] = (await real.run(TWICE, [], 'read')) as [string, string];
    expect(second).toBe(first);
    expect(Math.abs(Number(first) / 1_000 - Date.now())).toBeLessThan(5_000);
  });
});
