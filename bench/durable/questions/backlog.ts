import { type Contestant, defineQuestion } from '../harness/question.ts';
import { agentmesh, openOwn } from '../systems/agentmesh.ts';
import { ours } from '../systems/index.ts';
import { slowed } from '../systems/slowed.ts';
import { machineMs, type Place, type System } from '../systems/system.ts';
import { Tally } from '../work/tally.ts';
import { prefill } from '../work/whole.ts';

const SLOTS = 100;
const CONTROL = 'agentmesh, scanning';
const CONTROL_MS = 100;

/** A store that looks at all that waits before it answers: 100 ms for all of them. */
function scanning(all: number): System {
  return agentmesh({
    name: CONTROL,
    wrap: (backend) => {
      let ms: Promise<number> | undefined;
      return slowed(backend, () => {
        ms ??= Promise.resolve(backend.tasks?.counts(['bench'])).then(
          (counts) => ((counts?.queues[0]?.states.ready ?? 0) * CONTROL_MS) / all,
        );
        return ms;
      });
    },
  });
}

/** Jobs a second while the first `count` of those that wait are run. */
async function firstOf(system: System, place: Place, jobs: number, count: number): Promise<number> {
  const open = await system.open(place);
  const tally = new Tally(jobs);
  await open.work(SLOTS, tally.see);
  await tally.until(count);
  const rate = (count * 1_000) / (machineMs() - tally.firstAt);
  await open.close();
  if (tally.twice > 0) throw new Error(`${tally.twice} of ${tally.runs} jobs ran twice`);
  return rate;
}

function contestant(systemOf: (backlog: number) => System, most: number, note?: string): Contestant {
  return {
    ...(note === undefined ? {} : { note }),
    async run(place, scale) {
      const backlog = scale.of(1_000_000);
      const count = Math.min(most, Math.round(backlog / 10));
      const system = systemOf(backlog);
      await prefill(ours, place, count);
      const empty = await firstOf(system, place, count, count);
      await prefill(ours, place, backlog);
      const full = await firstOf(system, place, backlog, count);
      await mustAddUp(place, backlog + count, count * 2);
      return { empty, backlog: full, 'backlog / empty': full / empty };
    },
  };
}

/** What ran is completed, what didn't waits, and nobody holds a thing. */
async function mustAddUp(place: Place, jobs: number, atLeastRan: number): Promise<void> {
  const open = await openOwn(place);
  const { ready = 0, completed = 0, ...others } = await open.states();
  await open.close();
  const rest = Object.values(others).reduce((sum, count) => sum + count, 0);
  if (ready + completed !== jobs || rest > 0 || completed < atLeastRan)
    throw new Error(`Of ${jobs} jobs ${completed} are completed, ${ready} wait, ${rest} are elsewhere`);
}

export const backlog = defineQuestion({
  name: 'backlog',
  asks: 'are tasks claimed as fast before a backlog of 1,000,000 as without?',
  settings: ['postgres', 'redis-everysec'],
  rounds: 3,
  metrics: [
    { name: 'empty', unit: '/s', better: 'higher' },
    { name: 'backlog', unit: '/s', better: 'higher' },
    { name: 'backlog / empty', unit: '×', better: 'higher' },
  ],
  contestants: () => ({
    [ours.name]: contestant(() => ours, 100_000),
    [CONTROL]: contestant(scanning, 20_000, `control: each answer ${CONTROL_MS} ms later for all that waits`),
  }),
  control: {
    contestant: CONTROL,
    metric: 'backlog / empty',
    by: 1.2,
    why: 'it looks at all that waits',
  },
  goals: () => [{ text: 'backlog ≥ 0.8× empty', metric: 'backlog / empty', value: { atLeast: 0.8 } }],
});
