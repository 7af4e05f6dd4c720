import type { Random } from '../../../src/core/ports/runtime.ts';
import type { ResourceRequest } from '../../../src/index.ts';

/** Somebody of a case: a unit of work in a process of its own, holding first and then waiting. */
export interface Member {
  readonly owner: string;
  readonly process: number;
  readonly holds: ResourceRequest[];
  /** Absent: it only holds, and lets go at its time. */
  wants?: ResourceRequest | { readonly upgrade: string };
}

/** Who holds and wants what. Exactly one cycle if it is a deadlock, else none that can't be left. */
export interface Case {
  readonly name: string;
  readonly isDeadlock: boolean;
  readonly members: readonly Member[];
  /** In which order the members begin to wait; the last one closes the cycle. */
  readonly order: readonly number[];
}

const EDGES = ['exclusive', 'reader-waits', 'writer-waits', 'all-units', 'more-units', 'upgrade'] as const;
type Edge = (typeof EDGES)[number];

/** A ring of 2 to 10 processes, each waiting for the next; or the same with a way out. */
export function randomCase(number: number, isDeadlock: boolean, processes: number, random: Random): Case {
  const below = (limit: number): number => Math.floor(random.next() * limit);
  const count = 2 + below(Math.min(10, processes) - 1);
  const spare = shuffled(
    Array.from({ length: processes }, (_, i) => i),
    random,
  );
  const members: Member[] = Array.from({ length: count }, (_, i) => ({
    owner: `case ${number} ${isDeadlock ? 'ring' : 'control'} ${i}`,
    process: spare[i] as number,
    holds: [],
  }));
  const edges: string[] = [];
  // A control lacks one edge, or has one that somebody outside of the ring can open.
  const open = isDeadlock ? -1 : below(count);
  const byBystander = !isDeadlock && count < processes && random.next() < 0.5;
  for (const [i, member] of members.slice(0, count).entries()) {
    const next = members[(i + 1) % count] as Member;
    const resource = `case-${number}-${isDeadlock ? 'r' : 'c'}-${i}`;
    if (i === open && byBystander) {
      const bystander: Member = {
        owner: `case ${number} bystander`,
        process: spare[count] as number,
        holds: [],
      };
      linkBystander(member, next, bystander, resource);
      members.push(bystander);
      edges.push('units-of-two');
    } else if (i === open) edges.push('none');
    else {
      const edge = EDGES[below(EDGES.length)] as Edge;
      link(member, next, resource, edge);
      edges.push(edge);
    }
  }
  const waiting = members.flatMap(({ wants }, i) => (wants === undefined ? [] : [i]));
  return { name: `${number}: ${edges.join(' → ')}`, isDeadlock, members, order: shuffled(waiting, random) };
}

/** Makes one wait for another. */
function link(waiter: Member, holder: Member, resource: string, edge: Edge): void {
  switch (edge) {
    case 'exclusive':
      holder.holds.push(resource);
      waiter.wants = resource;
      return;
    case 'reader-waits':
      holder.holds.push(resource);
      waiter.wants = { resource, mode: 'shared' };
      return;
    case 'writer-waits':
      holder.holds.push({ resource, mode: 'shared' });
      waiter.wants = resource;
      return;
    case 'all-units':
      holder.holds.push({ semaphore: resource, of: 2, units: 2 });
      waiter.wants = { semaphore: resource, of: 2, units: 1 };
      return;
    case 'more-units':
      holder.holds.push({ semaphore: resource, of: 3, units: 1 });
      waiter.wants = { semaphore: resource, of: 3, units: 3 };
      return;
    case 'upgrade':
      for (const member of [waiter, holder]) member.holds.push({ resource, mode: 'shared' });
      waiter.wants = { upgrade: resource };
  }
}

/** There is a cycle, but either of two may free what is waited for, and one of them is outside of it. */
function linkBystander(waiter: Member, holder: Member, bystander: Member, resource: string): void {
  for (const member of [holder, bystander]) member.holds.push({ semaphore: resource, of: 2, units: 1 });
  waiter.wants = { semaphore: resource, of: 2, units: 1 };
}

function shuffled<T>(list: readonly T[], random: Random): T[] {
  return list
    .map((value) => [random.next(), value] as const)
    .toSorted(([a], [b]) => a - b)
    .map(([, value]) => value);
}
