import { expect, test } from 'vitest';
import { DependencyGraph } from '../../src/dependency-graph/dependency-graph.ts';

/** Defect 9, graph half: dependents were cancelled at the parent's first failed attempt although a retry was due. */

export interface Graph {
  addTask(task: { readonly id: string; readonly dependencies: readonly string[] }): unknown;
  markCompleted(id: string): readonly string[];
  /** Ids to cancel. `final`: no retry is due. */
  markFailed(id: string, options: { readonly final: boolean }): readonly string[];
}

/** Throws when an attempt that is not the last cancels a dependent, or when the last one doesn't. */
export function scenario(create: () => Graph): void {
  const graph = create();
  graph.addTask({ id: 'flaky', dependencies: [] });
  graph.addTask({ id: 'child', dependencies: ['flaky'] });
  if (graph.markFailed('flaky', { final: false }).length > 0)
    throw new Error('cancelled although a retry was due');
  if (graph.markCompleted('flaky').join() !== 'child')
    throw new Error('the retry succeeded, the child is not ready');

  graph.addTask({ id: 'broken', dependencies: [] });
  graph.addTask({ id: 'orphan', dependencies: ['broken'] });
  graph.markFailed('broken', { final: false });
  if (graph.markFailed('broken', { final: true }).join() !== 'orphan')
    throw new Error('the last attempt failed, the dependent was not cancelled');
}

/** Knows one kind of failure. */
function naiveGraph(): Graph {
  const children = new Map<string, Set<string>>();
  return {
    addTask({ id, dependencies }) {
      for (const dependency of dependencies) children.get(dependency)?.add(id);
      children.set(id, new Set());
    },
    markCompleted: (id) => [...(children.get(id) ?? [])],
    markFailed(id) {
      const cancelled = [...(children.get(id) ?? [])];
      children.get(id)?.clear();
      return cancelled;
    },
  };
}

test('defect 9: the naive graph cancels at the first failure', () => {
  expect(() => scenario(naiveGraph)).toThrow('cancelled although a retry was due');
});

test('defect 9: DependencyGraph waits for the last attempt', () => {
  expect(() => scenario(() => new DependencyGraph())).not.toThrow();
});
