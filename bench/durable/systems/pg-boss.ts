import pg from 'pg';
import { PgBoss } from 'pg-boss';
import type { OpenOptions, OpenSystem, Payload, Place, System } from './system.ts';

const NAME = 'bench';
const BATCH = 500;

/** pg-boss in batches: a worker takes up to 500 jobs at once and completes them at once. */
export const pgBoss: System = {
  name: 'pg-boss',
  note: 'batchSize 500, burstWhenBatchFull; a batch ends as a whole; notify only where latency is asked',
  open,
};

async function open({ url }: Place, { wakes = false }: OpenOptions = {}): Promise<OpenSystem> {
  const boss = new PgBoss({ connectionString: url, useListenNotify: wakes });
  boss.on('error', (error) => {
    throw error;
  });
  await boss.start();
  if ((await boss.getQueue(NAME)) === null) await boss.createQueue(NAME, { notify: wakes });
  const observer = new pg.Client({ connectionString: url });
  await observer.connect();
  const ask = async (text: string): Promise<number> =>
    Number((await observer.query<{ n: string }>(text)).rows[0]?.n ?? 0);
  return {
    one: (payload) => boss.send(NAME, payload),
    // Without ids to return an insert is cheaper; with them it answers as ours does.
    many: async (payloads) =>
      (await boss.insert(
        NAME,
        payloads.map((data) => ({ data })),
        { returnId: true },
      )) ?? [],
    async work(slots, handler) {
      // A batch runs as the handler likes: what counts as slots are the batches under way.
      const options = {
        batchSize: wakes ? 1 : BATCH,
        localConcurrency: Math.min(slots, 4),
        burstWhenBatchFull: true,
        pollingIntervalSeconds: 0.5,
        notifyPollingIntervalSeconds: 0.5,
      };
      await boss.work<Payload>(NAME, options, async (jobs) => {
        for (const { data } of jobs) handler(data);
      });
    },
    isDrained: async () =>
      (await ask(
        `select count(*) as n from (select 1 from pgboss.job where name = '${NAME}' and state < 'completed' limit 1) as one`,
      )) === 0,
    completed: () =>
      ask(`select count(*) as n from pgboss.job where name = '${NAME}' and state = 'completed'`),
    result: async (id) => (await boss.findJobs(NAME, { id }))[0]?.state,
    async close() {
      await boss.stop({ graceful: true, timeout: 5_000 });
      await observer.end();
    },
  };
}
