import type { Requirement } from '../core/waits.ts';

/** Who waits, and for what, at one moment. */
export interface WaitView {
  isWaiting(node: string): boolean;
  requirements(node: string): readonly Requirement[];
}

/** A wait between two nodes that can't go on. */
export interface StuckEdge {
  readonly to: StuckNode;
  readonly by: Requirement['by'];
  readonly what: string;
}

/** A node that can't finish whatever the others do. */
export interface StuckNode {
  readonly id: string;
  readonly unmet: readonly Need[];
}

/** A requirement that is not met, with what its pending blockers would free. */
export interface Need {
  readonly of: StuckNode;
  readonly by: Requirement['by'];
  readonly what: string;
  /** What must still be freed. */
  readonly remaining: number;
  readonly pending: readonly {
    readonly on: StuckNode;
    readonly frees: number;
    /** See `Blocker.inherits`. */
    readonly inherits: boolean;
  }[];
}

class Node implements StuckNode {
  readonly id: string;
  finished = false;
  queued = false;
  expanded = false;
  isRoot = false;
  unmetCount = 0;
  needs: PendingNeed[] | undefined;
  readonly wantedBy: { readonly need: PendingNeed; readonly frees: number }[] = [];

  constructor(id: string) {
    this.id = id;
  }

  get unmet(): readonly Need[] {
    return (this.needs ?? []).filter((need) => need.remaining > 0);
  }
}

class PendingNeed implements Need {
  readonly of: Node;
  readonly by: Requirement['by'];
  readonly what: string;
  remaining = 0;
  readonly all: { readonly on: Node; readonly frees: number; readonly inherits: boolean }[] = [];

  constructor(of: Node, by: Requirement['by'], what: string) {
    this.of = of;
    this.by = by;
    this.what = what;
  }

  get pending(): readonly { readonly on: Node; readonly frees: number; readonly inherits: boolean }[] {
    return this.all.filter(({ on }) => !on.finished);
  }
}

/**
 * Reduces the wait-for graph around `roots` as far as it goes: a node that waits for nothing can finish, and one whose requirements are
 * met by nodes that can finish, can finish too. What is left is stuck for good. So it is exact for AND, OR and counted requirements, where
 * a cycle alone proves nothing (Holt 1972, "Some deadlock properties of computer systems"; Chandy, Misra & Haas 1983 for the AND/OR model).
 *
 * Looks only at what the roots depend on, each wait once, and stops when all roots can finish.
 * @returns the stuck nodes that the roots depend on, the roots among them; empty when all roots can finish.
 */
export function findStuck(roots: Iterable<string>, view: WaitView): ReadonlyMap<string, StuckNode> {
  const search = new Search(view);
  for (const root of roots) search.root(root);
  search.run();
  return search.stuck();
}

class Search {
  readonly #view: WaitView;
  readonly #nodes = new Map<string, Node>();
  readonly #stack: Node[] = [];
  readonly #roots: Node[] = [];
  #openRoots = 0;

  constructor(view: WaitView) {
    this.#view = view;
  }

  root(id: string): void {
    const node = this.#node(id);
    if (node.finished || node.queued) return;
    node.queued = true;
    node.isRoot = true;
    this.#stack.push(node);
    this.#roots.push(node);
    this.#openRoots += 1;
  }

  run(): void {
    for (let node = this.#stack.pop(); node !== undefined; node = this.#stack.pop()) {
      node.queued = false;
      if (node.finished || node.expanded) continue;
      // Those who wanted it were helped by others meanwhile; whoever wants it later puts it here again.
      if (!node.isRoot && node.wantedBy.every(({ need }) => need.remaining <= 0)) continue;
      this.#expand(node);
      if (this.#openRoots === 0) return;
    }
  }

  stuck(): ReadonlyMap<string, StuckNode> {
    const found = new Map<string, StuckNode>();
    const next: Node[] = this.#roots.filter((node) => !node.finished);
    for (let node = next.pop(); node !== undefined; node = next.pop()) {
      if (found.has(node.id)) continue;
      found.set(node.id, node);
      for (const need of node.needs ?? []) {
        if (need.remaining > 0) for (const { on } of need.pending) next.push(on);
      }
    }
    return found;
  }

  #node(id: string): Node {
    let node = this.#nodes.get(id);
    if (node === undefined) {
      node = new Node(id);
      node.finished = !this.#view.isWaiting(id);
      this.#nodes.set(id, node);
    }
    return node;
  }

  #expand(node: Node): void {
    node.expanded = true;
    node.needs = [];
    for (const requirement of this.#view.requirements(node.id)) {
      const need = this.#needOf(node, requirement);
      if (need === undefined) continue;
      node.needs.push(need);
      node.unmetCount += 1;
      for (const { on, frees } of need.all) {
        on.wantedBy.push({ need, frees });
        if (on.expanded || on.queued) continue;
        on.queued = true;
        this.#stack.push(on);
      }
    }
    if (node.unmetCount === 0) this.#finish(node);
  }

  /** What is missing after all that can finish already; `undefined` when that is enough. */
  #needOf(node: Node, requirement: Requirement): PendingNeed | undefined {
    let missing = requirement.needs;
    let possible = 0;
    const need = new PendingNeed(node, requirement.by, requirement.what);
    for (const { node: id, frees, inherits = false } of requirement.blockers) {
      if (missing <= 0) return undefined;
      const on = this.#node(id);
      if (on.finished) missing -= frees;
      else {
        possible += frees;
        need.all.push({ on, frees, inherits });
      }
    }
    need.remaining = Math.min(missing, possible);
    return need.remaining > 0 ? need : undefined;
  }

  #finish(first: Node): void {
    const done = [first];
    for (let node = done.pop(); node !== undefined; node = done.pop()) {
      if (node.finished) continue;
      node.finished = true;
      if (node.isRoot) this.#openRoots -= 1;
      for (const { need, frees } of node.wantedBy) {
        if (need.remaining <= 0) continue;
        need.remaining -= frees;
        if (need.remaining > 0) continue;
        need.of.unmetCount -= 1;
        if (need.of.unmetCount === 0) done.push(need.of);
      }
    }
  }
}
