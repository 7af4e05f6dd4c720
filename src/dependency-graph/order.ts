import { NONE, type GraphView } from './adjacency.ts';

/**
 * Every node after all it depends on, level by level and by index within a level (Kahn 1962). O(nodes + edges), no recursion.
 * Shorter than `nodeLimit` exactly when the graph has a cycle.
 */
export function topologicalOrder(graph: GraphView): Int32Array {
  const order = new Int32Array(graph.nodeLimit);
  const missing = new Int32Array(graph.nodeLimit);
  let filled = 0;
  for (let node = 0; node < graph.nodeLimit; node++) {
    missing[node] = graph.inDegree(node);
    if (missing[node] === 0) order[filled++] = node;
  }
  for (let i = 0; i < filled; i++) {
    for (let edge = graph.firstOut(order[i] as number); edge !== NONE; edge = graph.nextOut(edge)) {
      const target = graph.target(edge);
      missing[target] = (missing[target] as number) - 1;
      if (missing[target] === 0) order[filled++] = target;
    }
  }
  return order.subarray(0, filled);
}

/**
 * Nodes grouped by the length of the longest way to them: all of one group can run at once when the groups before it are done. Only nodes
 * that count are listed and lengthen a way.
 */
export function generationsOf(
  graph: GraphView,
  order: Int32Array,
  counts: (node: number) => boolean,
): readonly (readonly number[])[] {
  const level = new Int32Array(graph.nodeLimit);
  const generations: number[][] = [];
  for (const node of order) {
    if (!counts(node)) continue;
    const own = level[node] as number;
    (generations[own] ??= []).push(node);
    for (let edge = graph.firstOut(node); edge !== NONE; edge = graph.nextOut(edge)) {
      const target = graph.target(edge);
      if ((level[target] as number) <= own) level[target] = own + 1;
    }
  }
  return generations;
}
