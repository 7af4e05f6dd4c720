import type { Requirement } from '../../../src/core/waits.ts';

/**
 * A deadlock by definition, tried out: whether a node can finish in any order in which nodes may finish. Finishing only ever helps the
 * others, but nothing here relies on that: all sets of finished nodes that can be reached are visited.
 */
export function canFinish(graph: ReadonlyMap<string, readonly Requirement[]>): ReadonlySet<string> {
  const nodes = [
    ...new Set([
      ...graph.keys(),
      ...[...graph.values()].flat().flatMap(({ blockers }) => blockers.map(({ node }) => node)),
    ]),
  ];
  const able = new Set<string>();
  const seen = new Set<number>([0]);
  const next = [0];
  for (let finished = next.pop(); finished !== undefined; finished = next.pop()) {
    for (const [i, node] of nodes.entries()) {
      const bit = 1 << i;
      if ((finished & bit) !== 0 || !mayFinish(graph.get(node) ?? [], finished, nodes)) continue;
      able.add(node);
      const more = finished | bit;
      if (seen.has(more)) continue;
      seen.add(more);
      next.push(more);
    }
  }
  return able;
}

function mayFinish(
  requirements: readonly Requirement[],
  finished: number,
  nodes: readonly string[],
): boolean {
  return requirements.every(({ blockers, needs }) => {
    const possible = blockers.reduce((sum, { frees }) => sum + frees, 0);
    let freed = 0;
    for (const { node, frees } of blockers) if ((finished & (1 << nodes.indexOf(node))) !== 0) freed += frees;
    return freed >= Math.min(needs, possible);
  });
}
