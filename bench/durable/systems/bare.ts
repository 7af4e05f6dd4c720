import { Redis } from 'ioredis';
import pg from 'pg';
import type { OpenSystem, Payload, Place, System } from './system.ts';

/** No queue: the least that a durable write costs here, with the drivers that all of them use. What a queue needs beyond is its own. */
export const bare: System = {
  name: 'bare write',
  note: 'no queue: the payload into a table with one key, or at the end of a list',
  open: (place) => (place.backend === 'redis' ? openList(place) : openTable(place)),
};

async function openTable({ url }: Place): Promise<OpenSystem> {
  const pool = new pg.Pool({ connectionString: url });
  await pool.query(
    'create table if not exists bare (id bigint generated always as identity primary key, job text)',
  );
  return {
    one: (payload) =>
      pool.query({
        name: 'one',
        text: 'insert into bare (job) values ($1)',
        values: [JSON.stringify(payload)],
      }),
    many: async (payloads) => {
      const values = [payloads.map((payload) => JSON.stringify(payload))];
      await pool.query({ name: 'many', text: 'insert into bare (job) select unnest($1::text[])', values });
      return [];
    },
    ...noQueue,
    close: () => pool.end(),
  };
}

async function openList({ url }: Place): Promise<OpenSystem> {
  const client = new Redis(url);
  const push = (...payloads: readonly Payload[]): Promise<number> =>
    client.rpush('bare', ...payloads.map((payload) => JSON.stringify(payload)));
  return {
    one: (payload) => push(payload),
    many: async (payloads) => {
      await push(...payloads);
      return [];
    },
    ...noQueue,
    close: async () => {
      await client.quit();
    },
  };
}

const noQueue = {
  work: (): never => {
    throw new Error('Nobody runs what is merely written');
  },
  isDrained: async (): Promise<boolean> => true,
  completed: async (): Promise<undefined> => undefined,
};
