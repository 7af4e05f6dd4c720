import { expect, test } from 'vitest';
import { DependencyGraph } from '../../src/dependency-graph/dependency-graph.ts';

/** Defect 11: a 10,000-long chain overflowed the stack. Here 100,000. */

export interface Graph {
  addTask(task: { readonly id: string; readonly dependencies: readonly string[] }): unknown;
  getAllDependents(id: string): readonly string[];
  topologicalSort(): readonly string[] | null;
  findCriticalPath(): { readonly length: number };
  markFailed(id: string): readonly string[];
}

const DEPTH = 100_000;

/** Throws when a chain of 100,000 tasks can't be sorted, measured, listed or cancelled. */
export function scenario(create: () => Graph): void {
  const graph = create();
  for (let i = 0; i < DEPTH; i++) graph.addTask({ id: `t${i}`, dependencies: i === 0 ? [] : [`t${i - 1}`] });
  const counts = [
    graph.topologicalSort()?.length,
    graph.findCriticalPath().length,
    graph.getAllDependents('t0').length + 1,
    graph.markFailed('t0').length + 1,
  ];
  if (counts.some((count) => count !== DEPTH)) throw new Error(`lost some: ${counts.join()}`);
}

/** Recurses into the dependents. */
function naiveGraph(): Graph {
  const children = new Map<string, string[]>();
  const collect = (id: string): string[] =>
    (children.get(id) ?? []).flatMap((child) => [child, ...collect(child)]);
  return {
    addTask({ id, dependencies }) {
      children.set(id, []);
      for (const dependency of dependencies) children.get(dependency)?.push(id);
    },
    getAllDependents: collect,
    topologicalSort: () => ['t0', ...collect('t0')],
    findCriticalPath: () => ({ length: collect('t0').length + 1 }),
    markFailed: collect,
  };
}

test('defect 11: the recursive graph overflows the stack', () => {
  expect(() => scenario(naiveGraph)).toThrow(RangeError);
});

test('defect 11: DependencyGraph does not recurse', () => {
  expect(() => scenario(() => new DependencyGraph())).not.toThrow();
});
