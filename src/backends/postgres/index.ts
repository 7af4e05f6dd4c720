export { type Fence, fenced, type FencedOptions } from './fenced.ts';
export { postgres, type PostgresBackend } from './postgres.ts';
export type { PostgresConfig, PostgresOptions } from './options.ts';
export type { MigrationReport } from './migrator.ts';
export type { DriverQuery, DriverResult, PooledClient, PostgresClient, PostgresPool } from './driver.ts';
