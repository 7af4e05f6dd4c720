import { NONE, type GraphView } from './adjacency.ts';

/**
 * The heaviest way through the graph, from its first node to its last, and its weight: no schedule ends sooner, however many agents there
 * are (Kelley & Walker 1959). Nodes that don't count are passed over. Among equals the first in `order`. O(nodes + edges).
 */
export function criticalPath(
  graph: GraphView,
  order: Int32Array,
  weightOf: (node: number) => number,
  counts: (node: number) => boolean,
): { readonly path: readonly number[]; readonly length: number } {
  const length = new Float64Array(graph.nodeLimit);
  const before = new Int32Array(graph.nodeLimit).fill(NONE);
  let last = NONE;
  for (const node of order) {
    if (!counts(node)) continue;
    let longest = 0;
    for (let edge = graph.firstIn(node); edge !== NONE; edge = graph.nextIn(edge)) {
      const parent = graph.source(edge);
      if (!counts(parent)) continue;
      const soFar = length[parent] as number;
      if (soFar > longest || before[node] === NONE) {
        longest = Math.max(soFar, longest);
        before[node] = parent;
      }
    }
    length[node] = longest + weightOf(node);
    if (last === NONE || length[node] > (length[last] as number)) last = node;
  }
  const path: number[] = [];
  for (let node = last; node !== NONE; node = before[node] as number) path.push(node);
  return { path: path.toReversed(), length: last === NONE ? 0 : (length[last] as number) };
}
