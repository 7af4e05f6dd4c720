import { type Contestant, defineQuestion } from '../harness/question.ts';
import { bare } from '../systems/bare.ts';
import { startCpu } from '../work/cpu.ts';
import { bullmq, contenders, graphileWorker, ours, pgBoss } from '../systems/index.ts';
import { agentmesh } from '../systems/agentmesh.ts';
import { machineMs, type OpenSystem, payloadOf, type Place, type System } from '../systems/system.ts';
import { ARRAY, drained, mustBeWhole, range } from '../work/whole.ts';
import { Tally } from '../work/tally.ts';

const CLIENTS = 50;
/** Jobs before, each way: what runs for long is compiled. */
const WARM_UP = 2_000;
/** Of one rate, ms: who is slow stores fewer. */
const LONGEST_MS = 4_000;
/** Fifty clients that each wait for the one before: what is not batched. */
const serial = agentmesh({ name: 'agentmesh, each awaited', note: 'control: one call after the other' });

interface Storing {
  /** Jobs a second. */
  readonly rate: number;
  /** CPU time of a job, µs. */
  readonly clientUs: number;
  readonly serverUs: number;
  /** The number of the next job. */
  readonly next: number;
}

/** How fast so many clients store jobs, each `size` at a time, until `most` are stored or time is up. */
async function storing(
  open: OpenSystem,
  place: Place,
  from: number,
  most: number,
  clients: number,
  size = 1,
): Promise<Storing> {
  let next = from;
  const cpu = await startCpu(place);
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
  const jobs = next - from;
  const rate = (jobs * 1_000) / (machineMs() - start);
  const spent = await cpu();
  return { rate, clientUs: spent.client / jobs, serverUs: spent.server / jobs, next };
}

function contestant(system: System, clients = CLIENTS): Contestant {
  return {
    ...(system.note === undefined ? {} : { note: system.note }),
    async run(place, scale) {
      const open = await system.open(place);
      // Connections, plans and compiled code are there.
      const alone = await storing(open, place, 0, WARM_UP, 1);
      const together = await storing(open, place, alone.next, WARM_UP, clients);
      const c1 = await storing(open, place, together.next, scale.of(3_000, 200), 1);
      const c50 = await storing(open, place, c1.next, scale.of(60_000, 1_000), clients);
      const bulk = await storing(open, place, c50.next, scale.of(100_000, 2_000), 1, ARRAY);
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
      return Object.assign(
        {},
        ...Object.entries({ c1, c50, bulk }).map(([name, { rate, clientUs, serverUs }]) => ({
          [name]: rate,
          [`${name} client CPU`]: clientUs,
          [`${name} server CPU`]: serverUs,
        })),
      ) as Record<string, number>;
    },
  };
}

export const enqueue = defineQuestion({
  name: 'enqueue',
  asks: 'how many jobs a second are stored, by one client, by 50 at once, in arrays of 1,000?',
  settings: ['postgres', 'redis-everysec', 'redis-always'],
  metrics: ['c1', 'c50', 'bulk'].flatMap((name) => [
    { name, unit: '/s', better: 'higher' },
    { name: `${name} client CPU`, unit: 'µs', better: 'lower' },
    { name: `${name} server CPU`, unit: 'µs', better: 'lower' },
  ]),
  contestants: (setting) => ({
    ...Object.fromEntries(
      [...contenders(setting === 'postgres' ? 'postgres' : 'redis'), bare].map((system) => [
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
