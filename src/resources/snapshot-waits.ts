import { CONFLICTS, conflict, COVERS, modeIndex } from '../core/lock-modes.ts';
import type { CycleEdge, LockMode, WaitRef, WaitSnapshot } from '../core/ports/locks.ts';
import type { NodeFacts, Requirement } from '../core/waits.ts';

type Row = WaitSnapshot['resources'][number];
type Queued = Row['queue'][number];

/** Reads a snapshot of a lock store as a wait-for graph. The same rules as a store's own: a waiter waits for every incompatible holder and every incompatible earlier waiter. */
export class SnapshotWaits {
  readonly #requirements = new Map<string, Requirement[]>();
  readonly #waits = new Map<string, Map<string, { ref: WaitRef; resources: string[] }>>();
  readonly #facts = new Map<string, NodeFacts>();
  readonly #locks = new Map<string, Set<string>>();

  /** @param published the edges of other processes that may be believed */
  constructor(snapshot: WaitSnapshot, published: readonly CycleEdge[] = snapshot.published) {
    for (const row of snapshot.resources) this.#read(row);
    for (const { waiter, holder, by, what } of published) {
      this.#add(waiter, { by, what, blockers: [{ node: holder, frees: 1 }], needs: 1 });
    }
    for (const { id, agent, priority, since, defeats } of snapshot.owners) {
      const locks = this.#locks.get(id)?.size ?? 0;
      this.#facts.set(id, { agent, priority, since, defeats, locks });
    }
  }

  isWaiting(node: string): boolean {
    return this.#requirements.has(node);
  }

  requirements(node: string): readonly Requirement[] {
    return this.#requirements.get(node) ?? [];
  }

  waiting(): Iterable<string> {
    return this.#requirements.keys();
  }

  facts(node: string): NodeFacts | undefined {
    return this.#facts.get(node);
  }

  waits(node: string): readonly { readonly ref: WaitRef; readonly resources: readonly string[] }[] {
    return [...(this.#waits.get(node)?.values() ?? [])];
  }

  #read(row: Row): void {
    for (const { owner, grant } of row.held) {
      const grants = this.#locks.get(owner);
      if (grants === undefined) this.#locks.set(owner, new Set([grant.id]));
      else grants.add(grant.id);
    }
    row.queue.forEach((queued, at) => {
      const ahead = row.queue.slice(0, at);
      const need =
        typeof queued.mode === 'object'
          ? unitsNeed(row, queued, queued.mode.units, ahead)
          : modeNeed(row, queued, queued.mode, ahead);
      if (need === undefined) return;
      this.#add(queued.owner, need);
      this.#remember(queued, row.resource);
    });
  }

  #remember({ owner, wait }: Queued, resource: string): void {
    let waits = this.#waits.get(owner);
    if (waits === undefined) {
      waits = new Map();
      this.#waits.set(owner, waits);
    }
    const known = waits.get(wait.id);
    if (known === undefined) waits.set(wait.id, { ref: wait, resources: [resource] });
    else known.resources.push(resource);
  }

  #add(node: string, requirement: Requirement): void {
    const known = this.#requirements.get(node);
    if (known === undefined) this.#requirements.set(node, [requirement]);
    else known.push(requirement);
  }
}

/** `undefined`: nothing is in its way here. */
function modeNeed(
  row: Row,
  { owner }: Queued,
  mode: LockMode,
  ahead: readonly Queued[],
): Requirement | undefined {
  const wanted = 1 << modeIndex(mode);
  const covered = row.held.some(
    (held) => held.owner === owner && ((COVERS[modeIndex(held.mode)] as number) & wanted) !== 0,
  );
  if (covered) return undefined;
  const inTheWay = [...row.held, ...ahead].filter(
    (other) => other.owner !== owner && conflict(mode, other.mode),
  );
  const clashesWithOwn = ahead.some(
    (other) =>
      other.owner === owner && ((CONFLICTS[modeIndex(mode)] as number) & (1 << modeIndex(other.mode))) !== 0,
  );
  if (inTheWay.length === 0 && !clashesWithOwn) return undefined;
  const blockers = inTheWay.map((other) => ({ node: other.owner, frees: 1 }));
  return { by: 'lock', what: row.resource, blockers, needs: blockers.length };
}

function unitsNeed(
  row: Row,
  { owner }: Queued,
  units: number,
  ahead: readonly Queued[],
): Requirement | undefined {
  const others = [...row.held, ...ahead].map((other) => ({ node: other.owner, frees: unitsOf(other.mode) }));
  const taken = others.reduce((sum, other) => sum + other.frees, 0);
  const needs = taken + units - (row.capacity ?? 0);
  if (needs <= 0) return undefined;
  const blockers = others.filter((other) => other.node !== owner);
  return { by: 'semaphore', what: row.resource, blockers, needs };
}

function unitsOf(mode: LockMode): number {
  return typeof mode === 'object' ? mode.units : 0;
}
