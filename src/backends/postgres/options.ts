import { reading } from '../../core/check.ts';
import { CoordinationError, describe } from '../../core/errors.ts';
import { checkMethods, checkOption, notAnAddress, readOptions, refuseUnknown } from '../../core/options.ts';
import type { OptionTable } from '../../core/option-table.ts';
import type { PostgresPool } from './driver.ts';

/** How to reach the server, in the words of node-postgres; what it doesn't say comes from the `PG…` variables of the environment. */
export interface PostgresConfig {
  readonly host?: string;
  readonly port?: number;
  readonly user?: string;
  readonly password?: string | (() => string | Promise<string>);
  readonly database?: string;
  readonly ssl?: boolean | object;
  readonly [option: string]: unknown;
}

/** Exactly one of `url`, `config` and `pool` says where the server is. */
export interface PostgresOptions {
  /** `postgres://user:password@host:port/database`. Needs the package `pg`. */
  readonly url?: string;
  /** Needs the package `pg`. */
  readonly config?: PostgresConfig;
  /**
   * A pool of the caller's, of `pg` or of its shape. It is never ended. With `listen` one of its connections is kept; leave it enough for
   * the calls. Its connections go by the caller's settings: `connectTimeoutMs` and `commandTimeoutMs` hold all the same.
   */
  readonly pool?: PostgresPool;
  /** The schema that holds everything of one mesh: a letter or `_`, then letters, digits, `_`, lower case, at most 48. @default 'agentmesh' */
  readonly schema?: string;
  /** Most connections at a time, those for listening and for the lease's thread not counted. @default 8 */
  readonly connections?: number;
  /** Whether statements are prepared on each connection. Switched off by itself behind a pooler that loses them. @default true */
  readonly prepare?: boolean;
  /** Longest wait for a connection, and for `start` as a whole, ms. @default 5,000 */
  readonly connectTimeoutMs?: number;
  /** Longest wait for an answer, ms; then the connection is closed. @default 10,000 */
  readonly commandTimeoutMs?: number;
  /** Whether a connection is kept for hints from other processes; without, all waits poll. @default true */
  readonly listen?: boolean;
  /** `'auto'`: `start` creates the schema and brings it up to date. `'check'`: it only looks, and `migrate()` does that. @default 'auto' */
  readonly migrate?: 'auto' | 'check';
  /** How long the audit trail of tasks is kept, days. The chores of every process go by their own. @default 7 */
  readonly historyDays?: number;
}

/** The options with their defaults. */
export interface PostgresSettings {
  readonly source:
    | { readonly kind: 'url'; readonly url: string }
    | { readonly kind: 'config'; readonly config: PostgresConfig }
    | { readonly kind: 'pool'; readonly pool: PostgresPool };
  readonly schema: string;
  readonly connections: number;
  readonly prepare: boolean;
  readonly connectTimeoutMs: number;
  readonly commandTimeoutMs: number;
  readonly listen: boolean;
  readonly migrate: 'auto' | 'check';
  readonly historyDays: number;
}

const PLACES = ['url', 'config', 'pool', 'schema'] as const;
const SCHEMA = /^[a-z_][a-z0-9_]{0,47}$/;
const MAX_CONNECTIONS = 1_000;
/** A day: more than any wait makes sense. */
const MAX_MS = 86_400_000;

const SPECS = {
  connections: {
    kind: 'count',
    min: 1,
    max: MAX_CONNECTIONS,
    default: 8,
    doc: "Most connections at a time, those for listening and for the lease's thread not counted.",
  },
  prepare: { kind: 'flag', default: true, doc: 'Whether statements are prepared on each connection.' },
  connectTimeoutMs: {
    kind: 'ms',
    min: 1,
    max: MAX_MS,
    default: 5_000,
    doc: 'Longest wait for a connection, and for `start` as a whole.',
  },
  commandTimeoutMs: {
    kind: 'ms',
    min: 1,
    max: MAX_MS,
    default: 10_000,
    doc: 'Longest wait for an answer; then the connection is closed.',
  },
  listen: {
    kind: 'flag',
    default: true,
    doc: 'Whether a connection is kept for hints from other processes.',
  },
  migrate: {
    kind: 'choice',
    of: ['auto', 'check'],
    default: 'auto',
    doc: 'Whether `start` brings the schema up to date, or only looks.',
  },
  historyDays: {
    kind: 'count',
    min: 1,
    max: 3_650,
    default: 7,
    doc: 'How long the audit trail of tasks is kept, days.',
  },
} as const satisfies OptionTable;

