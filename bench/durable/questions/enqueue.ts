import { type Contestant, defineQuestion } from '../harness/question.ts';
import { bullmq, contenders, graphileWorker, ours, pgBoss } from '../systems/index.ts';
import { agentmesh } from '../systems/agentmesh.ts';
import { machineMs, type OpenSystem, payloadOf, type System } from '../systems/system.ts';
import { ARRAY, drained, mustBeWhole, range } from '../work/whole.ts';
import { Tally } from '../work/tally.ts';

const CLIENTS = 50;
/** Jobs of each client before. */
const WARM_UP = 20;
/** Of one rate, ms: who is slow stores fewer. */
const LONGEST_MS = 4_000;
/** Fifty clients that each wait for the one before: what is not batched. */
const serial = agentmesh({ name: 'agentmesh, each awaited', note: 'control: one call after the other' });

interface Storing {
  /** Jobs a second. */
  readonly rate: number;
  /** The number of the next job. */
  readonly next: number;
}

/** How fast so many clients store jobs, each `size` at a time, until `most` are stored or time is up. */
async function storing(
  open: OpenSystem,
  from: number,
  most: number,
  clients: number,
  size = 1,
): Promise<Storing> {
  let next = from;
  const start = machineMs();
  const client = async (): Promise<void> => {
    while (next < from + most && machineMs() < start + LONGEST_MS) {
      const n = next;
      next += size;
      if (size === 1) await open.one(payloadOf(n));
      else await open.many(range(n, size).map((each) => payloadOf(each)));
    }
  };
  await Promise.all(range(0, clients).map(client));
  return { rate: ((next - from) * 1_000) / (machineMs() - start), next };
}

function contestant(system: System, clients = CLIENTS): Contestant {
  return {
    ...(system.note === undefined ? {} : { note: system.note }),
    async run(place, scale) {
      const open = await system.open(place);
      // Connections, plans and compiled code are there.
      const warm = await storing(open, 0, clients * WARM_UP, clients);
      const c1 = await storing(open, warm.next, scale.of(3_000, 200), 1);
      const c50 = await storing(open, c1.next, scale.of(60_000, 1_000), clients);
      const bulk = await storing(open, c50.next, scale.of(100_000, 2_000), 1, ARRAY);
      // Nothing that was stored is missing; that of others is not ours to prove.
      if (system === ours) {
        const jobs = bulk.next;
        const tally = new Tally(jobs);
        await open.work(100, tally.see);
        await tally.until(jobs);
        await drained(open);
        await mustBeWhole(open, jobs, tally);
      }
      await open.close();
      return { c1: c1.rate, c50: c50.rate, bulk: bulk.rate };
    },
  };
}

export const enqueue = defineQuestion({
  name: 'enqueue',
  asks: 'how many jobs a second are stored, by one client, by 50 at once, in arrays of 1,000?',
  settings: ['postgres', 'redis-everysec', 'redis-always'],
  metrics: [
    { name: 'c1', unit: '/s', better: 'higher' },
    { name: 'c50', unit: '/s', better: 'higher' },
    { name: 'bulk', unit: '/s', better: 'higher' },
  ],
  contestants: (setting) => ({
    ...Object.fromEntries(
      contenders(setting === 'postgres' ? 'postgres' : 'redis').map((system) => [
        system.name,
        contestant(system),
      ]),
    ),
    [serial.name]: contestant(serial, 1),
  }),
  control: { contestant: serial.name, metric: 'c50', by: 1.5, why: 'one call after the other' },
  goals: (setting) =>
    setting === 'postgres'
      ? [graphileWorker, pgBoss].flatMap(({ name: versus }) => [
          { text: `c50 ≥ 20× ${versus}`, metric: 'c50', versus, atLeast: 20 },
          { text: `bulk ≥ 1× ${versus}`, metric: 'bulk', versus, atLeast: 1 },
          { text: `c1 ≥ 1.5× ${versus}`, metric: 'c1', versus, atLeast: 1.5 },
        ])
      : [
          { text: 'c50 ≥ 2× BullMQ', metric: 'c50', versus: bullmq.name, atLeast: 2 },
          { text: 'bulk ≥ 4× BullMQ', metric: 'bulk', versus: bullmq.name, atLeast: 4 },
          { text: 'c1 ≥ 0.8× BullMQ', metric: 'c1', versus: bullmq.name, atLeast: 0.8 },
        ],
});
