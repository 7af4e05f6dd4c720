import { describe, expect, test } from 'vitest';
import { redis, type RedisOptions } from '../../src/backends/redis/index.ts';
import { MockRedisClient } from '../support/mock-redis-client.ts';

const CANARY = 'canary-5ecret';
const url = 'redis://127.0.0.1:1';
const one = new MockRedisClient();

function refusal(options: unknown): unknown {
  try {
    redis(options as RedisOptions);
    return undefined;
  } catch (error) {
    return error;
  }
}

describe('options of redis', () => {
  test.each([
    ['none of the four ways', {}],
    ['two of them', { url, config: {} }],
    ['no URL', { url: 'localhost:6379' }],
    ['a URL of something else', { url: `postgres://u:${CANARY}@h` }],
    ['a URL with a blank', { url: `redis://:${CANARY} @h` }],
    ['a port that is none', { url: `redis://:${CANARY}@h:99999` }],
    ['a URL that is no text', { url: 6379 }],
    ['a configuration that is none', { config: 'host' }],
    ['a database that is no number', { url: `redis://h/${CANARY}` }],
    ['a database that begins with a number', { url: 'redis://h/2x' }],
    ['one in the query', { url: 'redis://h?db=abc' }],
    ['one of a socket', { url: '/run/redis.sock?db=-1' }],
    ['one in the configuration', { config: { db: 1.5 } }],
    ['a database of a cluster', { cluster: { nodes: [{ port: 1 }], options: { redisOptions: { db: 1 } } } }],
    ['a cluster without nodes', { cluster: { nodes: [] } }],
    ['a cluster with an unknown key', { cluster: { nodes: [{ port: 1 }], node: 1 } }],
    ['a client that is none', { client: {} }],
    ['a client that is null', { client: null }],
    ['a subscriber without a client', { url, subscriber: new MockRedisClient() }],
    ['a subscriber that is none', { client: new MockRedisClient(), subscriber: {} }],
    ['one client for both', { client: one, subscriber: one }],
    ['an unknown option of the tasks', { url, tasks: { keep: 1 } }],
    ['a number of tasks that is none', { url, tasks: { keepEnded: -1 } }],
    ['an unknown option', { url, perfix: 'x' }],
    ['a prefix with a brace', { url, prefix: 'a{b}' }],
    ['an empty prefix', { url, prefix: '' }],
    ['a prefix that is too long', { url, prefix: 'x'.repeat(65) }],
    ['a mesh with a colon', { url, mesh: 'a:b' }],
    ['a mesh with a line end', { url, mesh: 'a\n' }],
    ['a mesh that is no text', { url, mesh: 7 }],
    ['a negative time', { url, connectTimeoutMs: -1 }],
    ['a time that is none', { url, commandTimeoutMs: Number.NaN }],
    ['no object', 'redis://x'],
  ])('%s is refused with a code, and no password is shown', (_name, options) => {
    const error = refusal(options);
    expect(error).toMatchObject({ code: expect.stringMatching(/^INVALID_(OPTION|ARGUMENT)$/) });
    expect(JSON.stringify([String(error), error])).not.toContain(CANARY);
  });

  test('an address alone: how to pass it is said', () => {
    expect(refusal('redis://h')).toMatchObject({
      code: 'INVALID_OPTION',
      hint: expect.stringMatching(/\{ url \}/) as string,
    });
  });

  test('the nearest known name is told', () => {
    expect(refusal({ url, perfix: 'x' })).toMatchObject({ hint: 'Did you mean `prefix`?' });
  });

  test.each([
    [{ url }],
    [{ url: 'rediss://user:p%40ss@host:6380/2' }],
    [{ url: 'redis://h:1/' }],
    [{ url: 'redis://h:1?db=2' }],
    [{ url: '/run/redis.sock' }],
    [{ url: '/run/redis.sock?db=2' }],
    [{ cluster: { nodes: [{ port: 1 }], options: { redisOptions: { db: 0 } } } }],
    [{ config: { host: 'h' }, prefix: 'a.b-c_d:e', mesh: 'm.1-x_y', tasks: { keepEnded: 0, history: 7 } }],
    [{ cluster: { nodes: [{ host: 'h', port: 1 }] }, connectTimeoutMs: 0 }],
    [{ client: new MockRedisClient(), subscriber: new MockRedisClient() }],
  ])('%j is taken', (options) => {
    expect(refusal(options)).toBeUndefined();
  });
});
