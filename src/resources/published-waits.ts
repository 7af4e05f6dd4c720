import type { CycleEdge, WaitSnapshot } from '../core/ports/locks.ts';
import type { WaitSource } from '../core/waits.ts';

/** What another process published must have stood for so long before a deadlock is claimed on it, ms. */
const CONFIRM_MS = 250;

/**
 * The waits of this process that are not in the lock store, as edges for the other processes. Only those that are certain: a node needs each
 * of its published edges, so of a wait for any one of several nothing is published.
 */
export function edgesToPublish(sources: Iterable<WaitSource>): readonly CycleEdge[] {
  const edges = new Map<string, CycleEdge>();
  for (const source of sources) {
    for (const waiter of source.waiting()) {
      for (const { by, what, blockers, needs } of source.requirements(waiter)) {
        if (needs < blockers.length) continue;
        for (const { node } of blockers) {
          const edge = { waiter, holder: node, by, what };
          edges.set(keyOf(edge), edge);
        }
      }
    }
  }
  return [...edges.values()];
}

/**
 * Tells which published edges may be believed. A process withdraws an edge when its wait ends, which takes a moment to arrive: so those of
 * others count once they have stood for a while. Its own are left out, for it knows its waits as they are now.
 */
export class PublishedWaits {
  /** When each was seen first, mono ms. */
  #seen: ReadonlyMap<string, number> = new Map();
  #own: readonly CycleEdge[] = [];

  /** What this process has published. */
  get own(): readonly CycleEdge[] {
    return this.#own;
  }
  set own(edges: readonly CycleEdge[]) {
    this.#own = edges;
  }

  /** Whether publishing these would change anything. */
  differs(edges: readonly CycleEdge[]): boolean {
    return edges.map(keyOf).join('\n') !== this.#own.map(keyOf).join('\n');
  }

  /** @returns the edges to believe, and whether there are others that may be believed soon */
  believed(
    published: WaitSnapshot['published'],
    now: number,
  ): { readonly edges: readonly CycleEdge[]; readonly doubtful: boolean } {
    const own = new Set(this.#own.map(keyOf));
    const seen = new Map<string, number>();
    const edges: CycleEdge[] = [];
    for (const edge of published) {
      const key = keyOf(edge);
      if (own.has(key)) continue;
      const since = this.#seen.get(key) ?? now;
      seen.set(key, since);
      if (now - since >= CONFIRM_MS) edges.push(edge);
    }
    this.#seen = seen;
    return { edges, doubtful: edges.length < seen.size };
  }
}

function keyOf({ waiter, holder, by, what }: CycleEdge): string {
  return JSON.stringify([waiter, holder, by, what]);
}
