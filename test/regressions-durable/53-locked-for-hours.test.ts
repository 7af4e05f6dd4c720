import pg from 'pg';
import { expect, inject, test } from 'vitest';
import {
  behindProxy,
  LEASE_MS,
  newWorld,
  plainPostgres,
  startMesh,
  STORES,
  type World,
  within,
} from '../support/durable/stores.ts';
import { WorkerProcess } from '../support/durable/worker-process.ts';

/**
 * Defect 53: jobs of a crashed worker stayed locked for hours (graphile-worker #222, #449), and after a failover nobody listened for new
 * ones any more (#541).
 */
interface Queue {
  /** Submits a job. */
  submit(id: string): Promise<void>;
  /** A worker takes the job that is there and is killed. */
  takeAndCrash(): Promise<void>;
  /** Another worker is there. All its connections are lost once, and made anew. */
  loseConnections(): Promise<void>;
  /** Whether it has run this job within this time. */
  ran(id: string, withinMs: number): Promise<boolean>;
}

export async function scenario(queue: Queue): Promise<void> {
  await queue.submit('crashed');
  await queue.takeAndCrash();
  await queue.loseConnections();
  await queue.submit('after');
  expect(await queue.ran('after', 2_500)).toBe(true);
  expect(await queue.ran('crashed', LEASE_MS + 2_500)).toBe(true);
}

/** Locks by the hour, and a listener that is set up once. */
async function naive(): Promise<Queue> {
  const { pool, table } = await plainPostgres(
    'id text, locked_at timestamptz, done boolean not null default false',
  );
  const listener = new pg.Client({ connectionString: inject('postgresUrl') });
  listener.on('error', () => undefined);
  await listener.connect();
  const free = `done = false and (locked_at is null or locked_at < now() - interval '4 hours')`;
  listener.on('notification', () => {
    void pool.query(`update ${table} set done = true where ${free}`);
  });
  await listener.query(`listen ${table}`);
  return {
    async submit(id) {
      await pool.query(`insert into ${table} (id) values ($1)`, [id]);
      await pool.query(`notify ${table}`);
    },
    takeAndCrash: async () => void (await pool.query(`update ${table} set locked_at = now(), done = false`)),
    async loseConnections() {
      const { rows } = await listener.query<{ pid: number }>('select pg_backend_pid() as pid');
      await pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
    },
    async ran(id, withinMs) {
      const done = await within(withinMs, async () => {
        const { rowCount } = await pool.query(`select from ${table} where id = $1 and done`, [id]);
        return rowCount === 1 ? true : undefined;
      });
      return done === true;
    },
  };
}

async function ours(direct: World): Promise<Queue> {
  const { world, proxy } = await behindProxy(direct);
  const submitter = await startMesh(direct);
  const done = new Set<string>();
  return {
    submit: async (id) => void (await submitter.submitTask({ id, type: 'work', input: { ms: 60_000 } })),
    async takeAndCrash() {
      const worker = await WorkerProcess.start(direct);
      await worker.heard(({ ran }) => ran);
      await worker.kill();
    },
    async loseConnections() {
      const worker = await startMesh(world);
      worker.registerAgent({ id: 'worker', handler: ({ task }) => void done.add(task.id) });
      proxy.cutAll();
    },
    ran: async (id, withinMs) => (await within(withinMs, () => (done.has(id) ? true : undefined))) === true,
  };
}

test('defect 53: a lock by the hour and a listener that isn’t set up again', async () => {
  await expect(scenario(await naive())).rejects.toThrow();
});

test.each(STORES)('defect 53: on %s both come within seconds', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
