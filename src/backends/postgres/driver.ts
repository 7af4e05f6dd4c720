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
