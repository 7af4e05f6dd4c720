import type { Backend, BackendReport, Capabilities } from '../../core/ports/backend.ts';
import { checkOptions } from '../../core/options.ts';
import type { Runtime } from '../../core/ports/runtime.ts';
import { checkAllow } from '../../core/start-problems.ts';
import { PostgresLockStore } from './locks/lock-store.ts';
import { type Build, MeshServer } from './mesh-server.ts';
import { PostgresMessageTransport } from './messages/message-transport.ts';
import type { MigrationReport } from './migrator.ts';
import { type PostgresOptions, postgresSettings } from './options.ts';
import { pulseOfPostgres } from './pulse.ts';
import { MIGRATIONS, WRITER } from './schema/migrations.ts';
import { PostgresSessions } from './sessions.ts';
import { PostgresStateStore } from './state-store.ts';
import { PostgresTaskStore } from './tasks/task-store.ts';

const CAPABILITIES: Capabilities = {
  roundTrip: 'network',
  encoding: 'json',
  maxBatch: 1_000,
  ordered: false,
  maxInFlight: 16,
  transactions: true,
  shared: true,
  redelivery: 'item',
};

/** The PostgreSQL backend: every port, one schema a mesh, shared by any number of processes. */
export interface PostgresBackend extends Backend {
  readonly sessions: PostgresSessions;
  readonly tasks: PostgresTaskStore;
  readonly locks: PostgresLockStore;
  readonly messages: PostgresMessageTransport;
  readonly state: PostgresStateStore;
  start(runtime: Runtime, allowed?: readonly string[]): Promise<BackendReport>;
  check(): Promise<{ readonly healthy: boolean; readonly detail?: string }>;
  stop(): Promise<void>;
  /**
   * Brings the schema to the version of this build, whatever the option `migrate` says; may run before `start` and in any number of
   * processes. A step that takes away what older builds need tells their live sessions to leave and waits: then it rejects.
   * @throws SCHEMA_MISMATCH when the schema is newer than this build, or live sessions are of older builds; repeat it later
   * @param options `allow: ['ENCODING']` for a database that isn't encoded in UTF8, as the manager takes it
   * @throws NOT_SUPPORTED when the database is encoded otherwise than in UTF8, or the server is older than PostgreSQL 13: nothing is created there
   * @throws BACKEND_UNAVAILABLE, INVALID_OPTION
   */
  migrate(options?: { readonly allow?: readonly string[] }): Promise<MigrationReport>;
}

/**
 * A backend on PostgreSQL 13 or newer. Nothing is opened before `start`.
 * @throws INVALID_OPTION
 */
export function postgres(options: PostgresOptions): PostgresBackend {
  return postgresOfBuild(options, { migrations: MIGRATIONS, writer: WRITER });
}

/** The backend as a build with other steps of the schema would make it. */
export function postgresOfBuild(options: PostgresOptions, build: Build): PostgresBackend {
  const settings = postgresSettings(options);
  const server = new MeshServer(settings, build);
  const db = server.database;
  return {
    name: 'postgres',
    capabilities: CAPABILITIES,
    sessions: new PostgresSessions(db),
    tasks: new PostgresTaskStore(db, settings.historyDays),
    locks: new PostgresLockStore(db),
    messages: new PostgresMessageTransport(db),
    state: new PostgresStateStore(db),
    start: (runtime, allowed) => server.start(runtime, allowed),
    check: () => server.check(),
    stop: () => server.stop(),
    pulse: (session, how) => pulseOfPostgres(settings, session, how),
    onHint: (interest, listener) => server.onHint(interest, listener),
    migrate: async (options) => server.migrate(checkAllow(checkOptions('migrate', options, ['allow']).allow)),
  };
}
