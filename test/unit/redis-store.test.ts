import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { RedisStore } from '../../src/backends/redis/connection.ts';
import { defineScript } from '../../src/backends/redis/scripts.ts';
import { lookAtServer } from '../../src/backends/redis/server-checks.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { MockRedisClient, replyError } from '../support/mock-redis-client.ts';

const SCRIPT = defineScript('one', 'return 1');

function storeOf(client: MockRedisClient) {
  const clock = createTestClock();
  const store = new RedisStore({ tag: 'p:{m}:', commandTimeoutMs: 1_000 });
  store.use(client, createRuntime({ clock }));
  return { store, clock };
}

/** A store whose next call is answered by `answer`. */
function answering(answer: () => unknown) {
  const client = new MockRedisClient();
  client.answers.push(answer);
  return { ...storeOf(client), client };
}

const fail = (error: Error) => (): never => {
  throw error;
};

describe('a server that is away', () => {
  test('the error says what to do, and whether repeating it helps', async () => {
    const { store, client } = answering(() => 'PONG');
    client.status = 'connecting';
    const away: unknown = await store.run(SCRIPT, [], 'write').catch((error: unknown) => error);
    expect(away).toMatchObject({ code: 'BACKEND_UNAVAILABLE', hint: expect.stringContaining('server runs') });
    expect(away).not.toHaveProperty('retryable');
    store.problem = 'WRONGPASS invalid username-password pair';
    const refused: unknown = await store.run(SCRIPT, [], 'write').catch((error: unknown) => error);
    expect(refused).toMatchObject({ hint: expect.stringContaining('password'), retryable: false });
  });
});

test.each([
  ['redis_version:8.0.6', 'Redis 8.0.6'],
  ['redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2', 'Valkey 9.1.2'],
  ['role:master', 'Redis (version unknown)'],
])('a server that says %j is called %s', async (info, name) => {
  const { store, client } = answering(() => ['0', info]);
  client.answers.push(
    () => ['appendfsync', 'always'],
    () => ['1', '1'],
  );
  const report = await lookAtServer(
    store,
    () => 0,
    () => Promise.resolve([]),
  );
  expect(report.server).toBe(name);
});

describe('what a reply of the server means', () => {
  test.each([
    ['LOADING Redis is loading the dataset in memory', 'BACKEND_UNAVAILABLE'],
    ['BUSY Redis is busy running a script. You can only call SCRIPT KILL.', 'BACKEND_UNAVAILABLE'],
    [
      "READONLY You can't write against a read only replica. script: 0123456789012345678901234567890123456789, on @user_script:1.",
      'BACKEND_UNAVAILABLE',
    ],
    ["OOM command not allowed when used memory > 'maxmemory'.", 'BACKEND_UNAVAILABLE'],
    ['MISCONF Errors writing to the AOF file: No space left on device', 'BACKEND_UNAVAILABLE'],
    [
      "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
      'BACKEND_UNAVAILABLE',
    ],
    ['NOREPLICAS Not enough good replicas to write.', 'BACKEND_UNAVAILABLE'],
    ['CLUSTERDOWN The cluster is down', 'BACKEND_UNAVAILABLE'],
    ['MOVED 3999 127.0.0.1:6381', 'BACKEND_UNAVAILABLE'],
    ['ASK 3999 127.0.0.1:6381', 'BACKEND_UNAVAILABLE'],
    ['TRYAGAIN Multiple keys request during rehashing of slot', 'BACKEND_UNAVAILABLE'],
    ['NOAUTH Authentication required.', 'BACKEND_UNAVAILABLE'],
    ['ERR Error running script: Script killed by user with SCRIPT KILL.', 'BACKEND_UNAVAILABLE'],
    ['WRONGTYPE Operation against a key holding the wrong kind of value', 'SCHEMA_MISMATCH'],
    ["NOPERM this user has no permissions to run the 'evalsha' command", 'NOT_SUPPORTED'],
    [
      "ERR The user executing the script can't run this command or subcommand script: 0123456789012345678901234567890123456789, on @user_script:1.",
      'NOT_SUPPORTED',
    ],
    [
      "ERR ACL failure in script: User u has no permissions to run the 'hset' command script: on @user_script:1.",
      'NOT_SUPPORTED',
    ],
    ["ERR unknown command 'EVALSHA', with args beginning with:", 'NOT_SUPPORTED'],
    [
      'AM001 Session 7 is not open script: 0123456789012345678901234567890123456789, on @user_script:24.',
      'SESSION_EXPIRED',
    ],
    ['AM001 Session 7 is not open script: on @user_script:24.', 'SESSION_EXPIRED'],
    ['AM002 too old', 'SCHEMA_MISMATCH'],
    ['AM003 not here', 'NOT_SUPPORTED'],
    ['AM004 a newer token was seen', 'STALE_FENCE'],
    ['ERR user_script:3: attempt to index a nil value', 'SCHEMA_MISMATCH'],
  ])('%s', async (message, code) => {
    for (const kind of ['read', 'write'] as const) {
      const { store } = answering(fail(replyError(message)));
      const error: unknown = await store.run(SCRIPT, [], kind).catch((refused: unknown) => refused);
      expect(error).toMatchObject({ code });
      if (code === 'BACKEND_UNAVAILABLE')
        expect((error as { readonly hint?: string }).hint, 'what to do').toMatch(/.{10}/);
      expect(String(error)).not.toMatch(/script: (0123|on)/);
      // The client's error carries the command: it goes nowhere.
      expect(inspect(error, { depth: 10, showHidden: true })).not.toContain('canary');
    }
  });

  test('a script is sent in full until one was answered, and again after the server lost it', async () => {
    const client = new MockRedisClient();
    const { store } = storeOf(client);
    await Promise.all([store.run(SCRIPT, ['a', 1], 'write'), store.run(SCRIPT, [], 'write')]);
    await store.run(SCRIPT, ['b'], 'write');
    client.answers.push(fail(replyError('NOSCRIPT No matching script. Please use EVAL.')));
    expect(await store.run(SCRIPT, ['c'], 'write')).toBe('PONG');
    await store.run(SCRIPT, [], 'write');
    store.reconnected();
    await store.run(SCRIPT, [], 'write');
    const text = expect.stringContaining('return 1');
    const hash = expect.stringMatching(/^[0-9a-f]{40}$/);
    expect(client.commands).toEqual([
      ['EVAL', text, 1, 'p:{m}:', 'a', 1],
      ['EVAL', text, 1, 'p:{m}:'],
      ['EVALSHA', hash, 1, 'p:{m}:', 'b'],
      ['EVALSHA', hash, 1, 'p:{m}:', 'c'],
      ['EVAL', text, 1, 'p:{m}:', 'c'],
      ['EVALSHA', hash, 1, 'p:{m}:'],
      ['EVAL', text, 1, 'p:{m}:'],
    ]);
  });
});

