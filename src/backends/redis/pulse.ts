import type { Pulse, PulseOptions } from '../../core/ports/backend.ts';
import type { SessionNumber } from '../../core/ports/words.ts';
import { canCross, startPulse, threadModule } from '../../core/pulse.ts';
import type { CheckedRedisOptions } from './options.ts';

/** What the thread is given to reach the server. */
export interface RedisPulse extends CheckedRedisOptions {
  /** Lua that sets `NOW`. @default the server's time */
  readonly clock?: string;
}

const MODULE = { source: './pulse-worker.ts', built: './pulse-redis.js' };

/** Options of ioredis that the backend sets itself: functions among them needn't cross. */
const OVERRIDDEN: ReadonlySet<string> = new Set(['retryStrategy']);
const OVERRIDDEN_OF_CLUSTER: ReadonlySet<string> = new Set(['clusterRetryStrategy']);

/** Renews a lease from a thread. `undefined` for a client of the user's, and for settings that mean nothing there. */
export function pulseOfRedis(
  checked: CheckedRedisOptions,
  clock: string | undefined,
  session: SessionNumber,
  options: PulseOptions,
): Pulse | undefined {
  const { url, config, cluster } = checked.given;
  if (checked.way === 'client') return undefined;
  const given = {
    ...(url === undefined ? {} : { url }),
    ...(config === undefined ? {} : { config: without(config, OVERRIDDEN) }),
    ...(cluster === undefined
      ? {}
      : {
          cluster: { nodes: cluster.nodes, options: without(cluster.options ?? {}, OVERRIDDEN_OF_CLUSTER) },
        }),
  };
  const connection: RedisPulse = { ...checked, given, ...(clock === undefined ? {} : { clock }) };
  if (!canCross(connection)) return undefined;
  return startPulse({ module: threadModule(import.meta.url, MODULE), connection, session, options });
}

function without<T extends object>(settings: T, names: ReadonlySet<string>): T {
  return Object.fromEntries(Object.entries(settings).filter(([name]) => !names.has(name))) as T;
}
