import { EXCLUSIVE, isIntent, SHARED, UNITS, UPDATE } from '../../core/lock-modes.ts';
import type { LockAnswer } from '../../core/ports/locks.ts';
import type { LockTicket, Place } from './lock-entry.ts';
import { clash } from './lock-order.ts';

/** What a request is refused for, read from the table without changing it. */

export type Refusal = Extract<LockAnswer, { readonly status: 'refused' | 'lost' }>;

export const LOST: Refusal = { status: 'lost' };
export const CAPACITY: Refusal = { status: 'refused', why: 'capacity' };
export const BUSY: Refusal = { status: 'refused', why: 'busy' };
const CONFLICT: Refusal = { status: 'refused', why: 'upgrade-conflict' };

const NOT_INTENT = (1 << SHARED) | (1 << UPDATE) | (1 << EXCLUSIVE);

/** Why a request can't even be queued. */
export function refusalOf(ticket: LockTicket, reentrant: boolean): Refusal | undefined {
  const first = refusalAt(ticket, reentrant);
  const { more } = ticket;
  if (first !== undefined || more === undefined) return first;
  for (const place of more) {
    const refusal = refusalAt(place, reentrant);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

function refusalAt(place: Place, reentrant: boolean): Refusal | undefined {
  const { entry, mode, units, special, target } = place;
  if (mode === UNITS) {
    const own = special ? (place.ticket.holder?.unitsAt(entry) ?? 0) : 0;
    return units + own > entry.of ? CAPACITY : undefined;
  }
  if (!special) return undefined;
  if (target !== undefined) return clashesWithUpgrade(place, target) ? CONFLICT : undefined;
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
