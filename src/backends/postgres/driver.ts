import { reading } from '../../core/check.ts';
import { CoordinationError, describe } from '../../core/errors.ts';
import { checkMethods } from '../../core/options.ts';

/**
 * What this backend needs of a driver: the shape of node-postgres (`pg`), so that a pool of it can be handed in, and other drivers that
 * keep to it.
 */

/** One statement as it goes to the driver. */
export interface DriverQuery {
  readonly text: string;
  readonly values?: readonly unknown[];
  /** Prepared under this name on each connection. */
  readonly name?: string;
  /** How the columns of the answer are read. A driver that ignores it must give bigint columns as numbers itself. */
  readonly types?: TypeParsers;
}

export interface TypeParsers {
  getTypeParser(oid: number, format?: string): (value: string) => unknown;
}

export interface DriverResult {
  readonly rows: readonly unknown[];
}

/** A connection, or a connection in a transaction of the caller's. */
export interface PostgresClient {
  query(query: DriverQuery): Promise<DriverResult>;
}

/** A connection taken out of a pool. */
export interface PooledClient extends PostgresClient {
  /** Gives it back; with `true` it is closed instead. */
  release(destroy?: boolean): void;
}

/** A pool of connections. */
export interface PostgresPool extends PostgresClient {
  connect(): Promise<PooledClient>;
}

/** A connection that hears notifications. */
export interface ListeningClient extends PostgresClient {
  on(event: 'notification', listener: (message: { readonly payload?: string | undefined }) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
  removeAllListeners?(event?: string): unknown;
}

/** @throws INVALID_ARGUMENT when the client of a transaction can't be asked */
export function checkClient(client: PostgresClient): void {
  if (reading('the client', () => typeof (client as PostgresClient | undefined)?.query === 'function'))
    return;
  throw new CoordinationError(
    'INVALID_ARGUMENT',
    `Expected the client to have a method query, got ${describe(client)}`,
    { hint: 'Pass a connection of the package `pg`, or of its shape, on which you have sent BEGIN.' },
  );
}

/**
 * The rows of an answer: who hands in something of another shape hears of that, not of a server that can't be reached.
 * @throws INVALID_OPTION, or INVALID_ARGUMENT for the client of a transaction
 */
export function rowsOf(
  answer: unknown,
  whose: string,
  code: 'INVALID_OPTION' | 'INVALID_ARGUMENT',
): readonly unknown[] {
  const rows: unknown = reading(whose, () => (answer as Partial<DriverResult> | null | undefined)?.rows);
  if (Array.isArray(rows)) return rows;
  throw new CoordinationError(
    code,
    `Expected ${whose} to answer \`query\` with { rows }, got ${describe(answer)}`,
    {
      hint: 'Pass one of the package `pg`, or of its shape.',
    },
  );
}

/** A connection of a pool that may be anybody's. @throws INVALID_OPTION */
export async function connectionOf(pool: PostgresPool): Promise<PooledClient> {
  const client = (await pool.connect()) as PooledClient | undefined;
  return checkMethods('await postgres.pool.connect()', client ?? (null as never), ['query', 'release']);
}
