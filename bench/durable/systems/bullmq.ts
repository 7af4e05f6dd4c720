import {
  createPostgresBackend,
  type Job,
  type JobsOptions,
  Queue,
  runMigrations,
  Worker,
  withBackend,
} from 'bullmq';
import pg from 'pg';
import type { OpenSystem, Payload, Place, System } from './system.ts';

const NAME = 'bench';

/** The parts of both kinds of queue that are used here. */
interface AnyQueue {
  add(name: string, data: Payload): Promise<{ readonly id?: string | undefined }>;
  addBulk(
    jobs: { name: string; data: Payload; opts?: JobsOptions }[],
  ): Promise<{ readonly id?: string | undefined }[]>;
  getJobCounts(
    ...types: ('completed' | 'waiting' | 'active' | 'prioritized' | 'failed')[]
  ): Promise<Record<string, number>>;
  getJob(id: string): Promise<Job<Payload> | undefined>;
  close(): Promise<void>;
}
interface AnyWorker {
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
}
type Process = (job: { readonly data: Payload }) => Promise<void>;

/** BullMQ on either server, with its defaults: completed jobs stay, as ours do. */
export const bullmq: System = {
  name: 'BullMQ',
  note: 'keeps completed jobs, as ours does; no audit trail, no fencing token; renews a lock for each job',
  open: (place) => (place.backend === 'redis' ? onRedis(place, false) : onPostgres(place)),
};

/** What most of its users set: a completed job leaves nothing behind. */
export const bullmqRemoving: System = {
  name: 'BullMQ, removing',
  note: 'removeOnComplete: no result afterwards',
  open: (place) => onRedis(place, true),
};

async function onRedis(place: Place, removing: boolean): Promise<OpenSystem> {
  const { hostname, port } = new URL(place.url);
  const connection = { host: hostname, port: Number(port) };
  const queue: AnyQueue = new Queue<Payload>(NAME, { connection });
  const options = removing ? { removeOnComplete: { count: 0 } } : {};
  return open(
    queue,
    (process, concurrency) =>
      new Worker<Payload>(NAME, process, {
        connection: { ...connection, maxRetriesPerRequest: null },
        concurrency,
        ...options,
      }),
    removing,
  );
}

async function onPostgres({ url }: Place): Promise<OpenSystem> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await runMigrations(client);
  await client.end();
  const { Queue: PgQueue, Worker: PgWorker } = withBackend(createPostgresBackend);
  const connection = { connectionString: url };
  const queue: AnyQueue = new PgQueue<Payload>(NAME, { connection });
  return open(
    queue,
    (process, concurrency) => new PgWorker<Payload>(NAME, process, { connection, concurrency }),
    false,
  );
}

function open(
  queue: AnyQueue,
  workerOf: (process: Process, concurrency: number) => AnyWorker,
  removing: boolean,
): OpenSystem {
  const workers: AnyWorker[] = [];
  return {
    one: (payload) => queue.add(NAME, payload),
    many: async (payloads) => {
      const jobs = await queue.addBulk(payloads.map((data) => ({ name: NAME, data })));
      return jobs.map(({ id }) => String(id));
    },
    async work(slots, handler) {
      const worker = workerOf(async (job) => handler(job.data), slots);
      workers.push(worker);
      await worker.waitUntilReady();
    },
    async isDrained() {
      const counts = await queue.getJobCounts('waiting', 'active', 'prioritized');
      return Object.values(counts).every((count) => count === 0);
    },
    completed: async () => (removing ? undefined : (await queue.getJobCounts('completed'))['completed']),
    result: async (id) => (await queue.getJob(id))?.returnvalue as unknown,
    async close() {
      await Promise.all(workers.map((worker) => worker.close()));
      await queue.close();
    },
  };
}
