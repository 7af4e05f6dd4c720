import { type Contestant, defineQuestion } from '../harness/question.ts';
import { contenders, oursLate } from '../systems/index.ts';
import type { Place, System } from '../systems/system.ts';
import { CrewMember, joined } from '../work/crew.ts';
import { drained, fill, mustBeWhole, rest } from '../work/whole.ts';

const SLOTS = 10;

/** Drained rate of so many worker processes on one full queue. */
async function rateOf(
  system: System,
  place: Place,
  workers: number,
  from: number,
  jobs: number,
): Promise<{ readonly rate: number; readonly rss: number }> {
  const open = await system.open(place);
  await fill(open, jobs, from);
  await rest(place);
  const crew = Array.from(
    { length: workers },
    () =>
      new CrewMember({
        system: system.name,
        place,
        options: {},
        slots: SLOTS,
        jobs: from + jobs,
        tells: false,
      }),
  );
  await Promise.all(crew.map((member) => member.ready()));
  await Promise.all(crew.map((member) => member.go()));
  const drainedAt = await drained(open);
  const sums = await Promise.all(crew.map((member) => member.end()));
  const { runs, twice, firstAt } = joined(sums, from + jobs);
  await mustBeWhole(open, from + jobs, { runs: from + runs, twice });
  await open.close();
  return { rate: (jobs * 1_000) / (drainedAt - firstAt), rss: Math.max(...sums.map(({ rss }) => rss)) };
}

function contestant(system: System, share = 1): Contestant {
  return {
    ...(system.note === undefined ? {} : { note: system.note }),
    async run(place, scale) {
      const jobs = scale.of((place.backend === 'redis' ? 150_000 : 60_000) * share, 3_000 * share);
      const one = await rateOf(system, place, 1, 0, jobs);
      const four = await rateOf(system, place, 4, jobs, jobs);
      return { one: one.rate, four: four.rate, 'four / one': four.rate / one.rate, RSS: one.rss };
    },
  };
}

export const workers = defineQuestion({
  name: 'workers',
  asks: 'how many jobs a second do one and four worker processes run, until drained, and how large is one?',
  settings: ['postgres', 'redis-everysec'],
  metrics: [
    { name: 'one', unit: '/s', better: 'higher' },
    { name: 'four', unit: '/s', better: 'higher' },
    { name: 'four / one', unit: '×', better: 'higher' },
    { name: 'RSS', unit: 'MiB', better: 'lower' },
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
  control: { contestant: oursLate.name, metric: 'one', by: 1.5, why: 'answers 100 ms late' },
  goals: (setting) => {
    const atLeast = setting === 'postgres' ? 0.9 : 0.65;
    return [{ text: `four ≥ ${atLeast}× one`, metric: 'four / one', value: { atLeast } }];
  },
});
