import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import pg from 'pg';
import { inject, onTestFinished } from 'vitest';
import { backendOf, type World } from '../../../examples/fleet/world.ts';
import type { Backend } from '../../../src/core/ports/backend.ts';
import { CoordinationManager } from '../../../src/index.ts';
import { type FaultProxy, startFaultProxy } from '../fault-proxy.ts';

export type { World } from '../../../examples/fleet/world.ts';

export const STORES = ['postgres', 'redis'] as const;
export type StoreName = (typeof STORES)[number];

/** How long a session of these tests outlives its process, ms. */
export const LEASE_MS = 1_000;

/** A mesh of its own on the server of this run. */
export function newWorld(backend: StoreName): World {
  return { backend, url: urlOf(backend), name: `d_${randomBytes(6).toString('hex')}` };
}

function urlOf(backend: StoreName): string {
  return inject(backend === 'postgres' ? 'postgresUrl' : 'redisUrl');
}

/** The same mesh behind a proxy that misbehaves. */
export async function behindProxy(
  world: World,
): Promise<{ readonly world: World; readonly proxy: FaultProxy }> {
  const url = new URL(world.url);
  const port = Number(url.port === '' ? (world.backend === 'postgres' ? 5_432 : 6_379) : url.port);
  const proxy = await startFaultProxy({ port, host: url.hostname });
  onTestFinished(() => proxy.close());
  url.hostname = '127.0.0.1';
  url.port = String(proxy.port);
  return { world: { ...world, url: url.href }, proxy };
}

/** Every process of these tests has a manager like this one. */
export async function startMesh(
  world: World,
  options: NonNullable<ConstructorParameters<typeof CoordinationManager>[0]> = {},
): Promise<CoordinationManager> {
  const mesh = await CoordinationManager.start({
    backend: backendOf(world),
    session: { leaseMs: LEASE_MS },
    env: {},
    ...options,
  });
  onTestFinished(() => mesh.shutdown());
  return mesh;
}

/** Started by its user, stopped when the test is over. */
export function ownBackend(world: World): Required<Pick<Backend, 'sessions' | 'tasks'>> & Backend {
  const backend = backendOf(world) as Required<Pick<Backend, 'sessions' | 'tasks'>> & Backend;
  onTestFinished(async () => {
    await backend.stop();
  });
  return backend;
}

/** A client as it comes, for doubles that do what the predecessor did, and a prefix for its keys. */
export function plainRedis(
  options: { readonly retryStrategy?: () => number } = {},
  url = urlOf('redis'),
): { readonly client: Redis; readonly key: string } {
  const client = new Redis(url, options);
  client.on('error', () => undefined);
  const key = `naive:${randomBytes(6).toString('hex')}`;
  onTestFinished(async () => {
    client.disconnect();
    const admin = new Redis(urlOf('redis'));
    const keys = await admin.keys(`${key}*`);
    if (keys.length > 0) await admin.del(...keys);
    admin.disconnect();
  });
  return { client, key };
}

/** A pool as it comes, and a table of its own with these columns. */
export async function plainPostgres(
  columns: string,
): Promise<{ readonly pool: pg.Pool; readonly table: string }> {
  const pool = new pg.Pool({ connectionString: urlOf('postgres'), max: 4 });
  pool.on('error', () => undefined);
  const table = `naive_${randomBytes(6).toString('hex')}`;
  await pool.query(`create table ${table} (${columns})`);
  onTestFinished(async () => {
    await pool.query(`drop table ${table}`);
    await pool.end();
  });
  return { pool, table };
}

/** Resolves to what `look` finds, `undefined` after so long. */
export async function within<T>(
  ms: number,
  look: () => Promise<T | undefined> | T | undefined,
): Promise<T | undefined> {
  const end = performance.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== undefined || performance.now() > end) return found;
    await sleep(20);
  }
}

/** The same for a promise: `undefined` when it takes longer. */
export function settledWithin<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  work.catch(() => undefined);
  return Promise.race([work, sleep(ms, undefined, { ref: false })]);
}
