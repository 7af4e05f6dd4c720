import pg from 'pg';
import { expect, inject, onTestFinished, test } from 'vitest';
import { postgres } from '../../src/backends/postgres/postgres.ts';
import { CoordinationManager } from '../../src/index.ts';
import { scratchSchema } from '../support/postgres-scratch.ts';

/** T5, T11: an attempt that fails because its session is over, under its transaction, has not failed: another one begins, uncounted. */
async function world() {
  const schema = scratchSchema();
  const url = inject('postgresUrl');
  const backend = postgres({ url, schema });
  const mesh = await CoordinationManager.start({ backend, env: {}, session: { thread: 'main' } });
  const pool = new pg.Pool({ connectionString: url, max: 3 });
  onTestFinished(async () => {
    await mesh.shutdown();
    await pool.query(`drop schema ${schema} cascade`);
    await pool.end();
  });
  const failed: unknown[] = [];
  mesh.events.on('task:failed', (payload) => failed.push(payload));
  /** Does this in a transaction of its own. */
  const inTransaction = async (work: (client: pg.PoolClient) => Promise<unknown>): Promise<void> => {
    const client = await pool.connect();
    try {
      await client.query('begin');
      await work(client);
      await client.query('commit');
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  };
  /** As if all leases had run out. */
  const endSessions = (): Promise<unknown> => pool.query(`update ${schema}.sessions set expires_at = 1`);
  return { mesh, failed, inTransaction, endSessions };
}

test('a submission in the transaction is refused: the next attempt begins at once', async () => {
  const { mesh, failed, inTransaction, endSessions } = await world();
  const begun: (readonly [attempt: number, at: number])[] = [];
  mesh.registerAgent({
    id: 'a',
    handler: {
      parent: async ({ attempt, completeWithin }) => {
        begun.push([attempt, performance.now()]);
        if (begun.length === 1) await endSessions();
        await inTransaction(async (client) => {
          await mesh.submitTask({ type: 'child' }, { client });
          await completeWithin(client, 'done');
        });
      },
      child: () => undefined,
    },
  });
  const task = await mesh.submitTask({ type: 'parent', retry: { delayMs: 30_000 } });
  expect(await task.result()).toBe('done');
  expect(begun.map(([attempt]) => attempt)).toEqual([1, 1]);
  expect(failed).toEqual([]);
});

test('a completion in the transaction counts all the same, as long as nobody has taken the task over', async () => {
  const { mesh, failed, inTransaction, endSessions } = await world();
  const attempts: number[] = [];
  mesh.registerAgent({
    id: 'a',
    handler: async ({ attempt, completeWithin }) => {
      attempts.push(attempt);
      await endSessions();
      await inTransaction((client) => completeWithin(client, 'done'));
    },
  });
  const task = await mesh.submitTask({ type: 't' });
  expect(await task.result()).toBe('done');
  expect(attempts).toEqual([1]);
  expect(failed).toEqual([]);
});
