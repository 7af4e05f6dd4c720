import { CoordinationError } from '../../core/errors.ts';
import type { ListeningClient, PooledClient, PostgresPool } from './driver.ts';
import type { PostgresSettings } from './options.ts';

/** Connections that nobody used for this long are closed, ms: longer than a beat, or each would need a new one. */
const IDLE_MS = 60_000;

/** A connection of its own for listening. */
export type OwnClient = ListeningClient & { readonly close: () => void };

/** The connections of one backend. */
export interface Dialled {
  readonly pool: PostgresPool;
  /** `undefined` when the driver has no way to hear notifications. */
  readonly listener: (() => Promise<OwnClient>) | undefined;
  /** Closes what was opened here. */
  end(): Promise<void>;
}

/** What of Node's EventEmitter is used where a driver has it. */
interface Emitter {
  on(event: string, listener: (subject: Partial<Emitter>) => void): unknown;
  off(event: string, listener: (subject: Partial<Emitter>) => void): unknown;
}

interface OwnPool extends PostgresPool {
  end(): Promise<void>;
}

interface DriverModule {
  readonly Pool: new (config: object) => OwnPool;
  readonly Client: new (
    config: object,
  ) => ListeningClient & { connect(): Promise<void>; end(): Promise<void> };
}

/** Opens a pool as the options say, or takes the caller's. @throws NOT_SUPPORTED when the driver is not installed */
export async function dial(settings: PostgresSettings): Promise<Dialled> {
  if (settings.source.kind === 'pool') return borrowed(settings.source.pool);
  const { Pool, Client } = await loadDriver();
  const config = {
    keepAlive: true,
    application_name: 'agentmesh',
    // What was given up here is given up there too, with the locks it waits for.
    statement_timeout: Math.ceil(settings.commandTimeoutMs),
    ...(settings.source.kind === 'url' ? { connectionString: settings.source.url } : settings.source.config),
    connectionTimeoutMillis: settings.connectTimeoutMs,
  };
  const pool = new Pool({ ...config, max: settings.connections, idleTimeoutMillis: IDLE_MS });
  surviving(pool);
  return {
    pool,
    listener: async () => {
      const client = new Client(config);
      client.on('error', () => undefined);
      await client.connect();
      return asOwn(client, () => void client.end().catch(() => undefined));
    },
    end: () => pool.end(),
  };
}

/** Connections whose errors are heard: a pool may serve several backends, one after another too. */
const guarded = new WeakSet<object>();

function ignore(): void {}

/**
 * Connections fail while nobody waits for them: idle, between two answers, or in the very moment they are handed out. Unheard, such an error
 * ends the process; the next call finds out by itself and opens another. Returns how to stop hearing them.
 */
function surviving(given: PostgresPool): () => void {
  const pool: Partial<Emitter> = given as object;
  const guard = (client: Partial<Emitter>): void => {
    if (guarded.has(client)) return;
    guarded.add(client);
    client.on?.('error', ignore);
  };
  pool.on?.('error', ignore);
  pool.on?.('acquire', guard);
  pool.on?.('connect', guard);
  return () => {
    pool.off?.('error', ignore);
    pool.off?.('acquire', guard);
    pool.off?.('connect', guard);
  };
}

function borrowed(pool: PostgresPool): Dialled {
  const forget = surviving(pool);
  return {
    pool,
    listener: async () => {
      const client = (await pool.connect()) as PooledClient & ListeningClient;
      if (typeof client.on !== 'function') {
        client.release();
        throw new CoordinationError('NOT_SUPPORTED', 'Clients of this pool hear no notifications', {
          hint: 'Set listen: false, or use a pool of pg.',
        });
      }
      return asOwn(client, () => client.release(true));
    },
    end: () => Promise.resolve(forget()),
  };
}

function asOwn(client: ListeningClient, close: () => void): OwnClient {
  let closed = false;
  return {
    query: (query) => client.query(query),
    on: client.on.bind(client),
    close() {
      if (!closed) close();
      closed = true;
    },
  };
}

async function loadDriver(): Promise<DriverModule> {
  try {
    return (await import('pg')) as unknown as DriverModule;
  } catch (error) {
    throw new CoordinationError('NOT_SUPPORTED', 'The package `pg` is not installed', {
      cause: error,
      hint: 'npm install pg, or pass a pool of another driver as the option `pool`.',
      retryable: false,
    });
  }
}
