import { promise as fastq } from 'fastq';
import PQueue from 'p-queue';
import { startMesh, usEach, worker } from '../harness/mesh.ts';
import { defineQuestion, type Scale } from '../harness/question.ts';

const noop = async (): Promise<void> => undefined;

async function oneByOne(scale: Scale, one: () => Promise<unknown>): Promise<Record<string, number>> {
  const run = async (n: number): Promise<void> => {
    for (let i = 0; i < n; i++) await one();
  };
  const n = scale.of(100_000);
  for (let i = 0; i < 3; i++) await run(n);
  return { 'per task': await usEach(n, () => run(n)) };
}

export const submitOne = defineQuestion({
  name: 'submit-one',
  asks: 'how long from submitting one task to its result?',
  metrics: [{ name: 'per task', unit: 'µs' }],
  contestants: {
    agentmesh: {
      async run(scale) {
        const mesh = await startMesh();
        mesh.registerAgent(worker('a', 100));
        return oneByOne(scale, () => mesh.runTask({ type: 'noop' }));
      },
    },
    'p-queue 10': {
      run(scale) {
        const queue = new PQueue({ concurrency: 100 });
        return oneByOne(scale, () => queue.add(noop));
      },
    },
    fastq: {
      run(scale) {
        const queue = fastq(noop, 100);
        return oneByOne(scale, () => queue.push(undefined));
      },
    },
    'a native timer each': {
      run: (scale) =>
        oneByOne(
          { ...scale, of: (n) => scale.of(n / 200) },
          () => new Promise<void>((resolve) => setTimeout(() => resolve(noop()), 1)),
        ),
    },
  },
  control: {
    contestant: 'a native timer each',
    metric: 'per task',
    by: 10,
    why: 'hands over through setTimeout',
  },
  goals: [{ text: '≤ 2 µs', metric: 'per task', value: 2 }],
});
