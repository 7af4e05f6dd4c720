import pg from 'pg';
import { type Contestant, defineQuestion } from '../harness/question.ts';
import { agentmesh } from '../systems/agentmesh.ts';
import { graphileWorker, ours, pgBoss } from '../systems/index.ts';
import { slowed } from '../systems/slowed.ts';
import type { Place, System } from '../systems/system.ts';
import { emptied, PARTS, prefill } from '../work/whole.ts';

const SLOTS = 100;

const CONTROL = 'agentmesh, tiring';
const CONTROL_MS = 200;
const BATCH = 500;

/** A store that gets slower with each call: by 200 ms until all is done. */
function tiring(jobs: number): System {
  return agentmesh({
    name: CONTROL,
    wrap: (backend) => {
      let calls = 0;
      return slowed(backend, () => (calls++ * CONTROL_MS * BATCH) / (2 * jobs));
    },
  });
}

/** A transaction that looked once and never ends: what was deleted since stays in the tables. */
async function whileLooking<R>({ url }: Place, work: () => Promise<R>): Promise<R> {
  const reader = new pg.Client({ connectionString: url });
  await reader.connect();
  await reader.query('begin isolation level repeatable read');
  await reader.query('select count(*) from pg_class');
  try {
    return await work();
  } finally {
    await reader.query('rollback');
    await reader.end();
  }
}

function contestant(systemOf: (jobs: number) => System, note: string | undefined, share = 1): Contestant {
  return {
    ...(note === undefined ? {} : { note }),
    async run(place, scale) {
      const jobs = scale.of(400_000 * share, 8_000 * share);
      const system = systemOf(jobs);
      await prefill(share === 1 ? system : ours, place, jobs);
      return whileLooking(place, async () => {
        const { tally, drained } = await emptied(system, place, jobs, SLOTS);
        // Tenths; the first is warm-up.
        const [warmAt = 0, , , earlyEnd = 0] = tally.marks;
        const [lateStart = 0, , , lastEnd = 0] = tally.marks.slice(-4);
        const part = ((3 * jobs) / PARTS) * 1_000;
        const first = part / (earlyEnd - warmAt);
        const last = part / (lastEnd - lateStart);
        return { drained, first, last, 'last / first': last / first };
      });
    },
  };
}

export const oldSnapshot = defineQuestion({
  name: 'old-snapshot',
  asks: 'does a transaction that stays open make the queue slower and slower?',
  settings: ['postgres'],
  rounds: 3,
  metrics: [
    { name: 'drained', unit: '/s', better: 'higher' },
    { name: 'first', unit: '/s', better: 'higher' },
    { name: 'last', unit: '/s', better: 'higher' },
    { name: 'last / first', unit: '×', better: 'higher' },
  ],
  contestants: () => ({
    ...Object.fromEntries(
      [ours, graphileWorker, pgBoss].map((system) => [system.name, contestant(() => system, system.note)]),
    ),
    [CONTROL]: contestant(tiring, 'control: each answer later than the one before', 0.25),
  }),
  control: {
    contestant: CONTROL,
    metric: 'last / first',
    by: 1.2,
    why: 'each answer comes later than the one before',
  },
  goals: () => [
    { text: 'the last third ≥ 0.85× the first', metric: 'last / first', value: { atLeast: 0.85 } },
  ],
});
