import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from '../../harness/statistics.ts';
import { type Contestant, defineQuestion } from '../harness/question.ts';
import { bullmq, contenders, graphileWorker, oursLate, pgBoss } from '../systems/index.ts';
import { machineMs, payloadOf, type System } from '../systems/system.ts';
import { CrewMember } from '../work/crew.ts';
import { drained, mustBeWhole } from '../work/whole.ts';

const SLOTS = 10;
/** Between two jobs, ms: long enough for all to be idle again. */
const PAUSE_MS = 20;

function contestant(system: System, share = 1): Contestant {
  return {
    ...(system.note === undefined ? {} : { note: system.note }),
    async run(place, scale) {
      const jobs = scale.of(500 * share, 40);
      const options = { wakes: true };
      const open = await system.open(place, options);
      const worker = new CrewMember({ system: system.name, place, options, slots: SLOTS, jobs, tells: true });
      await worker.ready();
      await worker.go();
      await sleep(500);
      const times: number[] = [];
      for (let n = 0; n < jobs; n++) {
        const ran = new Promise<void>((resolve) => {
          worker.on('ran', (word) => {
            if (word.say === 'ran') times.push(word.ms);
            resolve();
          });
        });
        await open.one(payloadOf(n, machineMs()));
        await ran;
        await sleep(PAUSE_MS + (n % 7));
      }
      await drained(open);
      await mustBeWhole(open, jobs, await worker.end());
      await open.close();
      return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
    },
  };
}

export const idleLatency = defineQuestion({
  name: 'idle-latency',
  asks: 'how long from submitting a job in one process to its handler in another, both idle?',
  settings: ['postgres', 'redis-everysec', 'redis-always'],
  metrics: [
    { name: 'p50', unit: 'ms', better: 'lower' },
    { name: 'p99', unit: 'ms', better: 'lower' },
  ],
  contestants: (setting) => ({
    ...Object.fromEntries(
      contenders(setting === 'postgres' ? 'postgres' : 'redis').map((system) => [
        system.name,
        contestant(system),
      ]),
    ),
    [oursLate.name]: contestant(oursLate, 0.2),
  }),
  control: { contestant: oursLate.name, metric: 'p50', by: 1.5, why: 'answers 100 ms late' },
  goals: (setting) =>
    setting === 'postgres'
      ? [
          { text: 'p50 ≤ pg-boss', metric: 'p50', versus: pgBoss.name, atMost: 1 },
          { text: 'p50 ≤ 1.1× graphile-worker', metric: 'p50', versus: graphileWorker.name, atMost: 1.1 },
        ]
      : [{ text: 'p50 ≤ BullMQ', metric: 'p50', versus: bullmq.name, atMost: 1 }],
});
