import { type Contestant, defineQuestion } from '../harness/question.ts';
import { agentmesh, type OwnVariant } from '../systems/agentmesh.ts';
import { ours, oursLate } from '../systems/index.ts';
import { machineMs, type System } from '../systems/system.ts';
import { Tally } from '../work/tally.ts';
import { drained, fill, mustBeWhole, rest } from '../work/whole.ts';

const SLOTS = 100;

/** Each differs from ours as it comes in one thing. */
const VARIANTS: readonly OwnVariant[] = [
  { name: 'with a key', fields: (n) => ({ idempotencyKey: `order-${n}` }) },
  { name: 'with an id', fields: (n) => ({ id: `order-${n}` }) },
  { name: 'with 32 priorities', fields: (n) => ({ priority: n % 32 }) },
  {
    name: 'with capabilities',
    fields: (n) => ({ capabilities: n % 2 === 0 ? ['git'] : ['git', 'typescript'] }),
    capabilities: ['git', 'typescript'],
  },
  {
    name: 'with a dependency',
    note: 'each tenth is the parent of the nine behind it',
    // Ids that are given also cost what 'with an id' does.
    fields: (n) =>
      n % 10 === 0 ? { id: `part-${n}` } : { id: `part-${n}`, dependencies: [`part-${n - (n % 10)}`] },
  },
  { name: 'with groups', fields: (n) => ({ group: `tenant-${n % 100}` }) },
  { name: 'with a deadline', fields: () => ({ deadline: new Date(Date.now() + 3_600_000) }) },
  { name: 'with metadata', fields: (n) => ({ metadata: { trace: `00-${n}-01` } }) },
  { name: 'without results', note: 'keepMs 0', options: { scheduling: { keepMs: 0 } } },
  { name: 'without metrics', options: { metrics: false } },
  { name: 'without stealing', options: { workStealing: false } },
  { name: 'without a lease thread', options: { session: { thread: 'main' } } },
];

function contestant(system: System, share = 1): Contestant {
  return {
    ...(system.note === undefined ? {} : { note: system.note }),
    async run(place, scale) {
      const jobs = scale.of(100_000 * share, 3_000 * share);
      const open = await system.open(place);
      const from = machineMs();
      await fill(open, jobs);
      const filled = machineMs();
      await rest(place);
      const tally = new Tally(jobs);
      await open.work(SLOTS, tally.see);
      await tally.until(jobs);
      const end = await drained(open);
      // Those that aren't kept are no longer counted as completed.
      const forgets = system.name === 'without results';
      await mustBeWhole(forgets ? { ...open, completed: async () => undefined } : open, jobs, tally);
      await open.close();
      return {
        enqueue: ((filled - from) * 1_000) / jobs,
        process: ((end - tally.firstAt) * 1_000) / jobs,
      };
    },
  };
}

export const features = defineQuestion({
  name: 'features',
  asks: 'what does each feature cost a task?',
  settings: ['postgres', 'redis-everysec'],
  metrics: [
    { name: 'enqueue', unit: 'µs', better: 'lower' },
    { name: 'process', unit: 'µs', better: 'lower' },
  ],
  contestants: () => ({
    [ours.name]: contestant(ours),
    ...Object.fromEntries(VARIANTS.map((variant) => [variant.name, contestant(agentmesh(variant))])),
    [oursLate.name]: contestant(oursLate, 0.1),
  }),
  control: { contestant: oursLate.name, metric: 'process', by: 1.5, why: 'answers 100 ms late' },
  goals: () => [],
});
