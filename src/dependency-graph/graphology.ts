import type { GraphSnapshot } from './graph-snapshot.ts';

/** What is needed of a graphology graph. */
export interface GraphologyTarget {
  addNode(key: string, attributes?: Record<string, unknown>): unknown;
  addEdge(source: string, target: string, attributes?: Record<string, unknown>): unknown;
}

/**
 * Copies a snapshot into a graphology graph, for its algorithms and writers; edges go from a task to those that wait for it. Keys are
 * `task:` and the id, because graphology's adjacency is a plain object that ids such as `constructor` would corrupt; the attribute `id`
 * holds the id itself.
 */
export function exportGraph<G extends GraphologyTarget>(snapshot: GraphSnapshot, target: G): G {
  for (const { id, standing, priority, weight } of snapshot.tasks)
    target.addNode(graphologyKey(id), { id, standing, priority, weight });
  for (const id of snapshot.referenced) target.addNode(graphologyKey(id), { id, standing: 'referenced' });
  for (const { id, dependencies } of snapshot.tasks) {
    for (const { task, onFailure } of dependencies)
      target.addEdge(graphologyKey(task), graphologyKey(id), { onFailure });
  }
  return target;
}

/** The key of a task in an exported graph. */
export function graphologyKey(taskId: string): string {
  return `task:${taskId}`;
}
