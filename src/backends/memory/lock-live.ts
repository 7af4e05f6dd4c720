import { EXCLUSIVE, UNITS } from '../../core/lock-modes.ts';
import type { Blocker, LiveLocks, Requirement } from '../../core/ports/locks.ts';
import type { BackendTime } from '../../core/ports/words.ts';
import type { LockHolder, LockTicket, Place } from './lock-entry.ts';
import { clash } from './lock-order.ts';
import { blocksAny } from './lock-queue.ts';
import type { LockTable } from './lock-table.ts';

const NOTHING: readonly Requirement[] = [];

/** Reads the lock table as a wait-for graph, without a copy. */
export function liveLocks(table: LockTable): LiveLocks {
  const holderOf = (owner: string): LockHolder | undefined => table.directory.holders.get(owner);
  return {
    pass: (owner, stuck) => table.pass(owner, stuck),
    isWaiting: (owner) => holderOf(owner)?.firstWait !== undefined,
    requirements(owner) {
      const holder = holderOf(owner);
      if (holder?.firstWait === undefined) return NOTHING;
      const found: Requirement[] = [];
      for (
        let ticket: LockTicket | undefined = holder.firstWait;
        ticket !== undefined;
        ticket = ticket.nextOwn
      ) {
        for (const place of ticket.places()) if (!place.open) found.push(requirementOf(place, holder, table));
      }
      return found;
    },
    blocks(owner) {
      const holder = holderOf(owner);
      return holder !== undefined && blocksAny(holder);
    },
    owner(owner) {
      const holder = holderOf(owner);
      if (holder === undefined) return undefined;
      const { id, agent, task, priority, defeats } = holder.owner;
      return { id, agent, task, priority, since: sinceOf(holder), defeats, locks: holder.held };
    },
    waits: (owner) =>
      (holderOf(owner)?.waits() ?? []).map((ticket) => ({
        ref: { id: ticket.id, version: ticket.version },
        resources: ticket.places().flatMap((place) => (place.open ? [] : [place.entry.resource])),
      })),
    counts() {
      let held = 0;
      let waiting = 0;
      for (const entry of table.directory.entries.values()) {
        if (entry.holders !== undefined) held += 1;
        waiting += entry.queue?.closed ?? 0;
      }
      return { held, known: table.directory.entries.size, waiting };
    },
    *waiting() {
      for (const [owner, holder] of table.directory.holders) if (holder.firstWait !== undefined) yield owner;
    },
  };
}

/** What a closed place waits for: holders and waiters in front that it can't be held together with, its own owner's left out. */
function requirementOf(place: Place, holder: LockHolder, table: LockTable): Requirement {
  const { entry } = place;
  if (place.mode === UNITS) return unitsOf(place, holder, table);
  const blockers: Blocker[] = [];
  const done = (): Requirement => ({
    by: 'lock',
    what: entry.resource,
    blockers,
    needs: blockers.length,
  });
  for (let at = place.previous; at !== undefined; at = at.previous) {
    if (at.ticket.holder === holder || !clash(place, at)) continue;
    // Something exclusive waits for all that is in front of it, so nothing further is news.
    const inherits = at.mode === EXCLUSIVE && !at.special;
    blockers.push({ node: table.nodeOf(at.ticket), frees: 1, inherits });
    if (inherits) return done();
  }
  for (let at = entry.holders; at !== undefined; at = at.next) {
    if (!isOwn(at.ticket, holder) && clash(place, at)) blockers.push({ node: at.ticket.owner.id, frees: 1 });
  }
  return done();
}

/** Units are a matter of amount: enough of those who hold some, or stand in front, must finish. */
function unitsOf(place: Place, holder: LockHolder, table: LockTable): Requirement {
  const { entry } = place;
  const blockers: Blocker[] = [];
  let taken = entry.used;
  for (let at = entry.holders; at !== undefined; at = at.next) {
    if (!isOwn(at.ticket, holder)) blockers.push({ node: at.ticket.owner.id, frees: at.units });
  }
  for (let at = place.previous; at !== undefined; at = at.previous) {
    taken += at.units;
    if (at.ticket.holder !== holder) blockers.push({ node: table.nodeOf(at.ticket), frees: at.units });
  }
  return { by: 'semaphore', what: entry.resource, blockers, needs: taken + place.units - entry.of };
}

function isOwn(ticket: LockTicket, holder: LockHolder): boolean {
  return ticket.holder === holder || (ticket.holder === undefined && ticket.owner.id === holder.owner.id);
}

/** When the owner's work began, or its first wait. */
function sinceOf(holder: LockHolder): BackendTime {
  if (holder.owner.since !== 0) return holder.owner.since;
  let first = Number.POSITIVE_INFINITY;
  for (const { wait } of holder.waits()) if (wait !== undefined) first = Math.min(first, wait.since);
  return (first === Number.POSITIVE_INFINITY ? 0 : first) as BackendTime;
}
