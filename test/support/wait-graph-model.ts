import type { CycleEdge } from '../../src/core/ports/locks.ts';
import type { Requirement } from '../../src/core/waits.ts';
import { canFinish } from './locks/brute-force.ts';

/** Who waits for what: by the words of the semantics, recomputed from scratch for each answer, and nothing of the library's own code. */

export interface ModelFacts {
  readonly priority: number;
  readonly since: number;
  readonly locks: number;
  /** As a source reports them. */
  readonly defeats: number;
}

type Waits = ReadonlyMap<string, readonly Requirement[]>;

export class WaitGraphModel {
  /** By the kind of wait, then by node. */
  readonly kinds: readonly {
    readonly endable: boolean;
    readonly waits: Map<string, readonly Requirement[]>;
  }[];
  readonly #facts: ReadonlyMap<string, ModelFacts>;
  readonly #rows = new Map<string, { count: number; fresh: boolean }>();
  #open: { readonly victim: string; readonly others: Set<string> }[] = [];
  /** Victims of deadlocks whose others have all gone on, in order. */
  readonly resolved: string[] = [];

  constructor(endable: readonly boolean[], facts: ReadonlyMap<string, ModelFacts>) {
    this.kinds = endable.map((one) => ({ endable: one, waits: new Map() }));
    this.#facts = facts;
  }

  get waits(): Waits {
    const all = new Map<string, readonly Requirement[]>();
    for (const { waits } of this.kinds)
      for (const [node, needs] of waits) all.set(node, [...(all.get(node) ?? []), ...needs]);
    return all;
  }

  isWaiting(node: string): boolean {
    return this.kinds.some(({ waits }) => waits.has(node));
  }

  stuck(waits: Waits = this.waits): ReadonlySet<string> {
    const able = canFinish(waits);
    return new Set([...waits.keys()].filter((node) => !able.has(node)));
  }

  /** The nodes that a stuck node waits for and that can't go on themselves. */
  behind(node: string, waits: Waits, stuck: ReadonlySet<string>): ReadonlySet<string> {
    const found = new Set<string>();
    for (const need of waits.get(node) ?? [])
      if (!isMet(need, stuck))
        for (const blocker of need.blockers) if (stuck.has(blocker.node)) found.add(blocker.node);
    return found;
  }

  /**
   * Whose waits a look from these nodes ends, in rounds: of each round's victims the order isn't said. Does the same here.
   * @param end ends the waits of a victim that may be ended
   */
  predict(roots: Iterable<string>, newcomer: string | undefined): readonly (readonly string[])[] {
    const kinds = this.kinds.map(({ endable, waits }) => ({ endable, waits: new Map(waits) }));
    const rows = new Map([...this.#rows].map(([node, row]) => [node, { ...row }]));
    const rounds: string[][] = [];
    const nodes = [...roots];
    for (;;) {
      const waits = joined(kinds);
      const victims = this.#deadlocks(nodes, waits).flatMap((members) => {
        const victim = this.#victimOf(members, waits, newcomer, kinds, rows);
        return victim === undefined ? [] : [victim];
      });
      if (victims.length === 0) return rounds;
      rounds.push(victims);
      for (const victim of victims) {
        for (const { endable, waits: own } of kinds) if (endable) own.delete(victim);
        rows.set(victim, { count: (rows.get(victim)?.count ?? 0) + 1, fresh: true });
      }
    }
  }

