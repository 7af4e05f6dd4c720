import { LOCK_WORDS, UNITS } from '../../core/lock-modes.ts';
import type { Grant, LockAnswer, LockItem } from '../../core/ports/locks.ts';
import type { BackendTime } from '../../core/ports/words.ts';
import type { LockTicket, Place } from './lock-entry.ts';
import { clash } from './lock-order.ts';
import type { LeaseState } from './lock-ticket.ts';

/** Tickets as the port says them. */

type WaitAnswer = Extract<LockAnswer, { readonly status: 'waiting' }>;

/** How a request stands now. */
export function stateOf(ticket: LockTicket, at: BackendTime): LockAnswer {
  if (ticket.state === 'held') return grantOf(ticket, at);
  if (ticket.isConversion) return grantOf(ticket.upgrade as LockTicket, at, ticket);
  return ticket.state === 'ended' ? { status: 'lost' } : waitingOf(ticket);
}

/** @param ask the upgrade whose answer this is, so that tokens come in the order of its items */
export function grantOf(ticket: LockTicket, at: BackendTime, ask: LockTicket = ticket): Grant {
  const { lease } = ticket;
  const grant = {
    status: 'granted' as const,
    id: ticket.id,
    token: ticket.token,
    tokens: ask.places().map((place) => (place.target ?? place).token),
    expiresInMs: expiresInMs(lease, at),
  };
  return lease?.revoked === undefined ? grant : { ...grant, revoked: lease.revoked };
}

export function expiresInMs(lease: LeaseState | undefined, at: BackendTime): number {
  return lease === undefined ? Number.POSITIVE_INFINITY : Math.max(0, (lease.expiresAt - at) / 1_000);
}

export function waitingOf(ticket: LockTicket): WaitAnswer {
  return {
    status: 'waiting',
    wait: { id: ticket.id, version: ticket.version },
    ahead: 0,
    suspect: true,
    pushed: ticket.listener !== undefined,
    holders: holdersOf(ticket),
  };
}

/** At most 5 of those who hold what it waits for: who is in its way, or else whoever those in front of it wait for. */
export function holdersOf(ticket: LockTicket): WaitAnswer['holders'] {
  const inTheWay = holdersAt(ticket, clash);
  return inTheWay.length > 0 ? inTheWay : holdersAt(ticket, () => true);
}

function holdersAt(
  ticket: LockTicket,
  counts: (place: Place, held: Place) => boolean,
): WaitAnswer['holders'] {
  const found: WaitAnswer['holders'][number][] = [];
  for (const place of ticket.places()) {
    if (place.open) continue;
    for (let at = place.entry.holders; at !== undefined && found.length < 5; at = at.next) {
      const { owner, holder } = at.ticket;
      if (!counts(place, at) || (holder !== undefined && holder === ticket.holder)) continue;
      found.push({ owner: owner.id, agent: owner.agent, task: owner.task });
    }
  }
  return found;
}

/** The mode of a place as users write it. */
export function modeOf({ mode, units, entry }: Place): LockItem['mode'] {
  return mode === UNITS ? { units, of: entry.of } : (LOCK_WORDS[mode] as LockItem['mode']);
}