/** @throws INVALID_OPTION */
export function postgresSettings(given: PostgresOptions): PostgresSettings {
  if (typeof given === 'string') throw notAnAddress('postgres');
  refuseUnknown('postgres', given, [...PLACES, ...Object.keys(SPECS)]);
  const options = readOptions<PostgresOptions>('postgres', given);
  const checked = <K extends keyof typeof SPECS>(key: K): NonNullable<PostgresOptions[K]> =>
    checkOption(`postgres.${key}`, SPECS[key], options[key] ?? SPECS[key].default) as NonNullable<
      PostgresOptions[K]
    >;
  const source = sourceOf(options);
  const listen = checked('listen');
  if (listen && source.kind === 'pool') checkRoom(source.pool);
  return {
    source,
    schema: checkSchema(options.schema ?? 'agentmesh'),
    connections: checked('connections'),
    prepare: checked('prepare'),
    connectTimeoutMs: checked('connectTimeoutMs'),
    commandTimeoutMs: checked('commandTimeoutMs'),
    listen,
    migrate: checked('migrate'),
    historyDays: checked('historyDays'),
  };
}

function sourceOf({ url, config, pool }: PostgresOptions): PostgresSettings['source'] {
  const given = [url, config, pool].filter((source) => source !== undefined).length;
  if (given !== 1) {
    throw new CoordinationError(
      'INVALID_OPTION',
      `Expected exactly one of \`url\`, \`config\` and \`pool\` of \`postgres\`, got ${given}`,
    );
  }
  if (pool !== undefined) return { kind: 'pool', pool: checkPool(pool) };
  if (config !== undefined) return { kind: 'config', config: readOptions('postgres.config', config) };
  return { kind: 'url', url: checkUrl(url) };
}

function checkPool(pool: PostgresPool): PostgresPool {
  checkMethods('postgres.pool', pool, ['query', 'connect']);
  if (reading('`postgres.pool`', () => 'connectionParameters' in pool))
    throw new CoordinationError(
      'INVALID_OPTION',
      'Expected `postgres.pool` to be a pool, got a single client',
      {
        hint: 'Pass a `Pool` of the package `pg`, or the address as `url`.',
      },
    );
  return pool;
}

/** Who listens keeps one connection, and the calls would wait for another for ever. */
function checkRoom(pool: PostgresPool): void {
  const max = reading('`postgres.pool`', () => (pool as { options?: { max?: unknown } }).options?.max);
  if (max === 1)
    throw new CoordinationError(
      'INVALID_OPTION',
      'Expected `postgres.pool` to have room for 2 connections: one of them is kept for listening',
      { hint: 'Raise `max` of the pool, or set `listen: false`.' },
    );
}

/** Says nothing of what it holds: there may be a password in it. */
function checkUrl(url: unknown): string {
  if (typeof url === 'string' && /^postgres(ql)?:\/\//.test(url)) return url;
  throw new CoordinationError(
    'INVALID_OPTION',
    'Expected `postgres.url` to be a URL that begins with postgres:// or postgresql://',
  );
}

export function checkSchema(schema: unknown): string {
  if (typeof schema === 'string' && SCHEMA.test(schema)) return schema;
  throw new CoordinationError(
    'INVALID_OPTION',
    `Expected \`postgres.schema\` to match ${SCHEMA.source}, got ${describe(schema)}`,
  );
}

/** Texts that must appear in no error, log or report: the whole address, and the password in it. */
export function secretsOf({ source }: PostgresSettings): readonly string[] {
  if (source.kind === 'pool') return [];
  if (source.kind === 'config') {
    const { password, connectionString } = source.config;
    return [
      ...(typeof password === 'string' ? [password] : []),
      ...(typeof connectionString === 'string' ? secretsOfUrl(connectionString) : []),
    ];
  }
  return secretsOfUrl(source.url);
}

function secretsOfUrl(url: string): readonly string[] {
  const secrets = [url];
  try {
    const { password, searchParams } = new URL(url);
    for (const secret of [password, searchParams.get('password')])
      if (secret !== null && secret !== '') secrets.push(secret, decodeURIComponent(secret));
  } catch {
    // The driver reads more forms than URL does; then the address as a whole is kept out.
  }
  return secrets;
}
