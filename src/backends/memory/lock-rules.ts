import { EXCLUSIVE, isIntent, SHARED, UNITS, UPDATE } from '../../core/lock-modes.ts';
import type { Grant, LockAnswer, LockOrder } from '../../core/ports/locks.ts';
import type { BackendTime, Token } from '../../core/ports/words.ts';
import { clash, justBefore, type Place, type Ticket, waitOf } from './lock-entry.ts';

/** What the lock table decides about one request, read from the table without changing it. */

const NOT_INTENT = (1 << SHARED) | (1 << UPDATE) | (1 << EXCLUSIVE);

/** Completes a place that isn't queued yet: whether its owner holds the resource too, and what it converts. */
export function preparePlace(place: Place, upgrade: Ticket | undefined): void {
  const { entry } = place;
  place.target = upgrade?.places().find((held) => held.entry === entry);
  place.special =
    place.target !== undefined ||
    (entry.holders !== undefined && place.ticket.holder?.placeAt(entry) !== undefined);
}

/** What a request is refused for before anything is queued. */
export function refusalOf(
  ticket: Ticket,
  reentrant: boolean,
): Extract<LockAnswer, { readonly status: 'refused' }> | undefined {
  const first = refusalAt(ticket, reentrant);
  const { more } = ticket;
  if (first !== undefined || more === undefined) return first;
  for (const place of more) {
    const refusal = refusalAt(place, reentrant);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

function refusalAt(place: Place, reentrant: boolean): ReturnType<typeof refusalOf> {
  const { entry, mode, units, special } = place;
  if (mode === UNITS) {
    const own = special ? (place.ticket.holder?.unitsAt(entry) ?? 0) : 0;
    return units + own > entry.of ? { status: 'refused', why: 'capacity' } : undefined;
  }
  if (!special) return undefined;
  if (place.target !== undefined)
    return clashesWithUpgrade(place, place.target)
      ? { status: 'refused', why: 'upgrade-conflict' }
      : undefined;
  if (reentrant || isIntent(mode)) return undefined;
  const held = place.ticket.holder?.placeAt(entry, NOT_INTENT)?.ticket;
  if (held === undefined) return undefined;
  const ref = { id: held.id, token: held.token };
  return { status: 'refused', why: 'reentrant', resource: entry.resource, held: ref };
}

/** Each would wait for the other to give up what it holds: the later one fails at once (L8). */
function clashesWithUpgrade(place: Place, target: Place): boolean {
  for (let at = place.entry.head; at !== undefined; at = at.next) {
    if (at.target === undefined) return false; // upgrades come first
    if (clash(place, at.target) && clash(at, target)) return true;
  }
  return false;
}

/** The rank just in front of the stuck tickets before this one, if none in between would be passed once too often. */
export function justBeforeStuck(ticket: Ticket, stuck: { has(owner: string): boolean }): number | undefined {
  let front = Number.POSITIVE_INFINITY;
  for (const place of ticket.places()) {
    for (let at = place.previous; at !== undefined; at = at.previous) {
      if (at.target === undefined && clash(place, at) && stuck.has(at.ticket.owner.id))
        front = Math.min(front, waitOf(at).rank);
    }
  }
  if (front === Number.POSITIVE_INFINITY) return undefined;
  for (const place of ticket.places()) {
    for (let at = place.previous; at !== undefined && waitOf(at).rank >= front; at = at.previous) {
      if (clash(place, at) && waitOf(at).overtaken >= waitOf(at).order.maxOvertakes) return undefined;
    }
  }
  return justBefore(front);
}

/** A grant of what its owner holds already carries the same token: a new one would make the owner's own writes look old. */
export function coveringToken(place: Place): Token | undefined {
  if (!place.entry.isCovered(place)) return undefined;
  return place.ticket.holder?.placeAt(place.entry)?.token;
}

/** @param ask the upgrade whose answer this is, so that tokens come in the order of its items */
export function grantOf(ticket: Ticket, at: BackendTime, ask: Ticket = ticket): Grant {
  const { lease } = ticket;
  const grant = {
    status: 'granted' as const,
    id: ticket.id,
    token: ticket.token,
    tokens: ask.places().map((place) => (place.target ?? place).token),
    expiresInMs: lease === undefined ? Number.POSITIVE_INFINITY : Math.max(0, (lease.expiresAt - at) / 1_000),
  };
  return lease?.revoked === undefined ? grant : { ...grant, revoked: lease.revoked };
}

/** At most 5 of those who hold what it waits for. */
export function holdersOf(
  ticket: Ticket,
): { owner: string; agent?: string | undefined; task?: string | undefined }[] {
  const found: { owner: string; agent?: string | undefined; task?: string | undefined }[] = [];
  for (const place of ticket.places()) {
    for (let at = place.entry.holders; at !== undefined && found.length < 5; at = at.next) {
      const { owner, holder } = at.ticket;
      if (!clash(place, at) || (holder !== undefined && holder === ticket.holder)) continue;
      found.push({ owner: owner.id, agent: owner.agent, task: owner.task });
    }
  }
  return found;
}

/** µs that a point of priority is worth; at most 12 days, so that ranks stay exact. */
export function ageStepUs(order: LockOrder): number {
  return Math.min(order.ageStepMs, 1_000_000_000) * 1_000;
}
