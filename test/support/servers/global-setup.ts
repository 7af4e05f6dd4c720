import type { TestProject } from 'vitest/node';
import { type PostgresServer, startPostgres } from './postgres-server.ts';
import { findRedis } from './redis-server.ts';

/** Vitest runs this once a project, in one process: all of them share one server of each kind. */
let server: Promise<PostgresServer> | undefined;
let redis: ReturnType<typeof findRedis> | undefined;
let users = 0;

export async function setup(project: TestProject): Promise<void> {
  users += 1;
  server ??= startPostgres();
  redis ??= findRedis();
  project.provide('postgresUrl', (await server).url);
  project.provide('redisUrl', (await redis).url);
}

export async function teardown(): Promise<void> {
  users -= 1;
  if (users > 0) return;
  const ending = [server, redis];
  server = undefined;
  redis = undefined;
  for (const each of ending) await (await each)?.stop();
}

declare module 'vitest' {
  export interface ProvidedContext {
    /** A database on the PostgreSQL server of this run. */
    postgresUrl: string;
    /** The Redis server of this run. It may hold other data. */
    redisUrl: string;
  }
}
