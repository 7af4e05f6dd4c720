import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { defineQuestion } from '../harness/question.ts';
import { agentmesh } from '../systems/agentmesh.ts';
import { bullmq, ours } from '../systems/index.ts';
import type { TaskSpec } from '../../../src/index.ts';
import { payloadOf, type Place, type System } from '../systems/system.ts';
import { fill, range } from '../work/whole.ts';

const kilobyte = 'x'.repeat(1_024);
const fat = agentmesh({
  name: 'agentmesh, fat',
  note: 'control: 1 KiB of metadata each',
  fields: () => ({ metadata: { kilobyte } }),
});

/** `used_memory` of the server, B. */
async function usedBytes({ url }: Place): Promise<number> {
  const client = new Redis(url);
  const info = await client.info('memory');
  client.disconnect();
  return Number(/used_memory:(\d+)/.exec(info)?.[1]);
}

/** Bytes of each of so many tasks that wait. */
async function bytesOf(
  place: Place,
  jobs: number,
  store: (from: number, jobs: number) => Promise<unknown>,
  from: number,
): Promise<number> {
  // Scripts, sessions and first keys are there.
  await store(from, 100);
  const before = await usedBytes(place);
  await store(from + 100, jobs);
  return ((await usedBytes(place)) - before) / jobs;
}

const keyed = (n: number): Partial<TaskSpec> => ({ idempotencyKey: `order-${String(n).padStart(9, '0')}` });

async function ofOwn(place: Place, jobs: number, plain: System): Promise<Record<string, number>> {
  const measure = async (system: System, from: number): Promise<number> => {
    const open = await system.open(place);
    const bytes = await bytesOf(place, jobs, (at, count) => fill(open, count, at), from);
    await open.close();
    return bytes;
  };
  const bare = await measure(plain, 0);
  if (plain.name !== ours.name) return { plain: bare };
  const withKey = await measure(agentmesh({ name: 'keyed', fields: keyed }), 1_000_000);
  const open = await ours.open(place);
  const [parent = ''] = await open.many([payloadOf(2_000_000)]);
  await open.close();
  // One parent for all: what an edge and a waiting child take, without the parent's own bytes.
  const child = await measure(
    agentmesh({ name: 'child', fields: () => ({ dependencies: [parent] }) }),
    3_000_000,
  );
  return { plain: bare, keyed: withKey, dependent: child };
}

async function ofBullmq(place: Place, jobs: number): Promise<Record<string, number>> {
  const { hostname, port } = new URL(place.url);
  const queue = new Queue('bench', { connection: { host: hostname, port: Number(port) } });
  const addAll =
    (opts: (n: number) => object) =>
    async (from: number, count: number): Promise<void> => {
      for (let at = from; at < from + count; at += 1_000)
        await queue.addBulk(
          range(at, Math.min(1_000, from + count - at)).map((n) => ({
            name: 'bench',
            data: payloadOf(n),
            opts: opts(n),
          })),
        );
    };
  const plain = await bytesOf(
    place,
    jobs,
    addAll(() => ({})),
    0,
  );
  const withKey = await bytesOf(
    place,
    jobs,
    addAll((n) => ({ deduplication: { id: `order-${String(n).padStart(9, '0')}` } })),
    1_000_000,
  );
  await queue.close();
  return { plain, keyed: withKey };
}

export const bytes = defineQuestion({
  name: 'bytes',
  asks: 'how much of Redis’ memory does a waiting task take?',
  settings: ['redis-everysec'],
  rounds: 3,
  metrics: [
    { name: 'plain', unit: 'B', better: 'lower' },
    { name: 'keyed', unit: 'B', better: 'lower' },
    { name: 'dependent', unit: 'B', better: 'lower' },
  ],
  contestants: () => ({
    [ours.name]: { run: (place, scale) => ofOwn(place, scale.of(100_000, 10_000), ours) },
    [bullmq.name]: {
      note: 'keyed: deduplication id; its parents wait for children, which is not measured',
      run: (place, scale) => ofBullmq(place, scale.of(100_000, 10_000)),
    },
    [fat.name]: {
      note: fat.note ?? '',
      run: (place, scale) => ofOwn(place, scale.of(100_000, 10_000), fat),
    },
  }),
  control: { contestant: fat.name, metric: 'plain', by: 1.5, why: 'it carries 1 KiB more' },
  goals: () => [
    { text: 'plain ≤ 300 B', metric: 'plain', value: { atMost: 300 } },
    { text: 'keyed ≤ 450 B', metric: 'keyed', value: { atMost: 450 } },
    { text: 'with a dependency ≤ 700 B', metric: 'dependent', value: { atMost: 700 } },
  ],
});
