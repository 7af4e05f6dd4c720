import type { RedisOptions as ClientOptions } from 'ioredis';
import { CoordinationError } from '../../core/errors.ts';
import type { Runtime } from '../../core/ports/runtime.ts';
import type { RedisClient } from './client.ts';
import type { CheckedRedisOptions } from './options.ts';
import { isRefusedDatabase } from './redis-errors.ts';

/** Pause before the first try to connect again, ms; it doubles up to {@link LAST_PAUSE_MS}, each half by chance. */
const FIRST_PAUSE_MS = 25;
/** Short, so that a server that comes back after a while, or cuts connections as they are made, is found within a second. */
const LAST_PAUSE_MS = 1_000;

/**
 * Settings that make an answer an answer: nothing is sent again behind our back, nothing waits while the server is away, and a connection
 * that says nothing is given up.
 */
function settingsOf({ connectTimeoutMs, commandTimeoutMs }: CheckedRedisOptions, runtime: Runtime) {
  return {
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    // What is under way when the connection breaks is refused then, not when there is another one.
    maxRetriesPerRequest: 0,
    maxLoadingRetryTime: 250,
    connectTimeout: timerMs(connectTimeoutMs),
    // Data that is waited for and doesn't come, in the handshake too: a black hole, which only a new connection leaves. The wait for a
    // reply is the store's own (`commandTimeout` would be a second timer for each).
    socketTimeout: timerMs(commandTimeoutMs),
    retryStrategy: (tries: number) => pauseMs(tries, runtime),
    // Measured: with 16 calls under way it costs a fifth of the rate, with large batches half; core coalesces already.
    enableAutoPipelining: false,
    // The prefix of a mesh has its own option, and answers are read as they come.
    keyPrefix: '',
    stringNumbers: false,
    replyMapping: 'legacy',
  } satisfies ClientOptions;
}

/** Node fires timers beyond this at once, and ioredis takes 0 for none. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

function timerMs(ms: number): number {
  return Math.min(LONGEST_TIMER_MS, Math.max(1, Math.ceil(ms)));
}

function pauseMs(tries: number, { random }: Runtime): number {
  const longest = Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(tries - 1, 10));
  return Math.ceil(longest * (0.5 + random.next() / 2));
}

/** Makes a client, not connected yet. @throws NOT_SUPPORTED when the package is missing */
export async function openClient(options: CheckedRedisOptions, runtime: Runtime): Promise<RedisClient> {
  const { Redis, Cluster } = await loadDriver();
  const settings = settingsOf(options, runtime);
  const { url, config, cluster } = options.given;
  // Operators see whose connections they are: CLIENT LIST.
  const named = { connectionName: 'agentmesh', reconnectOnError: isDemoted };
  if (cluster === undefined) {
    const client =
      url === undefined
        ? new Redis({ ...named, ...config, ...settings })
        : new Redis(url, { ...named, ...settings });
    client.on('error', (error: unknown) => {
      // It would go on in database 0. Hung up on, it tries again.
      if (isRefusedDatabase(error)) client.stream.destroy(error);
    });
    return client;
  }
  const { retryStrategy, lazyConnect, enableOfflineQueue, ...node } = settings;
  return new Cluster([...cluster.nodes], {
    // A node that is down is asked again after 100 ms; five times, and the caller decides.
    maxRedirections: 5,
    ...cluster.options,
    lazyConnect,
    enableOfflineQueue,
    clusterRetryStrategy: retryStrategy,
    redisOptions: { ...named, ...cluster.options?.redisOptions, ...node },
  });
}

/** A master that was made a replica stays on the line; the new one is behind the same name, or known to the sentinels. */
function isDemoted({ message }: Error): boolean {
  return message.startsWith('READONLY');
}

async function loadDriver(): Promise<Pick<typeof import('ioredis'), 'Redis' | 'Cluster'>> {
  try {
    return await import('ioredis');
  } catch (error) {
    throw new CoordinationError('NOT_SUPPORTED', 'The package `ioredis` is not installed', {
      cause: error,
      hint: 'Install it (`npm install ioredis`), or pass a client of yours as `client`.',
    });
  }
}
