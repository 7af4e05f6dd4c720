import type { LockMode, WaitSnapshot } from '../../../src/core/ports/locks.ts';
import type { Requirement } from '../../../src/core/waits.ts';

/** Reads a snapshot as a wait-for graph, by the words of the semantics and nothing of the library's own code. */

const FORBIDDEN: Readonly<Record<string, string>> = {
  'intent-shared': 'exclusive',
  'intent-exclusive': 'shared update exclusive',
  shared: 'intent-exclusive exclusive',
  update: 'intent-exclusive update exclusive',
  exclusive: 'intent-shared intent-exclusive shared update exclusive',
};
const INCLUDES: Readonly<Record<string, string>> = {
  'intent-shared': 'intent-shared',
  'intent-exclusive': 'intent-shared intent-exclusive',
  shared: 'intent-shared shared',
  update: 'intent-shared shared update',
  exclusive: 'intent-shared intent-exclusive shared update exclusive',
};

/** Whether two modes exclude each other; units never do by themselves. */
export function excludes(a: LockMode, b: LockMode): boolean {
  if (typeof a === 'object' || typeof b === 'object') return false;
  return (FORBIDDEN[a] as string).split(' ').includes(b);
}

export function includes(held: LockMode, wanted: LockMode): boolean {
  if (typeof held === 'object' || typeof wanted === 'object') return false;
  return (INCLUDES[held] as string).split(' ').includes(wanted);
}

/** Waiter → every incompatible holder and every incompatible earlier waiter; units by amount. */
export function graphOf(snapshot: WaitSnapshot): Map<string, Requirement[]> {
  const graph = new Map<string, Requirement[]>();
  for (const { resource, capacity = 0, held, queue } of snapshot.resources) {
    queue.forEach((waiter, i) => {
      const others = [...held, ...queue.slice(0, i)];
      const need =
        typeof waiter.mode === 'object'
          ? counted(resource, waiter.owner, waiter.mode.units, capacity, others)
          : all(resource, waiter.owner, waiter.mode, held, others);
      if (need === undefined) return;
      const known = graph.get(waiter.owner);
      if (known === undefined) graph.set(waiter.owner, [need]);
      else known.push(need);
    });
  }
  return graph;
}

interface Party {
  readonly owner: string;
  readonly mode: LockMode;
}

function all(
  what: string,
  owner: string,
  mode: LockMode,
  held: readonly Party[],
  others: readonly Party[],
): Requirement | undefined {
  if (held.some((party) => party.owner === owner && includes(party.mode, mode))) return undefined;
  const blockers = others
    .filter((party) => party.owner !== owner && excludes(mode, party.mode))
    .map((party) => ({ node: party.owner, frees: 1 }));
  return blockers.length === 0 ? undefined : { by: 'lock', what, blockers, needs: blockers.length };
}

function counted(
  what: string,
  owner: string,
  units: number,
  capacity: number,
  others: readonly Party[],
): Requirement | undefined {
  const amount = ({ mode }: Party): number => (typeof mode === 'object' ? mode.units : 0);
  const taken = others.reduce((sum, party) => sum + amount(party), 0);
  const needs = taken + units - capacity;
  if (needs <= 0) return undefined;
  const blockers = others
    .filter((party) => party.owner !== owner)
    .map((party) => ({ node: party.owner, frees: amount(party) }));
  return { by: 'semaphore', what, blockers, needs };
}

/** The ids of waits that could be granted as things stand, in one pass over each queue. */
export function grantable(snapshot: WaitSnapshot): Set<string> {
  const blocked = new Set<string>();
  const all = new Set<string>();
  for (const { capacity = 0, held, queue } of snapshot.resources) {
    queue.forEach((waiter, i) => {
      all.add(waiter.wait.id);
      const ahead = queue.slice(0, i);
      if (typeof waiter.mode === 'object') {
        const taken = [...held, ...ahead, waiter].reduce(
          (sum, { mode }) => sum + (typeof mode === 'object' ? mode.units : 0),
          0,
        );
        if (taken > capacity) blocked.add(waiter.wait.id);
        return;
      }
      if (held.some(({ owner, mode }) => owner === waiter.owner && includes(mode, waiter.mode))) return;
      const inTheWay =
        held.some(({ owner, mode }) => owner !== waiter.owner && excludes(waiter.mode, mode)) ||
        ahead.some(({ mode }) => excludes(waiter.mode, mode));
      if (inTheWay) blocked.add(waiter.wait.id);
    });
  }
  for (const id of blocked) all.delete(id);
  return all;
}
