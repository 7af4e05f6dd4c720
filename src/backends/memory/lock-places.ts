import type { Token } from '../../core/ports/words.ts';
import type { LockTicket, Place } from './lock-entry.ts';
import { insert, rescan, unqueue } from './lock-queue.ts';

/** What is done with all places of a ticket. */

/** Takes a waiting ticket out of its queues. Returns those that stood behind it. */
export function takeOut(ticket: LockTicket): Set<LockTicket> {
  const behind = new Set<LockTicket>();
  for (const place of ticket.places()) {
    for (let at = place.next; at !== undefined; at = at.next) behind.add(at.ticket);
    unqueue(place);
    place.open = false;
  }
  return behind;
}

/** Completes a place that isn't queued yet: whether its owner holds the resource too, and what it converts. */
export function preparePlace(place: Place, upgrade: LockTicket | undefined): void {
  const { entry } = place;
  place.target = upgrade?.places().find((held) => held.entry === entry);
  place.special =
    place.target !== undefined ||
    (entry.holders !== undefined && place.ticket.holder?.placeAt(entry) !== undefined);
}

/** @param passed those who were passed by it before, which counts once */
export function insertAll(ticket: LockTicket, opened: LockTicket[], passed?: Set<LockTicket>): void {
  if (ticket.more === undefined) {
    insert(ticket, opened, passed);
    return;
  }
  const met = passed ?? new Set<LockTicket>();
  for (const place of ticket.places()) insert(place, opened, met);
}

export function hold(place: Place, token: Token): void {
  place.token = coveringToken(place) ?? token;
  place.entry.hold(place);
}

/** A grant of what its owner holds already carries the same token: a new one would make the owner's own writes look old. */
function coveringToken(place: Place): Token | undefined {
  if (!place.entry.isCovered(place)) return undefined;
  return place.ticket.holder?.placeAt(place.entry)?.token;
}

/**
 * An upgrade is granted: the first grant goes on in the new modes, with new tokens. Its own places keep what was before, so that it can be
 * taken back, and asked about, by its id.
 */
export function convert(ticket: LockTicket, upgrade: LockTicket, token: Token): void {
  const since = upgrade.grantedAt;
  for (const place of ticket.places()) {
    const target = place.target as Place;
    exchange(place, target);
    target.token = token;
  }
  upgrade.grantedAt = since;
  ticket.state = 'ended';
  ticket.wait = undefined;
  upgrade.converted?.forget();
  upgrade.converted = ticket;
}

/** Takes the latest upgrade of a grant back: it has the modes and tokens that it had. */
export function revert(ticket: LockTicket, upgrade: LockTicket, opened: LockTicket[]): void {
  for (const place of ticket.places()) exchange(place, place.target as Place);
  for (const { entry } of ticket.places()) rescan(entry, opened);
  upgrade.converted = undefined;
  ticket.forget();
}

/** Changes what a held place has for what another one has. */
function exchange(place: Place, held: Place): void {
  const { mode, token } = held;
  if (mode !== place.mode) held.entry.convert(held, place.mode);
  held.token = place.token;
  place.mode = mode;
  place.token = token;
}

export function withdraw(ticket: LockTicket, opened: LockTicket[]): void {
  ticket.holder?.removeWait(ticket);
  for (const place of ticket.places()) {
    unqueue(place);
    rescan(place.entry, opened);
  }
}

export function release(ticket: LockTicket, opened: LockTicket[]): void {
  ticket.lease?.timer?.cancel();
  // The owner's own waits see its holds: it must be out of them before they are looked at.
  ticket.holder?.remove(ticket);
  for (const place of ticket.places()) if (place.entry.free(place)) rescan(place.entry, opened);
}
