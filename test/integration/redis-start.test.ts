import { inspect } from 'node:util';
import { Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { RedisOptions } from '../../src/backends/redis/options.ts';
import { createRedis } from '../../src/backends/redis/redis.ts';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import type { Hint } from '../../src/core/ports/backend.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { refusalOf, untilAnswered, useRedis } from '../support/redis-backends.ts';
import { freePort } from '../support/servers/free-port.ts';
import { startRedisCluster } from '../support/servers/redis-cluster.ts';
import { type RedisServer, startRedis } from '../support/servers/redis-server.ts';

const CANARY = 'canary-5ecret';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis({ settings: ['--requirepass', CANARY] });
});
afterAll(async () => {
  await server.stop();
});

async function problemsOf(options: RedisOptions = { url: server.url }): Promise<readonly string[]> {
  await using mesh = await useRedis(options);
  return mesh.report.problems.map(({ code, severity }) => `${severity} ${code}`);
}

/** Sets something on the server while `body` runs. */
async function withSetting<T>(name: string, value: string, body: () => Promise<T>): Promise<T> {
  const before = (await server.cli('config', 'get', name)).split('\n')[1] ?? '';
  await server.cli('config', 'set', name, value);
  try {
    return await body();
  } finally {
    await server.cli('config', 'set', name, before);
  }
}

describe('what start finds on the server', () => {
  test('everysec: seconds may be lost; no problems', async () => {
    // The longest times are times too: they don't end at once.
    const times = { connectTimeoutMs: 2 ** 40, commandTimeoutMs: 2 ** 40 };
    await using mesh = await useRedis({ url: server.url, ...times });
    expect(mesh.report).toMatchObject({
      durability: 'seconds',
      problems: [],
      schema: { version: 1, oldestWriter: 1 },
    });
    expect(mesh.report.server).toMatch(/^(Redis|Valkey) \d+\.\d+/);
  });

  test('always: survives a crash of the server', async () => {
    await withSetting('appendfsync', 'always', async () => {
      await using mesh = await useRedis({ url: server.url });
      expect(mesh.report.durability).toBe('server-crash');
    });
  });

  test('no append-only file: survives nothing, and says so', async () => {
    await withSetting('appendonly', 'no', async () => {
      await using mesh = await useRedis({ url: server.url });
      expect(mesh.report).toMatchObject({
        durability: 'process',
        problems: [{ code: 'AOF_OFF', severity: 'warn' }],
      });
    });
  });

  test('an evicting server is refused', async () => {
    await withSetting('maxmemory-policy', 'allkeys-lru', async () => {
      expect(await problemsOf()).toEqual(['refuse EVICTION']);
    });
  });

  test('a replica is refused, and not written to', async () => {
    await server.cli('replicaof', '127.0.0.1', '1');
    const backend = createRedis({ url: server.url, mesh: 'replica' });
    const report = await backend.start(createRuntime());
    await backend.stop();
    await server.cli('replicaof', 'no', 'one');
    expect(report.problems.map(({ code, severity }) => `${severity} ${code}`)).toEqual(['refuse REPLICA']);
    expect(await server.cli('exists', 'agentmesh:{replica}:meta')).toBe('0');
  });

  test('a user with the least rights works, and what could not be checked is said', async () => {
    // ioredis says that it can't ask INFO whether the server is ready.
    vi.spyOn(console, 'warn').mockReturnValue();
    const rights = [
      '~agentmesh:{least}:*',
      '&agentmesh:{least}:*',
      '+@read',
      '+@write',
      '+@scripting',
      '+time',
      '+publish',
      '+subscribe',
      '+@connection',
    ];
    await server.cli(
      'acl',
      'setuser',
      'least',
      'on',
      `>${CANARY}`,
      'resetkeys',
      'resetchannels',
      '-@all',
      ...rights,
    );
    const url = `redis://least:${CANARY}@127.0.0.1:${server.port}`;
    await using mesh = await useRedis({ url, mesh: 'least' });
    const found = mesh.report.problems.map(({ code, message }) => `${code} ${message.split(' ')[0]}`);
    expect(found).toEqual(['UNCHECKED INFO', 'UNCHECKED CONFIG']);
    expect(mesh.report.durability).toBe('process');
    const { swapped } = await mesh.backend.state.compareAndSet(mesh.op(), [
      { key: 'a/1', expected: 0, value: 1 },
    ]);
    expect(swapped).toBe(true);
    await server.cli('acl', 'setuser', 'least', '+info', '+config|get');
    expect(await problemsOf({ url, mesh: 'least' })).toEqual([]);
    await expect(problemsOf({ url, mesh: 'other' })).rejects.toMatchObject({ code: 'NOT_SUPPORTED' });
  });

  test('clocks that differ by more than 5 s are warned of', async () => {
    const runtime = createRuntime();
    const clock = { ...runtime.clock, wall: () => runtime.clock.wall() - 7_000 };
    const backend = createRedis({ url: server.url });
    const report = await backend.start({ ...runtime, clock });
    await backend.stop();
    expect(report.problems.map(({ code }) => code)).toEqual(['CLOCK_SKEW']);
  });
});