describe('calls without a reply', () => {
  test('a connection that closes: a write is unknown, a read is asked once more', async () => {
    const closed = new Error('Connection is closed.');
    await expect(answering(fail(closed)).store.run(SCRIPT, [], 'write')).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
    });
    const { store, client } = answering(fail(closed));
    expect(await store.run(SCRIPT, [], 'read')).toBe('PONG');
    client.answers.push(fail(closed), fail(closed));
    await expect(store.run(SCRIPT, [], 'read')).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
  });

  test('a read waits half a second for the connection to come back, not longer', async () => {
    const { store, client, clock } = answering(fail(new Error('Connection is closed.')));
    const back = store.run(SCRIPT, [], 'read');
    client.status = 'reconnecting';
    await clock.advance(400);
    client.status = 'ready';
    client.emit('ready');
    expect(await back).toBe('PONG');
    client.answers.push(fail(new Error('Connection is closed.')));
    const gone = store.run(SCRIPT, [], 'read').catch((error: unknown) => error);
    client.status = 'reconnecting';
    await clock.advance(501);
    expect(await gone).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    expect([client.listenerCount('ready'), clock.nextDue()]).toEqual([0, Number.POSITIVE_INFINITY]);
  });

  test('no reply in time: a write is unknown, a read failed; neither is sent again', async () => {
    const { store, client, clock } = answering(() => new Promise(() => undefined));
    client.answers.push(() => new Promise(() => undefined));
    const write = store.run(SCRIPT, [], 'write').catch((error: unknown) => error);
    const read = store.run(SCRIPT, [], 'read').catch((error: unknown) => error);
    await clock.advance(1_000);
    expect(await write).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(await read).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    expect(client.commands).toHaveLength(2);
  });

  test('while the client is not ready nothing is sent, and nothing waits', async () => {
    const client = new MockRedisClient();
    client.status = 'reconnecting';
    const { store } = storeOf(client);
    store.problem = 'connect ECONNREFUSED 127.0.0.1:6379';
    await expect(store.run(SCRIPT, [], 'write')).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      message: expect.stringContaining('ECONNREFUSED'),
    });
    expect(client.commands).toEqual([]);
  });

  test('stop refuses what is under way and what comes after, and leaves no timer', async () => {
    const { store, clock } = answering(() => new Promise(() => undefined));
    const pending = store.run(SCRIPT, [], 'write').catch((error: unknown) => error);
    store.stop();
    expect(await pending).toMatchObject({ code: 'STOPPED' });
    const again = answering(fail(new Error('Connection is closed.')));
    const waiting = again.store.run(SCRIPT, [], 'read').catch((error: unknown) => error);
    again.client.status = 'reconnecting';
    await again.clock.settle();
    again.store.stop();
    expect(await waiting).toMatchObject({ code: 'STOPPED' });
    expect(again.clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    await expect(store.run(SCRIPT, [], 'read')).rejects.toMatchObject({ code: 'STOPPED' });
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });
});
