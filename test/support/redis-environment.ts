import { randomBytes } from 'node:crypto';
import { Cluster, Redis } from 'ioredis';
import { inject } from 'vitest';
import { createRedis, type RedisInternals } from '../../src/backends/redis/redis.ts';
import type { Backend, Capabilities } from '../../src/core/ports/backend.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';

/** What the Redis backend must say of itself. */
export const REDIS: Capabilities = {
  roundTrip: 'network',
  encoding: 'json',
  maxBatch: 250,
  ordered: true,
  maxInFlight: 16,
  transactions: false,
  shared: true,
  redelivery: 'item',
};

/** The backend's time in tests: a key that stands still until `pass` moves it. */
export const FROZEN_CLOCK = /* lua */ `
NOW = tonumber(redis.call('GET', K .. 'test:now'))`;

/** Where the clock of a test begins: 2025-01-01T00:00:00Z in µs. */
const BEGIN_US = 1_735_689_600_000_000;

/** Clients beside those of the backends: one of each per place and worker. */
interface Clients {
  /** Moves clocks and clears up. */
  readonly admin: Redis | Cluster;
  /** Given to the backends of a cluster: making one of their own takes each test 100 ms. */
  readonly subscriber?: Cluster;
}

const known = new Map<string, Clients>();

/** Where the backend of a test finds its server. */
export type RedisPlace =
  | { readonly url: string }
  | { readonly cluster: { readonly nodes: readonly { readonly host: string; readonly port: number }[] } };

function clientsOf(place: RedisPlace): Clients {
  const name = JSON.stringify(place);
  let clients = known.get(name);
  if (clients === undefined) {
    const clusterClient = (nodes: readonly { host: string; port: number }[]): Cluster =>
      new Cluster([...nodes]);
    clients =
      'url' in place
        ? { admin: new Redis(place.url) }
        : { admin: clusterClient(place.cluster.nodes), subscriber: clusterClient(place.cluster.nodes) };
    known.set(name, clients);
  }
  return clients;
}

/** Closes what tests on this place used beside their backends: before the place itself ends. */
export function leaveRedis(place: RedisPlace): void {
  const name = JSON.stringify(place);
  const clients = known.get(name);
  clients?.admin.disconnect();
  clients?.subscriber?.disconnect();
  known.delete(name);
}

export interface RedisEnvironmentOptions {
  /** @default the server of this test run */
  readonly place?: RedisPlace;
  /** Ports that `redis()` itself doesn't have yet, e.g. `(store) => ({ locks: new RedisLockStore(store) })`. */
  readonly ports?: RedisInternals['ports'];
}

/**
 * A Redis backend below a prefix of its own for one test, as it is or through a wrapper. The backend's clock stands still; `pass` moves it.
 * @param wrap e.g. `duplicating`
 */
export async function redisEnvironment(
  wrap: (backend: Backend, place: { readonly prefix: string; readonly mesh: string }) => Backend = (b) => b,
  { place: given, ports }: RedisEnvironmentOptions = {},
): Promise<SuiteEnvironment> {
  const place = given ?? { url: inject('redisUrl') };
  const { admin: client, subscriber } = clientsOf(place);
  const mesh = randomBytes(6).toString('hex');
  const tag = `agentmesh-test:{${mesh}}:`;
  const clock = `${tag}test:now`;
  await client.set(clock, BEGIN_US);
  const runtime = createRuntime({ random: createRandom('suite') });
  const internals = { clock: FROZEN_CLOCK, ...(ports === undefined ? {} : { ports }) };
  const way = subscriber === undefined ? place : { client, subscriber };
  const names = { prefix: 'agentmesh-test', mesh };
  const backend = wrap(createRedis({ ...way, ...names }, internals), names);
  await backend.start(runtime);
  return {
    backend,
    runtime,
    pass: async (ms) => void (await client.incrby(clock, Math.round(ms * 1_000))),
    async stop() {
      await backend.stop();
      for (const node of client instanceof Cluster ? client.nodes('master') : [client]) {
        await removeBelow(node, tag);
      }
    },
  };
}

/** Removes all keys that begin with this. */
async function removeBelow(client: Redis, tag: string): Promise<void> {
  for (let cursor = '0'; ; ) {
    const [next, keys] = await client.scan(cursor, 'MATCH', `${tag}*`, 'COUNT', 1_000);
    if (keys.length > 0) await client.unlink(...keys);
    cursor = next;
    if (cursor === '0') return;
  }
}
