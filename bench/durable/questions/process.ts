import {
  type Contestant,
  defineQuestion,
  type DurableQuestion,
  type Goal,
  type Setting,
} from '../harness/question.ts';
import {
  bullmq,
  bullmqRemoving,
  contenders,
  graphileWorker,
  oursLate,
  oursUnbatched,
  pgBoss,
} from '../systems/index.ts';
import type { System } from '../systems/system.ts';
import { processAll } from '../work/whole.ts';

type Slots = 1 | 10 | 100;

/** Jobs of one run. */
const JOBS: Readonly<Record<'postgres' | 'redis', Readonly<Record<Slots, number>>>> = {
  postgres: { 1: 100_000, 10: 150_000, 100: 150_000 },
  redis: { 1: 60_000, 10: 200_000, 100: 200_000 },
};

function contestant(system: System, slots: Slots, share = 1): Contestant {
  return {
    ...(system.note === undefined ? {} : { note: system.note }),
    async run(place, scale) {
      const jobs = scale.of(JOBS[place.backend][slots] * share, 2_000 * share);
      const { undrained, drained, clientUs, serverUs } = await processAll(system, place, jobs, slots);
      return { undrained, drained, 'client CPU': clientUs, 'server CPU': serverUs };
    },
  };
}

/** No goal names BullMQ on PostgreSQL, which would take minutes. */
function shareOf(system: System, backend: 'postgres' | 'redis'): number {
  return system === bullmq && backend === 'postgres' ? 0.1 : 1;
}

function goalsOf(setting: Setting, slots: Slots): readonly Goal[] {
  if (setting !== 'postgres') {
    const atLeast = { 1: 20, 10: 8, 100: 6 }[slots];
    return [bullmq, bullmqRemoving].map(({ name: versus }) => ({
      text: `drained ≥ ${atLeast}× ${versus}`,
      metric: 'drained',
      versus,
      atLeast,
    }));
  }
  if (slots === 1) return [];
  return [
    {
      text: 'drained ≥ 2× graphile-worker',
      metric: 'drained',
      versus: graphileWorker.name,
      atLeast: 2,
      floor: 1.5,
    },
    { text: 'drained ≥ 3× pg-boss', metric: 'drained', versus: pgBoss.name, atLeast: 3, floor: 1.5 },
    { text: 'undrained ≥ 2× pg-boss', metric: 'undrained', versus: pgBoss.name, atLeast: 2, floor: 1.5 },
  ];
}

function processWith(slots: Slots): DurableQuestion {
  // With one slot the batches come from claiming ahead, which late answers don't take away.
  const control = slots === 1 ? oursUnbatched : oursLate;
  return defineQuestion({
    name: `process-c${slots}`,
    asks: `how many no-op jobs a second does one worker process run, ${slots} at a time?`,
    settings: ['postgres', 'redis-everysec', 'redis-always'],
    metrics: [
      { name: 'undrained', unit: '/s', better: 'higher' },
      { name: 'drained', unit: '/s', better: 'higher' },
      { name: 'client CPU', unit: 'µs', better: 'lower' },
      { name: 'server CPU', unit: 'µs', better: 'lower' },
    ],
    contestants: (setting) => {
      const backend = setting === 'postgres' ? 'postgres' : 'redis';
      const all = [...contenders(backend), ...(backend === 'redis' ? [bullmqRemoving] : [])];
      return {
        ...Object.fromEntries(
          all.map((system) => [system.name, contestant(system, slots, shareOf(system, backend))]),
        ),
        // A tenth of the jobs: it is slow on purpose.
        [control.name]: contestant(control, slots, 0.1),
      };
    },
    control: {
      contestant: control.name,
      metric: 'drained',
      by: 1.5,
      why: slots === 1 ? 'a trip for each task' : 'answers 100 ms late',
    },
    goals: (setting) => goalsOf(setting, slots),
  });
}

export const processC1 = processWith(1);
export const processC10 = processWith(10);
export const processC100 = processWith(100);
