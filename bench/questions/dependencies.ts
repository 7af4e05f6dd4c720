import { DirectedGraph } from 'graphology';
import CircuitBreaker from 'opossum';
import PQueue from 'p-queue';
import { startMesh, usEach, worker } from '../harness/mesh.ts';
import { defineQuestion } from '../harness/question.ts';

const SLOTS = 100;

/** Three earlier tasks among the last hundred, always the same ones. */
function parentsOf(i: number): string[] {
  if (i < 3) return [];
  const reach = Math.min(i, 100);
  const third = Math.floor(reach / 3);
  const parents = [0, 1, 2].map((k) => i - 1 - ((i * 31 + k * third) % reach));
  return parents.map(String);
}

async function composition(n: number, naive: boolean): Promise<void> {
  const graph = new DirectedGraph();
  const queue = new PQueue({ concurrency: SLOTS });
  const breaker = new CircuitBreaker(async (id: string): Promise<void> => void id, { timeout: 60_000 });
  const missing = new Map<string, number>();
  const done = new Set<string>();
  for (let i = 0; i < n; i++) {
    const parents = parentsOf(i);
    graph.addNode(String(i));
    for (const parent of parents) graph.addEdge(parent, String(i));
    missing.set(String(i), parents.length);
  }
  let left = n;
  await new Promise<void>((resolve) => {
    const start = (id: string): void => {
      void queue.add(async () => {
        await breaker.fire(id);
        done.add(id);
        graph.forEachOutNeighbor(id, (child) => {
          if (naive) {
            if (graph.inNeighbors(child).every((parent) => done.has(parent))) start(child);
            return;
          }
          const count = (missing.get(child) as number) - 1;
          missing.set(child, count);
          if (count === 0) start(child);
        });
        left -= 1;
        if (left === 0) resolve();
      });
    };
    for (const [id, count] of missing) if (count === 0) start(id);
  });
  breaker.shutdown();
}

export const dependencies = defineQuestion({
  name: 'dependencies',
  asks: 'what does a task with three dependencies cost? (100,000 tasks)',
  metrics: [{ name: 'per task', unit: 'µs' }],
  contestants: {
    agentmesh: {
      async run(scale) {
        const mesh = await startMesh();
        mesh.registerAgent(worker('a', SLOTS));
        const run = async (n: number, prefix: string): Promise<void> => {
          for (let i = 0; i < n; i++) {
            void mesh.submitTask({
              id: prefix + i,
              type: 'noop',
              timeoutMs: 60_000,
              dependencies: parentsOf(i).map((parent) => prefix + parent),
            });
          }
          await Promise.resolve();
          await mesh.tasks.onIdle();
        };
        for (const prefix of ['u', 'v', 'w']) await run(scale.of(50_000), prefix);
        const n = scale.of(100_000);
        const value = await usEach(n, () => run(n, 't'));
        const last = await mesh.getTask(`t${n - 1}`);
        if (last?.status !== 'completed') throw new Error(`the last task is ${last?.status}`);
        return { 'per task': value };
      },
    },
    composition: {
      note: 'graphology, p-queue, opossum (breaker, time limit), counters by hand; no failure policy, states, ids checked',
      async run(scale) {
        for (let i = 0; i < 3; i++) await composition(scale.of(50_000), false);
        const n = scale.of(100_000);
        return { 'per task': await usEach(n, () => composition(n, false)) };
      },
    },
    'naive composition': {
      note: 'looks at all parents of a child each time',
      async run(scale) {
        for (let i = 0; i < 3; i++) await composition(scale.of(50_000), true);
        const n = scale.of(100_000);
        return { 'per task': await usEach(n, () => composition(n, true)) };
      },
    },
  },
  control: {
    contestant: 'naive composition',
    metric: 'per task',
    by: 2,
    why: 'asks every parent again at each completion',
  },
  goals: [
    { text: '≥ 5 × ahead of the composition', metric: 'per task', versus: 'composition', atMost: 1 / 5 },
    { text: '≥ 6 × ahead of the naive one', metric: 'per task', versus: 'naive composition', atMost: 1 / 6 },
  ],
});
