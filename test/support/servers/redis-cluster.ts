import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { freePort } from './free-port.ts';
import { type RedisServer, startRedis } from './redis-server.ts';

const run = promisify(execFile);
const NODES = 3;
const READY_MS = 20_000;

/** A Redis Cluster of three masters on loopback. */
export interface RedisCluster {
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  readonly servers: readonly RedisServer[];
  stop(): Promise<void>;
}

/** Starts a cluster without replicas. @throws when it isn't complete within 20 s */
export async function startRedisCluster(): Promise<RedisCluster> {
  const servers: RedisServer[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.stop()));
  };
  try {
    for (let i = 0; i < NODES; i++) servers.push(await startNode());
    const nodes = servers.map(({ port }) => ({ host: '127.0.0.1', port }));
    const addresses = nodes.map(({ host, port }) => `${host}:${port}`);
    await run('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-yes'], { timeout: READY_MS });
    await Promise.all(servers.map(whenComplete));
    return { nodes, servers, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startNode(): Promise<RedisServer> {
  for (let tries = 1; ; tries++) {
    // Not the port + 10,000, which may be too high or taken.
    const bus = await freePort();
    const settings = [
      '--cluster-enabled',
      'yes',
      '--cluster-port',
      String(bus),
      '--cluster-node-timeout',
      '5000',
    ];
    try {
      return await startRedis({ settings });
    } catch (error) {
      // Somebody may have taken that one meanwhile.
      if (tries === 3) throw error;
    }
  }
}

/** Each node learns of the others by gossip. */
async function whenComplete(server: RedisServer): Promise<void> {
  const end = performance.now() + READY_MS;
  for (;;) {
    const info = await server.cli('cluster', 'info');
    if (info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${NODES}`)) return;
    if (performance.now() > end) throw new Error(`The cluster is not complete: ${info}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
