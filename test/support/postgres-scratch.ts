import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import type { DriverQuery, PooledClient, PostgresPool } from '../../src/backends/postgres/driver.ts';

/** A schema name that nobody has. */
export function scratchSchema(): string {
  return `s_${randomBytes(6).toString('hex')}`;
}

/** Sends one statement on a connection of its own. */
export async function sql<R extends object>(text: string, url: string = inject('postgresUrl')): Promise<R[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<R>(text);
    return rows;
  } finally {
    await client.end();
  }
}

/** A role of its own, with a password, that may create schemas in a database. */
export async function scratchRole(
  options = '',
  server: string = inject('postgresUrl'),
): Promise<{ name: string; password: string; url: string }> {
  const name = `r_${randomBytes(6).toString('hex')}`;
  const password = `canary-${randomBytes(6).toString('hex')}`;
  const url = new URL(server);
  await sql(
    `create role ${name} login password '${password}' ${options};
    grant create on database "${url.pathname.slice(1)}" to ${name}`,
    server,
  );
  url.username = name;
  url.password = password;
  return { name, password, url: url.href };
}

/** A pool that keeps what was sent through it. */
export function recordingPool(pool: pg.Pool): PostgresPool & { readonly sent: DriverQuery[] } {
  const sent: DriverQuery[] = [];
  return {
    sent,
    query: (query) => {
      sent.push(query);
      return pool.query(query as pg.QueryConfig);
    },
    connect: async () => {
      const client = await pool.connect();
      const recorded = Object.create(client) as PooledClient;
      recorded.query = (query) => {
        sent.push(query);
        return client.query(query as pg.QueryConfig);
      };
      recorded.release = (destroy) => client.release(destroy);
      return recorded;
    },
  };
}
