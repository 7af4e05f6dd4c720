import { DirectedGraph } from 'graphology';
import { topologicalSort } from 'graphology-dag';
import { heapBytes } from '../harness/loops.ts';
import { defineQuestion, type Scale } from '../harness/question.ts';
import { DependencyGraph } from '../ours.ts';

/** Three earlier nodes among the last thousand. */
function parentsOf(i: number): string[] {
  if (i < 3) return [];
  const reach = Math.min(i, 1_000);
  const third = Math.floor(reach / 3);
  const parents = [0, 1, 2].map((k) => i - 1 - ((i * 31 + k * third) % reach));
  return parents.map((parent) => `task-${parent}`);
}

const timed = (work: () => void): number => {
  const from = performance.now();
  work();
  return performance.now() - from;
};

interface Steps {
  add(i: number, parents: readonly string[]): void;
  order(): number;
  /** Completes everything that is ready, again and again; the number completed. */
  completeAll(): number;
}

async function ask(scale: Scale, create: () => Steps): Promise<Record<string, number>> {
  const n = scale.of(100_000);
  const edges = Array.from({ length: n }, (_, i) => parentsOf(i));
  const warm = create();
  for (let i = 0; i < Math.min(n, 10_000); i++) warm.add(i, edges[i] as string[]);
  warm.order();
  warm.completeAll();
  const before = heapBytes();
  const graph = create();
  const add = timed(() => edges.forEach((parents, i) => graph.add(i, parents)));
  const memory = (heapBytes() - before) / 2 ** 20;
  let ordered = 0;
  const order = timed(() => (ordered = graph.order()));
  let completed = 0;
  const complete = timed(() => (completed = graph.completeAll()));
  if (ordered !== n || completed !== n) throw new Error(`ordered ${ordered}, completed ${completed} of ${n}`);
  return { add, order, 'complete all': complete, memory };
}

export const dag = defineQuestion({
  name: 'dag',
  asks: 'what does a graph of 100,000 tasks and 300,000 dependencies cost?',
  metrics: [
    { name: 'add', unit: 'ms' },
    { name: 'order', unit: 'ms' },
    { name: 'complete all', unit: 'ms' },
    { name: 'memory', unit: 'MiB' },
  ],
  contestants: {
    agentmesh: {
      note: 'checks each edge for a cycle, keeps the ready set in order of priority',
      run: (scale) =>
        ask(scale, () => {
          const graph = new DependencyGraph();
          return {
            add: (i, dependencies) => void graph.addTask({ id: `task-${i}`, dependencies }),
            order: () => graph.topologicalSort()?.length ?? 0,
            completeAll: () => {
              const queue = [...graph.getReadyTasks()];
              for (let i = 0; i < queue.length; i++) queue.push(...graph.markCompleted(queue[i] as string));
              return queue.length;
            },
          };
        }),
    },
    graphology: {
      note: 'no cycle check while adding, counters by hand',
      run: (scale) =>
        ask(scale, () => {
          const graph = new DirectedGraph<{ missing: number }>();
          return {
            add: (i, dependencies) => {
              graph.addNode(`task-${i}`, { missing: dependencies.length });
              for (const parent of dependencies) graph.addEdge(parent, `task-${i}`);
            },
            order: () => topologicalSort(graph).length,
            completeAll: () => {
              const queue = graph.filterNodes((_, { missing }) => missing === 0);
              for (let i = 0; i < queue.length; i++) {
                graph.forEachOutNeighbor(queue[i], (child, attributes) => {
                  attributes.missing -= 1;
                  if (attributes.missing === 0) queue.push(child);
                });
              }
              return queue.length;
            },
          };
        }),
    },
  },
  control: {
    contestant: 'graphology',
    metric: 'add',
    by: 2,
    why: 'an object an edge',
  },
  goals: [
    { text: 'add ≥ 5 × graphology', metric: 'add', versus: 'graphology', atMost: 1 / 5 },
    { text: 'order ≥ 5 × graphology', metric: 'order', versus: 'graphology', atMost: 1 / 5 },
    { text: 'complete ≥ 2 × graphology', metric: 'complete all', versus: 'graphology', atMost: 1 / 2 },
    { text: '≤ 30 MiB', metric: 'memory', value: 30 },
  ],
});
