import { pulseData, pulseLimits, renewFromThread } from '../../core/pulse-thread.ts';
import { createRuntime } from '../../core/runtime/runtime.ts';
import { Connections } from './connections.ts';
import { Database } from './database.ts';
import { dial } from './dial.ts';
import type { PostgresSettings } from './options.ts';
import { PostgresSessions } from './sessions.ts';
import { SqlErrors } from './sql-errors.ts';
import { Statements } from './statements.ts';

/** The thread that renews the lease of a session in PostgreSQL. Its pool opens another connection when it needs one. */
const data = pulseData<PostgresSettings>();
const { connection } = data;
// Two, so that a try need not wait for the one before.
const settings = { ...connection, ...pulseLimits(connection), connections: 2 };
const connections = new Connections({
  statements: new Statements(settings.schema, settings.prepare),
  // Nobody hears of its errors.
  errors: new SqlErrors([]),
  connectTimeoutMs: settings.connectTimeoutMs,
  commandTimeoutMs: settings.commandTimeoutMs,
  hint: () => undefined,
});
const sessions = new PostgresSessions(new Database(connections));

renewFromThread(async () => {
  if (!connections.isOpen) connections.open((await dial(settings)).pool, createRuntime());
  return sessions.pulse(data.session);
});
