import { toStoredError } from '../../core/errors.ts';
import type { Backend, BackendReport, Capabilities } from '../../core/ports/backend.ts';
import type { LockStore } from '../../core/ports/locks.ts';
import type { MessageTransport } from '../../core/ports/messages.ts';
import type { Runtime } from '../../core/ports/runtime.ts';
import type { Sessions } from '../../core/ports/sessions.ts';
import type { StateStore } from '../../core/ports/state.ts';
import type { TaskStore } from '../../core/ports/tasks.ts';
import { RedisStore } from './connection.ts';
import { RedisConnections } from './connections.ts';
import { Hints } from './hints.ts';
import { RedisLockStore } from './locks/lock-store.ts';
import { RedisMessageTransport } from './messages/redis-message-transport.ts';
import { checkRedisOptions, type RedisOptions } from './options.ts';
import { pulseOfRedis } from './pulse.ts';
import { defineScript } from './scripts.ts';
import { RedisSessions } from './sessions.ts';
import { RedisStateStore } from './state-store.ts';
import { RedisTaskStore } from './tasks/redis-task-store.ts';

/** The Redis backend: every port, for processes that share a server. */
export interface RedisBackend extends Backend {
  readonly sessions: Sessions;
  readonly tasks: TaskStore;
  readonly locks: LockStore;
  readonly messages: MessageTransport;
  readonly state: StateStore;
  start(runtime: Runtime): Promise<BackendReport>;
  check(): Promise<{ readonly healthy: boolean; readonly detail?: string }>;
  stop(): Promise<void>;
}

/** The same with what its own tests see. */
export interface InnerRedisBackend extends RedisBackend {
  readonly sessions: RedisSessions;
  readonly state: RedisStateStore;
}

/** What tests put in place of the real thing. */
export interface RedisInternals {
  /** Lua that sets `NOW`. */
  readonly clock?: string;
  /** Other ports on the same store. */
  readonly ports?: (store: RedisStore) => Pick<Backend, 'tasks' | 'locks' | 'messages'>;
}

const CAPABILITIES: Capabilities = {
  roundTrip: 'network',
  encoding: 'json',
  maxBatch: 250,
  ordered: true,
  maxInFlight: 16,
  transactions: false,
  shared: true,
  redelivery: 'item',
};

/** `check` is for health pages: it doesn't wait as long as work does, ms. */
const CHECK_MS = 2_000;
const CHECK = defineScript('check', 'return int(now())');

/**
 * A backend on Redis 7.0 or newer, one server or a cluster. What survives depends on its `appendonly` and `appendfsync`: `start` finds out and says so.
 * @throws INVALID_OPTION
 */
export function redis(options: RedisOptions): RedisBackend {
  return createRedis(options);
}

/** {@link redis} with other insides. */
export function createRedis(options: RedisOptions, internals: RedisInternals = {}): InnerRedisBackend {
  const checked = checkRedisOptions(options);
  const { tag, commandTimeoutMs } = checked;
  const { clock, ports } = internals;
  const store = new RedisStore({ tag, commandTimeoutMs, ...(clock === undefined ? {} : { clock }) });
  const sessions = new RedisSessions(store);
  const hints = new Hints((session) => sessions.owns(session));
  const connections = new RedisConnections(checked, store, hints);
  return {
    name: 'redis',
    capabilities: CAPABILITIES,
    sessions,
    tasks: new RedisTaskStore(store, checked.tasks),
    locks: new RedisLockStore(store),
    messages: new RedisMessageTransport(store),
    state: new RedisStateStore(store),
    ...ports?.(store),
    start: (runtime) => connections.start(runtime),
    async check() {
      if (store.stopped) return { healthy: false, detail: 'stopped' };
      try {
        await store.run(CHECK, [], 'read', Math.min(CHECK_MS, commandTimeoutMs));
        return { healthy: true };
      } catch (error) {
        return { healthy: false, detail: toStoredError(error).message };
      }
    },
    stop: () => connections.stop(),
    pulse: (session, how) => pulseOfRedis(checked, clock, session, how),
    onHint: (interest, listener) => hints.on(interest, listener),
  };
}
