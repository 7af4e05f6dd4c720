import { type Contestant, defineQuestion } from '../harness/question.ts';
import { bullmq, contenders, graphileWorker, pgBoss } from '../systems/index.ts';
import { agentmesh } from '../systems/agentmesh.ts';
import { machineMs, payloadOf, type System } from '../systems/system.ts';
import { drained, fill, mustBeWhole, range } from '../work/whole.ts';
import { Tally } from '../work/tally.ts';

const CLIENTS = 50;
/** Jobs of each client before. */
const WARM_UP = 20;
/** Fifty clients that each wait for the one before: what is not batched. */
const serial = agentmesh({ name: 'agentmesh, each awaited', note: 'control: one call after the other' });

function contestant(system: System, clients = CLIENTS): Contestant {
  return {
    ...(system.note === undefined ? {} : { note: system.note }),
    async run(place, scale) {
      const open = await system.open(place);
      const [alone, many, bulk] = [scale.of(3_000, 200), scale.of(60_000, 1_000), scale.of(100_000, 2_000)];
      const rate = async (jobs: number, work: () => Promise<unknown>): Promise<number> => {
        const from = machineMs();
        await work();
        return (jobs * 1_000) / (machineMs() - from);
      };
      // Connections, plans and compiled code are there.
      await Promise.all(
        range(0, clients).map(async (i) => {
          for (const n of range(i * WARM_UP, WARM_UP)) await open.one(payloadOf(n));
        }),
      );
      let next = clients * WARM_UP;
      const c1 = await rate(alone, async () => {
        for (const n of range(next, alone)) await open.one(payloadOf(n));
        next += alone;
      });
      const end = next + many;
      const c50 = await rate(many, () =>
        Promise.all(
          range(0, clients).map(async () => {
            while (next < end) await open.one(payloadOf(next++));
          }),
        ),
      );
      const inBulk = await rate(bulk, () => fill(open, bulk, next));
      // Nothing that was stored is missing.
      const jobs = next + bulk;
      const tally = new Tally(jobs);
      await open.work(100, tally.see);
      await tally.until(jobs);
      await drained(open);
      await mustBeWhole(open, jobs, tally);
      await open.close();
      return { c1, c50, bulk: inBulk };
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
