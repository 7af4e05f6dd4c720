import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { postgres, type PostgresBackend } from '../../src/backends/postgres/postgres.ts';
import { redis, type RedisBackend } from '../../src/backends/redis/redis.ts';
import type { PulseOptions } from '../../src/core/ports/backend.ts';

/** Whether a backend can renew a lease from a thread: what would have to go there. */

const HOW: PulseOptions = { everyMs: 1_000, stuckMs: 60_000, failed: () => undefined };
/** Nobody listens there. */
const CLOSED = { host: '127.0.0.1', port: 9 };

async function hasThread(backend: RedisBackend | PostgresBackend): Promise<boolean> {
  const pulse = backend.pulse?.(1 as never, HOW);
  await pulse?.[Symbol.asyncDispose]();
  return pulse !== undefined;
}

const client = {
  status: 'ready',
  ...Object.fromEntries(
    ['call', 'duplicate', 'subscribe', 'unsubscribe', 'on', 'off', 'connect', 'disconnect'].map((name) => [
      name,
      () => undefined,
    ]),
  ),
};

test.each([
  ['a url', redis({ url: 'redis://127.0.0.1:9' }), true],
  ['a config', redis({ config: { ...CLOSED, password: 'x', tls: { ca: Buffer.from('x') } } }), true],
  [
    'a config whose function the backend replaces',
    redis({ config: { ...CLOSED, retryStrategy: () => 1 } }),
    true,
  ],
  ['a cluster', redis({ cluster: { nodes: [CLOSED], options: { clusterRetryStrategy: () => 1 } } }), true],
  ['a config with a function', redis({ config: { ...CLOSED, reconnectOnError: () => true } }), false],
  [
    'a cluster with a function',
    redis({ cluster: { nodes: [CLOSED], options: { dnsLookup: () => undefined } } }),
    false,
  ],
  ['a client', redis({ client: client as never }), false],
])('Redis by %s', async (_, backend, has) => {
  expect(await hasThread(backend)).toBe(has);
});

test.each([
  ['a url', postgres({ url: 'postgres://x:y@127.0.0.1:9/z' }), true],
  ['a config', postgres({ config: { ...CLOSED, password: 'x', ssl: { ca: 'x' } } }), true],
  ['a config that asks for the password', postgres({ config: { ...CLOSED, password: () => 'x' } }), false],
  [
    'a config with a function inside',
    postgres({ config: { ...CLOSED, ssl: { checkServerIdentity: () => undefined } } }),
    false,
  ],
  ['a pool', postgres({ pool: { query: () => undefined, connect: () => undefined } as never }), false],
])('PostgreSQL by %s', async (_, backend, has) => {
  expect(await hasThread(backend)).toBe(has);
});

test('a thread that reaches nobody prints nothing, its password least of all, and holds no process', async () => {
  const code = `
    import { redis } from '../../src/backends/redis/redis.ts';
    import { postgres } from '../../src/backends/postgres/postgres.ts';
    import { setTimeout as sleep } from 'node:timers/promises';
    const how = { everyMs: 20, stuckMs: 60_000, failed: (code) => console.log('failed', code) };
    const pulses = [
      redis({ url: 'redis://:canary-password@127.0.0.1:9' }),
      redis({ cluster: { nodes: [{ host: '127.0.0.1', port: 9 }], options: { redisOptions: { password: 'canary-password' } } } }),
      postgres({ url: 'postgres://x:canary-password@127.0.0.1:9/z' }),
    ].map((backend) => backend.pulse(1, how));
    await sleep(1_500);
    console.log(pulses.map((pulse) => pulse.agoMs()).join());
  `;
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', code],
    {
      timeout: 15_000,
      cwd: import.meta.dirname,
    },
  );
  expect([stdout, stderr]).toEqual(['Infinity,Infinity,Infinity\n', '']);
}, 20_000);
