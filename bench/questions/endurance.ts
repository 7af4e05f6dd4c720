import { heapBytes } from '../harness/loops.ts';
import { startMesh, turn, worker } from '../harness/mesh.ts';
import { defineQuestion, type Scale } from '../harness/question.ts';

/** Lets `n` tasks run through, at most 2,000 at a time, and compares the heap after a tenth of them with the heap at the end. */
async function through(n: number, keepMs: number): Promise<Record<string, number>> {
  const mesh = await startMesh();
  mesh.registerAgent(worker('a', 100));
  const run = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i += 2_000) {
      for (let k = 0; k < 2_000; k++) void mesh.submitTask({ type: 'noop', keepMs });
      await Promise.resolve();
      await mesh.tasks.onIdle();
      await turn();
    }
  };
  const settle = async (): Promise<number> => {
    await new Promise((resolve) => setTimeout(resolve, 1_500)); // retention of the last ones
    return heapBytes();
  };
  await run(n / 10);
  const early = await settle();
  const from = performance.now();
  await run(n - n / 10);
  const each = ((performance.now() - from) * 1_000) / (n - n / 10);
  const late = await settle();
  return { 'growth per task': Math.max(0, (late - early) / (n - n / 10)), 'per task': each };
}

export const endurance = defineQuestion({
  name: 'endurance',
  asks: 'do 10 million tasks run through without growth?',
  rounds: 1,
  metrics: [
    { name: 'growth per task', unit: 'B' },
    { name: 'per task', unit: 'µs' },
  ],
  contestants: {
    agentmesh: { note: 'results kept for 100 ms', run: (scale: Scale) => through(scale.of(10_000_000), 100) },
    'keeps everything': {
      note: 'ours, 1 M tasks, results kept for an hour',
      run: (scale: Scale) => through(scale.of(1_000_000), 3_600_000),
    },
  },
  control: { contestant: 'keeps everything', metric: 'growth per task', by: 10, why: 'retention of an hour' },
  goals: [{ text: 'growth ≤ 1 B a task', metric: 'growth per task', value: 1 }],
});