describe('levels of layout and writers', () => {
  test('a newer layout is refused', async () => {
    await server.cli('hset', 'agentmesh:{newer}:meta', 'layout', '2');
    const backend = createRedis({ url: server.url, mesh: 'newer' });
    expect(await refusalOf(backend.start(createRuntime()))).toBe('SCHEMA_MISMATCH');
    await backend.stop();
  });

  test('a build that is to be left behind is told, then refused', async () => {
    await using mesh = await useRedis({ url: server.url, mesh: 'levels' });
    const beat = () => mesh.backend.sessions.beat(mesh.session, EMPTY_REPORT);
    expect(await beat()).toMatchObject({ orders: [] });
    await server.cli('hset', 'agentmesh:{levels}:meta', 'wanted', '2');
    expect(await beat()).toMatchObject({ orders: [{ kind: 'upgrade', oldestWriter: 2 }] });
    await server.cli('hset', 'agentmesh:{levels}:meta', 'oldest', '2');
    const request = { boot: 'old', leaseMs: 1_000, writer: 1, report: EMPTY_REPORT };
    expect(await refusalOf(mesh.backend.sessions.open(request))).toBe('SCHEMA_MISMATCH');
    expect(await refusalOf(mesh.backend.sessions.open({ ...request, writer: 2 }))).toBeUndefined();
  });
});

describe('a start that fails', () => {
  test('nobody listens: within the time to connect', async () => {
    const port = await freePort();
    for (const place of [
      { url: `redis://127.0.0.1:${port}` },
      { cluster: { nodes: [{ host: '127.0.0.1', port }] } },
    ]) {
      const backend = createRedis({ ...place, connectTimeoutMs: 200 });
      const began = performance.now();
      const error: unknown = await backend.start(createRuntime()).catch((refused: unknown) => refused);
      expect(error).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
      expect(String(error)).toMatch(/ECONNREFUSED|closed/);
      expect(performance.now() - began).toBeLessThan(1_500);
    }
  });

  test('somebody listens and says nothing: within the time to connect; then it may be tried again', async () => {
    await using proxy = await startFaultProxy({ port: server.port });
    proxy.be('held');
    const url = `redis://:${CANARY}@127.0.0.1:${proxy.port}`;
    const backend = createRedis({ url, connectTimeoutMs: 500 });
    const runtime = createRuntime();
    const began = performance.now();
    expect(await refusalOf(backend.start(runtime))).toBe('BACKEND_UNAVAILABLE');
    expect(performance.now() - began).toBeLessThan(1_000);
    proxy.be('forwarding');
    expect((await backend.start(runtime)).durability).toBe('seconds');
    await backend.stop();
    await expect.poll(() => proxy.connections).toBe(0);
  });

  test('a stop ends it', async () => {
    await using proxy = await startFaultProxy({ port: server.port });
    proxy.be('held');
    const backend = createRedis({ url: `redis://127.0.0.1:${proxy.port}` });
    const starting = refusalOf(backend.start(createRuntime()));
    await backend.stop();
    expect(await starting).toBe('STOPPED');
  });

  test('a wrong password: at once, and no password is shown anywhere', async () => {
    const shown: unknown[] = [];
    const say = (...facts: unknown[]): void => void shown.push(facts);
    const runtime = createRuntime({ logger: { debug: say, info: say, warn: say, error: say } });
    const url = `redis://:not-the-${CANARY}@127.0.0.1:${server.port}`;
    const backend = createRedis({ url });
    const began = performance.now();
    await backend.start(runtime).catch((error: unknown) => shown.push(error));
    expect(performance.now() - began).toBeLessThan(1_000);
    await using mesh = await useRedis({ url: server.url }, runtime);
    await mesh.backend.state.changes('', -1, 1).catch((error: unknown) => shown.push(error));
    await refuseConfig();
    shown.push(backend, mesh.backend, await backend.check());
    const text = inspect(shown, { depth: 20, showHidden: true });
    expect(text).toContain('WRONGPASS');
    expect(text).not.toContain(CANARY);

    async function refuseConfig(): Promise<void> {
      for (const options of [
        { url: `redis ://:${CANARY}@x` },
        { url: `redis://:${CANARY}@127.0.0.1:99999` },
        { url: server.url, config: { password: CANARY } },
        { config: { password: CANARY, port: 1 }, connectTimeoutMs: 50 },
        { url: server.url, passwort: CANARY },
      ]) {
        try {
          await createRedis(options).start(runtime);
        } catch (error) {
          shown.push(error);
        }
      }
    }
  });
});

