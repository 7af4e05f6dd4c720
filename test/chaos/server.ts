import { setTimeout as sleep } from 'node:timers/promises';
import { startPostgres } from '../support/servers/postgres-server.ts';
import { startRedis } from '../support/servers/redis-server.ts';
import type { BackendName } from './world.ts';

/** A server of our own that can be killed. */
export interface ChaosServer {
  readonly url: string;
  readonly port: number;
  /** What it promises, for people. */
  readonly durability: string;
  kill9(): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** @param durable on disk before each answer; without, Redis loses its last second when it is killed */
export async function startServer(backend: BackendName, durable = true): Promise<ChaosServer> {
  if (backend === 'postgres') {
    const server = await startPostgres({ durable, own: true });
    const { url } = server;
    return {
      url,
      port: Number(new URL(url).port),
      durability: 'fsync, synchronous_commit',
      kill9: () => server.kill9(),
      restart: () => again(() => server.restart()),
      stop: () => server.stop(),
    };
  }
  const server = await startRedis({ durable });
  return {
    url: server.url,
    port: server.port,
    durability: durable ? 'appendfsync always' : 'appendfsync everysec',
    kill9: () => server.kill9(),
    restart: () => again(() => server.start()),
    stop: () => server.stop(),
  };
}

/** What is left of the killed one may be in the way for a moment. */
async function again(start: () => Promise<void>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await start();
    } catch (error) {
      if (tries === 20) throw error;
      await sleep(100);
    }
  }
}
