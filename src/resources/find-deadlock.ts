import type { CycleEdge } from '../core/ports/locks.ts';
import type { Need, StuckEdge, StuckNode } from './reduce.ts';

/**
 * The deadlocks proper among stuck nodes: the strongly connected sets that depend on nothing outside themselves (Tarjan 1972, with an
 * explicit stack). Everybody else is a bystander who waits for one of them.
 */
export function findDeadlocks(stuck: ReadonlyMap<string, StuckNode>): readonly (readonly StuckNode[])[] {
  const found: StuckNode[][] = [];
  const index = new Map<StuckNode, number>();
  const low = new Map<StuckNode, number>();
  const open = new Set<StuckNode>();
  const stack: StuckNode[] = [];
  for (const root of stuck.values()) {
    if (index.has(root)) continue;
    const path: { readonly node: StuckNode; readonly edges: readonly StuckEdge[]; at: number }[] = [];
    const enter = (node: StuckNode): void => {
      index.set(node, index.size);
      low.set(node, index.get(node) as number);
      stack.push(node);
      open.add(node);
      path.push({ node, edges: edgesOf(node), at: 0 });
    };
    enter(root);
    while (path.length > 0) {
      const frame = path.at(-1) as (typeof path)[number];
      const edge = frame.edges[frame.at];
      if (edge !== undefined) {
        frame.at += 1;
        if (!index.has(edge.to)) enter(edge.to);
        else if (open.has(edge.to)) lower(low, frame.node, index.get(edge.to) as number);
        continue;
      }
      path.pop();
      const parent = path.at(-1);
      if (parent !== undefined) lower(low, parent.node, low.get(frame.node) as number);
      if (low.get(frame.node) !== index.get(frame.node)) continue;
      const members = stack.splice(stack.lastIndexOf(frame.node));
      for (const member of members) open.delete(member);
      const inside = new Set(members);
      if (members.every((member) => edgesOf(member).every(({ to }) => inside.has(to)))) found.push(members);
    }
  }
  return found;
}

function lower(low: Map<StuckNode, number>, node: StuckNode, value: number): void {
  if (value < (low.get(node) as number)) low.set(node, value);
}

function edgesOf(node: StuckNode): readonly StuckEdge[] {
  return node.unmet.flatMap(({ by, what, pending }) => pending.map(({ on }) => ({ to: on, by, what })));
}

/** Whether all of a deadlock's members could finish if this one did. */
export function wouldFree(members: readonly StuckNode[], victim: StuckNode): boolean {
  const wantedBy = new Map<StuckNode, { readonly need: Need; readonly frees: number }[]>();
  const missing = new Map<Need, number>();
  const unmet = new Map<StuckNode, number>();
  for (const member of members) {
    const needs = member.unmet;
    unmet.set(member, needs.length);
    for (const need of needs) {
      missing.set(need, need.remaining);
      for (const { on, frees } of need.pending) {
        const list = wantedBy.get(on);
        if (list === undefined) wantedBy.set(on, [{ need, frees }]);
        else list.push({ need, frees });
      }
    }
  }
  const finished = new Set([victim]);
  const done = [victim];
  for (let node = done.pop(); node !== undefined; node = done.pop()) {
    for (const { need, frees } of wantedBy.get(node) ?? []) {
      const before = missing.get(need) as number;
      missing.set(need, before - frees);
      if (before <= 0 || before > frees) continue;
      const left = (unmet.get(need.of) as number) - 1;
      unmet.set(need.of, left);
      if (left > 0 || finished.has(need.of)) continue;
      finished.add(need.of);
      done.push(need.of);
    }
  }
  return finished.size === members.length;
}

/** A shortest cycle through a member of a deadlock, beginning with its own wait. */
export function cycleThrough(start: StuckNode): readonly CycleEdge[] {
  const cameBy = new Map<StuckNode, { readonly from: StuckNode; readonly edge: StuckEdge }>();
  const next: StuckNode[] = [start];
  for (let i = 0; i < next.length; i++) {
    const node = next[i] as StuckNode;
    for (const edge of edgesOf(node)) {
      if (edge.to === start) return [...pathTo(node, start, cameBy), toCycleEdge(node, edge)];
      if (cameBy.has(edge.to)) continue;
      cameBy.set(edge.to, { from: node, edge });
      next.push(edge.to);
    }
  }
  return [];
}

function pathTo(
  end: StuckNode,
  start: StuckNode,
  cameBy: ReadonlyMap<StuckNode, { readonly from: StuckNode; readonly edge: StuckEdge }>,
): CycleEdge[] {
  const path: CycleEdge[] = [];
  for (let node = end; node !== start; ) {
    const { from, edge } = cameBy.get(node) as { from: StuckNode; edge: StuckEdge };
    path.push(toCycleEdge(from, edge));
    node = from;
  }
  return path.reverse();
}

function toCycleEdge(from: StuckNode, edge: StuckEdge): CycleEdge {
  return { waiter: from.id, holder: edge.to.id, by: edge.by, what: edge.what };
}