describe('the number of the database', () => {
  const inDatabase = (db: number, user = ''): string =>
    `redis://${user}:${CANARY}@127.0.0.1:${server.port}/${db}`;
  const keysIn = (db: number): Promise<string> =>
    server.cli('-n', String(db), 'exists', 'agentmesh:{db}:meta');

  test('it is selected, also on a client of the user', async () => {
    const client = new Redis(inDatabase(5));
    for (const place of [
      { url: inDatabase(3) },
      { config: { port: server.port, password: CANARY, db: 4 } },
      { client },
    ]) {
      await using mesh = await useRedis({ ...place, mesh: 'db' });
      expect(mesh.report.problems).toEqual([]);
    }
    client.disconnect();
    expect(await Promise.all([0, 3, 4, 5].map(keysIn))).toEqual(['0', '1', '1', '1']);
  });

  test('one that the server or the user of the connection may not have is refused at once', async () => {
    const rights = ['~*', '&*', '+@all', '-select'];
    await server.cli('acl', 'setuser', 'zero', 'on', `>${CANARY}`, ...rights);
    for (const [url, reason] of [
      [inDatabase(99), 'DB index is out of range'],
      [inDatabase(3, 'zero'), 'no permissions'],
    ] as const) {
      const given = new Redis(url);
      given.on('error', () => undefined);
      await given.ping();
      const early = new Redis(url, { lazyConnect: true });
      const subscriber = new Redis(inDatabase(0));
      for (const place of [{ url }, { client: early }, { client: given, subscriber }]) {
        const backend = createRedis({ ...place, mesh: 'db', connectTimeoutMs: 60_000 });
        const error: unknown = await backend.start(createRuntime()).catch((refused: unknown) => refused);
        expect(error).toMatchObject({ code: 'BACKEND_UNAVAILABLE', retryable: false });
        expect(String(error)).toContain(`database ${new URL(url).pathname.slice(1)}`);
        if (!('client' in place) || place.client === early) expect(String(error)).toContain(reason);
        expect(String(error)).not.toContain(CANARY);
      }
      expect(given.status).toBe('ready');
      for (const client of [given, early, subscriber]) client.disconnect();
    }
    expect(await keysIn(0)).toBe('0');
  });

  test('a connection that is made anew and may no longer have it is not used', async () => {
    await server.cli('acl', 'setuser', 'moved', 'on', `>${CANARY}`, '~*', '&*', '+@all');
    await using mesh = await useRedis({ url: inDatabase(3, 'moved'), mesh: 'db' });
    await server.cli('acl', 'setuser', 'moved', '-select');
    await server.cli('client', 'kill', 'user', 'moved');
    const entry = { key: 'a/1', expected: 0, value: 1 };
    const swap = () => mesh.backend.state.compareAndSet(mesh.op(), [entry]);
    await expect
      .poll(async () => String(await swap().catch((error: unknown) => error)))
      .toMatch(/no permissions/);
    expect(await keysIn(0)).toBe('0');
    await server.cli('acl', 'setuser', 'moved', '+select');
    expect((await untilAnswered(swap)).swapped).toBe(true);
  });
});

