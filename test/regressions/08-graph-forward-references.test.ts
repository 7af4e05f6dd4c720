import { expect, test } from 'vitest';
import { DependencyGraph } from '../../src/dependency-graph/dependency-graph.ts';

/** Defect 8, graph half: a task with an unmet dependency was refused instead of waiting; forward references threw. */

export interface Graph {
  addTask(task: { readonly id: string; readonly dependencies: readonly string[] }): unknown;
  getReadyTasks(): readonly string[];
  markCompleted(id: string): readonly string[];
}

/** Throws when a task can't be added before what it depends on, or doesn't wait for it. */
export function scenario(create: () => Graph): void {
  const graph = create();
  graph.addTask({ id: 'deploy', dependencies: ['test'] });
  graph.addTask({ id: 'test', dependencies: ['build'] });
  graph.addTask({ id: 'build', dependencies: [] });
  const steps = [
    graph.getReadyTasks(),
    graph.markCompleted('build'),
    graph.markCompleted('test'),
    graph.getReadyTasks(),
  ];
  const found = JSON.stringify(steps);
  if (found !== '[["build"],["test"],["deploy"],["deploy"]]') throw new Error(`wrong steps: ${found}`);
}

/** Looks its dependencies up when a task is added. */
function naiveGraph(): Graph {
  const left = new Map<string, Set<string>>();
  const ready = (): string[] => [...left].filter(([, deps]) => deps.size === 0).map(([id]) => id);
  return {
    addTask({ id, dependencies }) {
      for (const dependency of dependencies)
        if (!left.has(dependency)) throw new Error(`dependency ${dependency} of ${id} not found`);
      left.set(id, new Set(dependencies));
    },
    getReadyTasks: ready,
    markCompleted(id) {
      left.delete(id);
      const before = ready();
      for (const deps of left.values()) deps.delete(id);
      return ready().filter((other) => !before.includes(other));
    },
  };
}

test('defect 8: the naive graph refuses a forward reference', () => {
  expect(() => scenario(naiveGraph)).toThrow('dependency test of deploy not found');
});

test('defect 8: DependencyGraph lets the task wait', () => {
  expect(() => scenario(() => new DependencyGraph())).not.toThrow();
});
