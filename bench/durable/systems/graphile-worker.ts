import { Logger, makeWorkerUtils, type Runner, run } from 'graphile-worker';
import pg from 'pg';
import type { OpenSystem, Payload, Place, System } from './system.ts';

const NAME = 'bench';
const silent = new Logger(() => () => undefined);

/** graphile-worker with the batching of https://worker.graphile.org/docs/performance. */
export const graphileWorker: System = {
  name: 'graphile-worker',
  note: 'localQueue 500, completeJobBatchDelay 0; completed jobs leave nothing behind: no result, no audit',
  open,
};

async function open({ url }: Place): Promise<OpenSystem> {
  const utils = await makeWorkerUtils({ connectionString: url, logger: silent });
  await utils.migrate();
  const observer = new pg.Client({ connectionString: url });
  await observer.connect();
  const runners: Runner[] = [];
  return {
    one: (payload) => utils.addJob(NAME, payload),
    async many(payloads) {
      const jobs = await utils.addJobs(payloads.map((payload) => ({ identifier: NAME, payload })));
      return jobs.map(({ id }) => id);
    },
    async work(slots, handler) {
      const runner = await run({
        preset: {
          worker: {
            connectionString: url,
            logger: silent,
            concurrentJobs: slots,
            maxPoolSize: 10,
            localQueue: { size: 500 },
            completeJobBatchDelay: 0,
            failJobBatchDelay: 0,
          },
        },
        noHandleSignals: true,
        taskList: { [NAME]: (payload: unknown) => handler(payload as Payload) },
      });
      runners.push(runner);
    },
    async isDrained() {
      const { rows } = await observer.query('select 1 from graphile_worker._private_jobs limit 1');
      return rows.length === 0;
    },
    completed: async () => undefined,
    async close() {
      await Promise.all(runners.map((runner) => runner.stop()));
      await utils.release();
      await observer.end();
    },
  };
}
