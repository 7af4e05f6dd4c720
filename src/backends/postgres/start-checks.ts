import { CoordinationError, describe } from '../../core/errors.ts';
import type { BackendReport, Durability } from '../../core/ports/backend.ts';
import type { StartProblem } from '../../core/start-problems.ts';
import { type PostgresClient, rowsOf } from './driver.ts';
import { VALUE_PARSERS } from './value-parsers.ts';

export type Problem = BackendReport['problems'][number] & { readonly code: StartProblem };

/** What the server says of itself. */
export interface ServerFacts {
  readonly version: string;
  readonly number: number;
  readonly fsync: string;
  readonly synchronousCommit: string;
  readonly inRecovery: boolean;
  readonly readOnly: string;
  readonly encoding: string;
  readonly isolation: string;
  readonly wallMs: number;
}

const FACTS = `select current_setting('server_version') as version,
  current_setting('server_version_num')::int as number,
  current_setting('fsync') as fsync,
  current_setting('synchronous_commit') as "synchronousCommit",
  pg_is_in_recovery() as "inRecovery",
  current_setting('transaction_read_only') as "readOnly",
  current_setting('server_encoding') as encoding,
  current_setting('default_transaction_isolation') as isolation,
  (extract(epoch from clock_timestamp()) * 1000)::float8 as "wallMs"`;

const OLDEST_SERVER = 13;
const MAX_SKEW_MS = 5_000;

/** @throws INVALID_OPTION when the client is one of a pool of the caller's and doesn't answer as `pg` does */
export async function inspectServer(client: PostgresClient): Promise<ServerFacts> {
  const answer: unknown = await client.query({ text: FACTS, types: VALUE_PARSERS });
  const [facts] = rowsOf(answer, 'the clients of `postgres.pool`', 'INVALID_OPTION');
  if (typeof (facts as Partial<ServerFacts> | null | undefined)?.wallMs === 'number')
    return facts as ServerFacts;
  throw new CoordinationError(
    'INVALID_OPTION',
    `Expected the clients of \`postgres.pool\` to answer with rows that have their columns by name, numbers as such, got ${describe(facts)}`,
  );
}

export function isReplica({ inRecovery, readOnly }: ServerFacts): boolean {
  return inRecovery || readOnly === 'on';
}

/** Where one of these is found no schema is made: making it would fail, or using it at the first character that the database lacks. */
export function obstaclesIn({ version, number, encoding }: ServerFacts): Problem[] {
  const found: readonly (Problem | false)[] = [
    number < OLDEST_SERVER * 10_000 && {
      code: 'SERVER_TOO_OLD',
      severity: 'refuse',
      message: `PostgreSQL ${version} is older than ${OLDEST_SERVER}`,
      hint: `Upgrade the server to PostgreSQL ${OLDEST_SERVER} or newer.`,
    },
    encoding !== 'UTF8' && {
      code: 'ENCODING',
      severity: 'refuse',
      message: `The database is encoded in ${encoding}, not UTF8`,
      hint: "Create it with ENCODING 'UTF8'.",
    },
  ];
  return found.filter((problem) => problem !== false);
}

/** What survives a crash of the server, as its settings have it. */
export function durabilityOf({ fsync, synchronousCommit }: ServerFacts): Durability {
  return fsync === 'on' && synchronousCommit !== 'off' ? 'server-crash' : 'seconds';
}

/** @param wallMs this process's wall clock, ms, as close to the question as may be */
export function problemsOf(facts: ServerFacts, wallMs: number): Problem[] {
  const skewMs = Math.abs(facts.wallMs - wallMs);
  const found: readonly (Problem | false)[] = [
    isReplica(facts) && {
      code: 'REPLICA',
      severity: 'refuse',
      message: facts.inRecovery ? 'The server is a replica' : 'The server or this role is read-only',
      hint: 'Connect to the primary.',
    },
    facts.isolation !== 'read committed' && {
      code: 'DEFAULT_ISOLATION',
      severity: 'refuse',
      message: `Statements run under ${facts.isolation.toUpperCase()} by default, not READ COMMITTED`,
      hint: "ALTER ROLE … SET default_transaction_isolation = 'read committed'.",
    },
    facts.synchronousCommit === 'off' && {
      code: 'SYNCHRONOUS_COMMIT_OFF',
      severity: 'warn',
      message:
        'synchronous_commit is off: when the server crashes, what the last moments acknowledged is lost',
      hint: 'Set synchronous_commit = on for this role or server.',
    },
    facts.fsync === 'off' && {
      code: 'FSYNC_OFF',
      severity: 'warn',
      message: 'fsync is off: a crash of the machine may lose or corrupt everything',
      hint: 'Set fsync = on, except for tests.',
    },
    skewMs > MAX_SKEW_MS && {
      code: 'CLOCK_SKEW',
      severity: 'warn',
      message: `The clocks of this machine and the server differ by ${Math.round(skewMs / 1_000)} s`,
      hint: 'Synchronise both. Deadlines go by the server; only times shown to people are off.',
    },
  ];
  return [...obstaclesIn(facts), ...found.filter((problem) => problem !== false)];
}