  /** A deadlock was reported: what the graph says of it must be so at this moment. */
  begin(victim: string, cycle: readonly CycleEdge[]): void {
    const count = (this.#rows.get(victim)?.count ?? 0) + 1;
    this.#rows.set(victim, { count, fresh: true });
    const others = new Set(cycle.map(({ waiter }) => waiter));
    others.delete(victim);
    this.#open.push({ victim, others });
    this.#settle();
  }

  /** Its wait of one kind is over. */
  end(kind: number, node: string): void {
    this.kinds[kind]?.waits.delete(node);
  }

  /** It waits for nothing any more. */
  left(node: string): void {
    for (const { others } of this.#open) others.delete(node);
    this.#settle();
  }

  /** Whether somebody waits for it. */
  isAwaited(node: string): boolean {
    return this.kinds.some(({ waits }) =>
      [...waits.values()].flat().some(({ blockers }) => blockers.some((blocker) => blocker.node === node)),
    );
  }

  /** It holds and wants nothing: what it was a victim for is behind it, unless that is why. */
  finished(node: string): void {
    const row = this.#rows.get(node);
    if (row?.fresh === true) row.fresh = false;
    else this.#rows.delete(node);
  }

  defeats(node: string): number {
    return this.#rows.get(node)?.count ?? 0;
  }

  #settle(): void {
    for (const { victim, others } of this.#open) if (others.size === 0) this.resolved.push(victim);
    this.#open = this.#open.filter(({ others }) => others.size > 0);
  }

  /** Sets of stuck nodes, seen from the roots, each of which leads to all of its set and to nobody else. */
  #deadlocks(roots: readonly string[], waits: Waits): readonly (readonly string[])[] {
    const stuck = this.stuck(waits);
    const reach = (from: string): ReadonlySet<string> => {
      const found = new Set<string>();
      const next = [from];
      for (let node = next.pop(); node !== undefined; node = next.pop())
        for (const to of this.behind(node, waits, stuck)) {
          if (found.has(to)) continue;
          found.add(to);
          next.push(to);
        }
      return found;
    };
    const seen = new Set(roots.filter((node) => stuck.has(node)).flatMap((node) => [node, ...reach(node)]));
    const sets = new Map<string, readonly string[]>();
    for (const node of seen) {
      const members = reach(node);
      if (!members.has(node)) continue;
      if (![...members].every((member) => reach(member).has(node))) continue;
      const sorted = [...members].toSorted();
      sets.set(sorted.join(), sorted);
    }
    return [...sets.values()];
  }

  #victimOf(
    members: readonly string[],
    waits: Waits,
    newcomer: string | undefined,
    kinds: WaitGraphModel['kinds'],
    rows: ReadonlyMap<string, { readonly count: number }>,
  ): string | undefined {
    const facts = (node: string): ModelFacts => {
      const known = this.#facts.get(node) as ModelFacts;
      return { ...known, defeats: Math.max(known.defeats, rows.get(node)?.count ?? 0) };
    };
    const candidates = members
      .filter((node) => kinds.some(({ endable, waits: own }) => endable && own.has(node)))
      .toSorted((a, b) => inOrder(facts(a), facts(b)) || (a < b ? -1 : 1));
    const isEnough = (node: string): boolean => {
      const rest = new Map(waits);
      rest.delete(node);
      const able = canFinish(rest);
      return members.every((member) => member === node || able.has(member));
    };
    const mayLose = candidates.filter((node) => facts(node).defeats < 4);
    for (const choice of mayLose.length > 0 ? [mayLose] : [candidates]) {
      const victim = choice.find(isEnough) ?? choice.find((node) => node === newcomer) ?? choice[0];
      if (victim !== undefined) return victim;
    }
    return undefined;
  }
}

function joined(kinds: WaitGraphModel['kinds']): Waits {
  const all = new Map<string, readonly Requirement[]>();
  for (const { waits } of kinds)
    for (const [node, needs] of waits) all.set(node, [...(all.get(node) ?? []), ...needs]);
  return all;
}

function isMet({ blockers, needs }: Requirement, stuck: ReadonlySet<string>): boolean {
  const possible = blockers.reduce((sum, { frees }) => sum + frees, 0);
  const freed = blockers.reduce((sum, { node, frees }) => sum + (stuck.has(node) ? 0 : frees), 0);
  return freed >= Math.min(needs, possible);
}

/** Lowest priority, then fewest defeats, then youngest, then fewest locks; from four defeats on only those count. */
function inOrder(a: ModelFacts, b: ModelFacts): number {
  const spared = (one: ModelFacts): number => (one.defeats < 4 ? 0 : one.defeats);
  return (
    spared(a) - spared(b) ||
    a.priority - b.priority ||
    a.defeats - b.defeats ||
    b.since - a.since ||
    a.locks - b.locks
  );
}
