import { type Contestant, defineQuestion } from '../harness/question.ts';
import { contenders, graphileWorker, oursLate } from '../systems/index.ts';
import { machineMs, type System } from '../systems/system.ts';
import { Tally } from '../work/tally.ts';
import { drained, fill, mustBeWhole, range } from '../work/whole.ts';

const CLIENTS = 50;

function contestant(system: System, share = 1): Contestant {
  return {
    ...(system.note === undefined ? {} : { note: system.note }),
    async run(place, scale) {
      const jobs = scale.of(20_000 * share, 1_000 * share);
      const open = await system.open(place);
      const ids = await fill(open, jobs);
      const tally = new Tally(jobs);
      await open.work(100, tally.see);
      await tally.until(jobs);
      await drained(open);
      await mustBeWhole(open, jobs, tally);
      await open.close();
      // Somebody who knows nothing but the ids.
      const asker = await system.open(place);
      const lookUp = async (n: number): Promise<void> => {
        const id = ids[(n * 7_919) % jobs] ?? '';
        if ((await asker.result?.(id)) === undefined) throw new Error(`no result of ${id}`);
      };
      const rate = async (count: number, work: () => Promise<unknown>): Promise<number> => {
        const from = machineMs();
        await work();
        return (count * 1_000) / (machineMs() - from);
      };
      const alone = scale.of(3_000 * share, 200 * share);
      const c1 = await rate(alone, async () => {
        for (const n of range(0, alone)) await lookUp(n);
      });
      let next = 0;
      const c50 = await rate(jobs, () =>
        Promise.all(
          range(0, CLIENTS).map(async () => {
            while (next < jobs) await lookUp(next++);
          }),
        ),
      );
      await asker.close();
      return { c1, c50 };
    },
  };
}

export const lookup = defineQuestion({
  name: 'lookup',
  asks: 'how many results of ended jobs a second are found by id, by one client and by 50 at once?',
  settings: ['postgres', 'redis-everysec'],
  metrics: [
    { name: 'c1', unit: '/s', better: 'higher' },
    { name: 'c50', unit: '/s', better: 'higher' },
  ],
  contestants: (setting) =>
    Object.fromEntries(
      [...contenders(setting === 'postgres' ? 'postgres' : 'redis'), oursLate]
        // It keeps none.
        .filter(({ name }) => name !== graphileWorker.name)
        .map((system) => [system.name, contestant(system, system === oursLate ? 0.05 : 1)]),
    ),
  control: { contestant: oursLate.name, metric: 'c1', by: 1.5, why: 'answers 100 ms late' },
  goals: () => [],
});
