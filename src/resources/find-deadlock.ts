import type { CycleEdge } from '../core/ports/locks.ts';
import type { StuckEdge, StuckNode } from './reduce.ts';

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

/** A need that waits for a member: what that one would free, and whether it inherits that one's need for `what` if its wait is ended. */
interface Wanted {
  readonly need: number;
  readonly frees: number;
  readonly inherits: boolean;
}

/**
 * Tries out victims of one deadlock. Numbers its members and needs once, so that a trial costs one pass over plain arrays: with hundreds of
 * members many may have to be tried.
 */
export class VictimTrial {
  readonly #index: ReadonlyMap<StuckNode, number>;
  /** For each need: whose it is, for what, and how much is missing. */
  readonly #needs: { readonly owner: number; readonly what: string }[] = [];
  readonly #missing: number[] = [];
  /** For each member: how many needs it has, and which needs wait for it. */
  readonly #unmet: number[];
  readonly #wantedBy: Wanted[][];

  constructor(members: readonly StuckNode[]) {
    this.#index = new Map(members.map((member, i) => [member, i]));
    this.#unmet = members.map(({ unmet }) => unmet.length);
    this.#wantedBy = members.map(() => []);
    members.forEach((member, owner) => {
      for (const { what, remaining, pending } of member.unmet) {
        const need = this.#missing.push(remaining) - 1;
        this.#needs.push({ owner, what });
        for (const { on, frees, inherits } of pending) {
          this.#wantedBy[this.#index.get(on) as number]?.push({ need, frees, inherits });
        }
      }
    });
  }

  /** Whether all members could finish if this one's wait were ended. */
  frees(victim: StuckNode): boolean {
    const missing = this.#missing.slice();
    const unmet = this.#unmet.slice();
    const first = this.#index.get(victim) as number;
    /** By need of the victim: what is freed only once that is met. */
    const inherited = new Map<number, Wanted[]>();
    const done: number[] = [first];
    let finished = 0;
    const free = ({ need, frees }: Wanted): void => {
      const before = missing[need] as number;
      missing[need] = before - frees;
      if (before <= 0 || before > frees) return;
      for (const next of inherited.get(need) ?? []) free(next);
      const { owner } = this.#needs[need] as { readonly owner: number };
      if (owner === first) return;
      unmet[owner] = (unmet[owner] as number) - 1;
      if (unmet[owner] === 0) done.push(owner);
    };
    for (let node = done.pop(); node !== undefined; node = done.pop()) {
      finished += 1;
      for (const wanted of this.#wantedBy[node] as Wanted[]) {
        const heir = node === first && wanted.inherits ? this.#needOf(first, wanted.need) : -1;
        if (heir < 0) free(wanted);
        else inherited.set(heir, [...(inherited.get(heir) ?? []), wanted]);
      }
    }
    return finished === unmet.length;
  }

  /** The need of a member for the same thing as another need; −1 when that is met. */
  #needOf(member: number, like: number): number {
    const { what } = this.#needs[like] as { readonly what: string };
    return this.#needs.findIndex(
      (need, i) => need.owner === member && need.what === what && (this.#missing[i] as number) > 0,
    );
  }
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