describe('whose connections they are', () => {
  test('one for commands and one to listen, whatever the number of listeners', async () => {
    await using mesh = await useRedis({ url: server.url, mesh: 'two' });
    const hints: Hint[] = [];
    const interest: Hint[] = [{ about: 'state', prefix: 'a/' }];
    for (let i = 0; i < 5; i++) mesh.backend.onHint(interest, (hint) => hints.push(hint));
    await mesh.backend.state.compareAndSet(mesh.op(), [
      { key: 'a/1', expected: 0, value: 1 },
      { key: 'a/2', expected: 0, value: 1 },
      { key: 'b/1', expected: 0, value: 1 },
    ]);
    await expect.poll(() => hints.length).toBe(5);
    expect(hints).toEqual(Array.from({ length: 5 }, () => interest[0]));
    const clients = (await server.cli('client', 'list')).split('\n');
    expect(clients.filter((line) => line.includes('name=agentmesh'))).toHaveLength(2);
  });

  test('a client of the user is used and never closed; what was duplicated of it is', async () => {
    const client = new Redis(server.url, { enableOfflineQueue: false, lazyConnect: true });
    {
      await using mesh = await useRedis({ client, mesh: 'given' });
      expect((await mesh.backend.state.get(['a/1'])).entries).toEqual([undefined]);
      expect(await server.cli('pubsub', 'numsub', 'agentmesh:{given}:hints')).toContain('1');
    }
    expect(client.status).toBe('ready');
    expect(client.listenerCount('error') + client.listenerCount('ready')).toBe(0);
    await expect.poll(() => server.cli('pubsub', 'numsub', 'agentmesh:{given}:hints')).toMatch(/\n0$/);
    client.disconnect();
  });

  test('a subscriber of the user is used too', async () => {
    const client = new Redis(server.url);
    const subscriber = new Redis(server.url);
    {
      await using mesh = await useRedis({ client, subscriber, mesh: 'both' });
      expect(mesh.report.durability).toBe('seconds');
      expect(await server.cli('pubsub', 'numsub', 'agentmesh:{both}:hints')).toMatch(/\n1$/);
    }
    expect([client.status, subscriber.status]).toEqual(['ready', 'ready']);
    await expect.poll(() => server.cli('pubsub', 'numsub', 'agentmesh:{both}:hints')).toMatch(/\n0$/);
    expect(subscriber.listenerCount('message')).toBe(0);
    client.disconnect();
    subscriber.disconnect();
  });

  test('a client that puts a prefix before every key is refused', async () => {
    const client = new Redis(server.url, { keyPrefix: 'x:' });
    expect(() => createRedis({ client })).toThrow(/keyPrefix/);
    client.disconnect();
  });

  test('a client of a cluster works as well', async () => {
    const cluster = await startRedisCluster();
    const client = new Cluster([...cluster.nodes]);
    try {
      await using mesh = await useRedis({ client });
      const { swapped } = await mesh.backend.state.compareAndSet(mesh.op(), [
        { key: 'a/1', expected: 0, value: 1 },
      ]);
      expect(swapped).toBe(true);
    } finally {
      client.disconnect();
      await cluster.stop();
    }
  });

  test('managers that share a backend each start and stop it', async () => {
    const backend = createRedis({ url: server.url });
    const [one, other] = [createRuntime(), createRuntime()];
    expect(await backend.start(one)).toEqual(await backend.start(other));
    await backend.stop();
    expect((await backend.check()).healthy).toBe(true);
    await backend.stop();
    expect((await backend.check()).healthy).toBe(false);
    await backend.start(one);
    expect((await backend.check()).healthy).toBe(true);
    await backend.stop();
  });
});
