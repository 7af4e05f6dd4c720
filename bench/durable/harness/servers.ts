import pg from 'pg';
import { startPostgres } from '../../../test/support/servers/postgres-server.ts';
import { startRedis } from '../../../test/support/servers/redis-server.ts';
import type { Place } from '../systems/system.ts';
import type { Setting } from './question.ts';

/** So that neither checkpoints nor reads from disk fall into one run by chance. */
const POSTGRES_SETTINGS = ['shared_buffers=512MB', 'max_wal_size=8GB', 'checkpoint_timeout=30min'];

/** A durable server of the bench's own, emptied for each run. */
export interface BenchServer {
  fresh(): Promise<Place>;
  stop(): Promise<void>;
}

export async function startServer(setting: Setting): Promise<BenchServer> {
  return setting === 'postgres' ? onPostgres() : onRedis(setting === 'redis-always');
}

async function onPostgres(): Promise<BenchServer> {
  const server = await startPostgres({ durable: true, own: true, settings: POSTGRES_SETTINGS });
  let runs = 0;
  let last: string | undefined;
  const admin = async (...texts: readonly string[]): Promise<void> => {
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    for (const text of texts) await client.query(text);
    await client.end();
  };
  return {
    async fresh() {
      const name = `run_${++runs}`;
      await admin(
        ...(last === undefined ? [] : [`drop database ${last} with (force)`]),
        `create database ${name}`,
        'checkpoint',
      );
      last = name;
      const url = new URL(server.url);
      url.pathname = `/${name}`;
      return { backend: 'postgres', url: url.href };
    },
    stop: () => server.stop(),
  };
}

async function onRedis(durable: boolean): Promise<BenchServer> {
  const server = await startRedis({ durable });
  return {
    async fresh() {
      await server.cli('flushall');
      await server.cli('script', 'flush');
      await server.cli('config', 'resetstat');
      await rewritten(server.cli);
      return { backend: 'redis', url: server.url };
    },
    stop: () => server.stop(),
  };
}

/** What earlier runs left in the file doesn't start a rewrite in the middle of this one. */
async function rewritten(cli: (...args: string[]) => Promise<string>): Promise<void> {
  await cli('bgrewriteaof');
  for (;;) {
    const info = await cli('info', 'persistence');
    if (/aof_rewrite_in_progress:0/.test(info) && /aof_rewrite_scheduled:0/.test(info)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
