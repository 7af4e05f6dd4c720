import { EXCLUSIVE, UNITS } from '../../core/lock-modes.ts';
import type { LiveLocks } from '../../core/ports/locks.ts';
import type { BackendTime } from '../../core/ports/words.ts';
import type { Requirement } from '../../core/waits.ts';
import { clash, type Holder, type LockEntry, type Place, type Ticket } from './lock-entry.ts';

type Blocker = { readonly node: string; readonly frees: number };

const NOTHING: readonly Requirement[] = [];

/** Reads the lock table as a wait-for graph, without a copy. */
export function liveLocks(
  table: {
    readonly entries: ReadonlyMap<string, LockEntry>;
    readonly holders: ReadonlyMap<string, Holder>;
  },
  pass: LiveLocks['pass'],
): LiveLocks {
  const holderOf = (owner: string): Holder | undefined => table.holders.get(owner);
  return {
    pass,
    isWaiting: (owner) => (holderOf(owner)?.waits.size ?? 0) > 0,
    requirements(owner) {
      const holder = holderOf(owner);
      if (holder === undefined || holder.waits.size === 0) return NOTHING;
      const found: Requirement[] = [];
      for (const ticket of holder.waits) {
        for (const place of ticket.places()) if (!place.open) found.push(requirementOf(place, holder));
      }
      return found;
    },
    blocks(owner) {
      const holder = holderOf(owner);
      if (holder === undefined) return false;
      for (let ticket = holder.first; ticket !== undefined; ticket = ticket.nextHeld) {
        for (const place of ticket.places()) if (place.entry.closed > 0) return true;
      }
      for (const ticket of holder.waits) {
        for (const place of ticket.places()) if (place.next !== undefined) return true;
      }
      return false;
    },
    owner(owner) {
      const holder = holderOf(owner);
      if (holder === undefined) return undefined;
      const { id, agent, task, priority, defeats } = holder.owner;
      return { id, agent, task, priority, since: sinceOf(holder), defeats, locks: holder.held };
    },
    waits: (owner) =>
      [...(holderOf(owner)?.waits ?? [])].map((ticket) => ({
        ref: { id: ticket.id, version: ticket.version },
        resources: ticket.places().flatMap((place) => (place.open ? [] : [place.entry.resource])),
      })),
    counts() {
      let held = 0;
      let waiting = 0;
      for (const entry of table.entries.values()) if (entry.holders !== undefined) held += 1;
      for (const holder of table.holders.values()) waiting += holder.waits.size;
      return { held, known: table.entries.size, waiting };
    },
    *waiting() {
      for (const [owner, holder] of table.holders) if (holder.waits.size > 0) yield owner;
    },
  };
}

/** What a closed place waits for: holders and waiters in front that it can't be held together with, its own owner's left out. */
function requirementOf(place: Place, holder: Holder): Requirement {
  const { entry } = place;
  if (place.mode === UNITS) return unitsOf(place, entry, holder);
  const blockers: Blocker[] = [];
  for (let at = place.previous; at !== undefined; at = at.previous) {
    if (at.ticket.holder === holder || !clash(place, at)) continue;
    blockers.push({ node: at.ticket.owner.id, frees: 1 });
    // Something exclusive waits for all that is in front of it, so nothing further is news.
    if (at.mode === EXCLUSIVE && !at.special) return lockOf(entry, blockers);
  }
  for (let at = entry.holders; at !== undefined; at = at.next) {
    if (!isOwn(at.ticket, holder) && clash(place, at)) blockers.push({ node: at.ticket.owner.id, frees: 1 });
  }
  return lockOf(entry, blockers);
}

function lockOf(entry: LockEntry, blockers: readonly Blocker[]): Requirement {
  return { by: 'lock', what: entry.resource, blockers, needs: blockers.length };
}

/** Units are a matter of amount: enough of those who hold some, or stand in front, must finish. */
function unitsOf(place: Place, entry: LockEntry, holder: Holder): Requirement {
  const blockers: Blocker[] = [];
  let taken = entry.used;
  for (let at = entry.holders; at !== undefined; at = at.next) {
    if (!isOwn(at.ticket, holder)) blockers.push({ node: at.ticket.owner.id, frees: at.units });
  }
  for (let at = place.previous; at !== undefined; at = at.previous) {
    taken += at.units;
    if (at.ticket.holder !== holder) blockers.push({ node: at.ticket.owner.id, frees: at.units });
  }
  return { by: 'semaphore', what: entry.resource, blockers, needs: taken + place.units - entry.of };
}

function isOwn(ticket: Ticket, holder: Holder): boolean {
  return ticket.holder === holder || (ticket.holder === undefined && ticket.owner.id === holder.owner.id);
}

/** When the owner's work began, or its first wait. */
function sinceOf({ owner, waits }: Holder): BackendTime {
  if (owner.since !== 0) return owner.since;
  let first = Number.POSITIVE_INFINITY;
  for (const { wait } of waits) first = Math.min(first, wait?.since ?? first);
  return (first === Number.POSITIVE_INFINITY ? 0 : first) as BackendTime;
}
