import { expect, test } from 'vitest';
import { DependencyGraph } from '../../src/dependency-graph/dependency-graph.ts';

/** Defect 10: the "critical path" was the shortest path. */

export interface Graph {
  addTask(task: { readonly id: string; readonly dependencies: readonly string[] }): unknown;
  findCriticalPath(): { readonly path: readonly string[]; readonly length: number };
}

/** Throws when the critical path is not the longest chain: a → b → c → d, beside a → d. */
export function scenario(create: () => Graph): void {
  const graph = create();
  graph.addTask({ id: 'a', dependencies: [] });
  graph.addTask({ id: 'b', dependencies: ['a'] });
  graph.addTask({ id: 'c', dependencies: ['b'] });
  graph.addTask({ id: 'd', dependencies: ['a', 'c'] });
  const { path, length } = graph.findCriticalPath();
  if (path.join() !== 'a,b,c,d' || length !== 4) throw new Error(`found ${path.join()} of length ${length}`);
}

/** Searches breadth first from the roots to the leaves. */
function naiveGraph(): Graph {
  const children = new Map<string, string[]>();
  return {
    addTask({ id, dependencies }) {
      children.set(id, []);
      for (const dependency of dependencies) children.get(dependency)?.push(id);
    },
    findCriticalPath() {
      const queue: string[][] = [[[...children.keys()][0] as string]];
      for (const path of queue) {
        const next = children.get(path.at(-1) as string) as string[];
        if (next.length === 0) return { path, length: path.length };
        for (const child of next) queue.push([...path, child]);
      }
      return { path: [], length: 0 };
    },
  };
}

test('defect 10: the naive search finds the shortest way', () => {
  expect(() => scenario(naiveGraph)).toThrow('found a,d of length 2');
});

test('defect 10: DependencyGraph finds the longest chain', () => {
  expect(() => scenario(() => new DependencyGraph())).not.toThrow();
});
