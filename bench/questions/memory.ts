import PQueue from 'p-queue';
import { heapBytes } from '../harness/loops.ts';
import { startMesh, turn } from '../harness/mesh.ts';
import { defineQuestion, type Scale } from '../harness/question.ts';

const noop = async (): Promise<void> => undefined;

/** What is kept of a task. */
type Kept = Promise<readonly [unknown]> | readonly [unknown];

/** Bytes a task when `n` are queued and none runs. `submit` returns what is kept of each. */
async function bytesEach(n: number, submit: (i: number) => Kept): Promise<number> {
  const kept = new Array<unknown>(n);
  const before = heapBytes();
  for (let i = 0; i < n; i++) {
    // In a box of its own for a moment only: a promise that is awaited would not be kept but waited for.
    const [value] = await submit(i);
    kept[i] = value;
    if (i % 10_000 === 0) await turn();
  }
  await turn();
  const bytes = (heapBytes() - before) / n;
  if (kept.length !== n) throw new Error('nothing was kept');
  return bytes;
}

async function ours(n: number, promise: boolean): Promise<number> {
  const mesh = await startMesh();
  return bytesEach(n, async () => {
    const handle = await mesh.submitTask({ type: 'noop' });
    return [promise ? handle.result() : undefined];
  });
}

export const memory = defineQuestion({
  name: 'memory',
  asks: 'what does a queued task weigh?',
  rounds: 3,
  metrics: [
    { name: 'at 1 M', unit: 'B' },
    { name: 'at 250 k', unit: 'B' },
    { name: 'with a promise, at 500 k', unit: 'B' },
  ],
  contestants: {
    agentmesh: {
      async run(scale: Scale) {
        return {
          'at 1 M': await ours(scale.of(1_000_000), false),
          'at 250 k': await ours(scale.of(250_000), false),
          'with a promise, at 500 k': await ours(scale.of(500_000), true),
        };
      },
    },
    'p-queue 10': {
      note: 'always with a promise; no id, state, record',
      async run(scale: Scale) {
        const queue = new PQueue({ concurrency: 1, autoStart: false });
        return {
          'with a promise, at 500 k': await bytesEach(scale.of(500_000), () => [queue.add(noop)]),
        };
      },
    },
    'an object for each thing': {
      async run(scale: Scale) {
        return {
          'at 1 M': await bytesEach(scale.of(1_000_000), (i) => [
            {
              id: crypto.randomUUID(),
              createdAt: new Date(),
              controller: new AbortController(),
              listeners: new Map<string, () => void>(),
              metadata: { index: i },
            },
          ]),
        };
      },
    },
  },
  control: {
    contestant: 'an object for each thing',
    metric: 'at 1 M',
    by: 1.3,
    why: 'an AbortController, a Map and a Date for each task',
  },
  goals: [
    { text: '≤ 400 B at 1 M', metric: 'at 1 M', value: 400 },
    { text: '≤ 600 B with a promise', metric: 'with a promise, at 500 k', value: 600 },
    { text: 'linear growth (1 M ≤ 1.15 × 250 k)', metric: 'at 1 M', over: 'at 250 k', atMost: 1.15 },
  ],
});
