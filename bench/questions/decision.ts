import { startMesh, usEach, worker } from '../harness/mesh.ts';
import { defineQuestion, type Scale } from '../harness/question.ts';
import { type CoordinationOptions, defineStrategy } from '../ours.ts';

const AGENTS = { '10 agents': 10, '100 agents': 100, '1,000 agents': 1_000 } as const;

/** 1,000 slots in all, so that only the number of agents differs. */
async function ask(scale: Scale, options: CoordinationOptions): Promise<Record<string, number>> {
  const values: Record<string, number> = {};
  for (const [name, agents] of Object.entries(AGENTS)) {
    const mesh = await startMesh({ ...options, workStealing: false });
    for (let i = 0; i < agents; i++)
      mesh.registerAgent(worker(`agent-${i}`, 1_000 / agents, { capabilities: ['edit', `c${i % 7}`] }));
    const run = (n: number): Promise<unknown> =>
      Promise.all(
        Array.from({ length: n }, async () =>
          (await mesh.submitTask({ type: 'noop', capabilities: ['edit'] })).result(),
        ),
      );
    await run(scale.of(10_000));
    const n = scale.of(50_000);
    values[name] = await usEach(n, () => run(n));
    await mesh.shutdown();
  }
  return values;
}

const looksAtAll = defineStrategy({
  name: 'looks-at-all',
  select: (_, candidates) => candidates.reduce((best, next) => (next.load < best.load ? next : best)).id,
});

export const decision = defineQuestion({
  name: 'decision',
  asks: 'what does a task cost, placement included, with more and more agents?',
  metrics: Object.keys(AGENTS).map((name) => ({ name, unit: 'µs' }) as const),
  contestants: {
    agentmesh: { run: (scale) => ask(scale, {}) },
    'looks at all': {
      note: 'ours with a strategy that compares all candidates',
      run: (scale) => ask(scale, { scheduling: { strategy: looksAtAll } }),
    },
  },
  control: {
    contestant: 'looks at all',
    metric: '1,000 agents',
    by: 1.5,
    why: 'a linear scan at each task',
  },
  goals: [
    {
      text: 'per task at 1,000 agents ≤ 1.3 × that at 10',
      metric: '1,000 agents',
      over: '10 agents',
      atMost: 1.3,
    },
  ],
});
