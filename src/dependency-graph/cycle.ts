import { NONE, type GraphView } from './adjacency.ts';

/**
 * A shortest way from one node to another along the edges, both included; `undefined` when there is none. The nodes of the cycle that an
 * edge from `to` to `from` would close. Breadth first, no recursion.
 */
export function findPath(graph: GraphView, from: number, to: number): readonly number[] | undefined {
  const cameFrom = new Map<number, number>([[from, NONE]]);
  const queue = [from];
  for (let i = 0; i < queue.length && !cameFrom.has(to); i++) {
    const node = queue[i] as number;
    for (let edge = graph.firstOut(node); edge !== NONE; edge = graph.nextOut(edge)) {
      const target = graph.target(edge);
      if (cameFrom.has(target)) continue;
      cameFrom.set(target, node);
      queue.push(target);
    }
  }
  if (!cameFrom.has(to)) return undefined;
  const path: number[] = [];
  for (let node = to; node !== NONE; node = cameFrom.get(node) as number) path.push(node);
  return path.toReversed();
}
