import { CONFLICTS, EXCLUSIVE, UNITS } from '../../core/lock-modes.ts';
import {
  type LockEntry,
  type LockHolder,
  type LockTicket,
  type Place,
  QueueState,
  waitOf,
} from './lock-entry.ts';
import { clash, isBefore, isOvertakenOut, justBehind } from './lock-order.ts';
import type { Waiting } from './lock-ticket.ts';

/**
 * The queue of a resource. A waiting place is open when neither a holder nor a waiter in front of it stands in its way; a ticket is granted
 * when all its places are. So conflicting requests are granted in the order of the queue, and nobody is passed after having queued but by a
 * smaller key.
 */

const EXCLUSIVE_BIT = 1 << EXCLUSIVE;
/** Nothing is granted while a newcomer passes others: they are closed only. */
const NONE: LockTicket[] = [];

// ── newcomers

/** The rank that a newcomer may have: behind waiters that were passed often enough. */
export function rankFor(place: Place, rank: number): number {
  const barriers = place.entry.queue?.barriers;
  if (barriers === undefined) return rank;
  let allowed = rank;
  for (const barrier of barriers) {
    if (barrier === undefined || !clash(place, barrier)) continue;
    if (waitOf(barrier).rank >= allowed) allowed = justBehind(waitOf(barrier).rank);
  }
  return allowed;
}

/** Whether a newcomer with this wait would find its place open; changes nothing. */
export function wouldOpen(place: Place, wait: Waiting): boolean {
  const { entry } = place;
  if (entry.isCovered(place)) return true;
  if (!entry.fits(place)) return false;
  const { queue } = entry;
  if (queue?.head === undefined) return true;
  if (place.mode !== UNITS && !isWanted(queue, place.mode)) return true;
  let ahead = queue.units;
  let at = queue.tail;
  for (; at !== undefined && isBefore(wait, waitOf(at)); at = at.previous) ahead -= at.units;
  if (place.mode === UNITS) return entry.used + ahead + place.units <= entry.of;
  return !clashesAhead(queue, place, at);
}

/** Whether a newcomer that is granted at once passes somebody it would be in the way of. */
export function mustQueueToPass({ entry, mode }: Place): boolean {
  const { queue } = entry;
  if (queue?.head === undefined) return false;
  return mode === UNITS || isWanted(queue, mode);
}

/**
 * Puts a place into the queue, counting whom it passes, and finds out which places are open now.
 * @param met those whom it passed in other queues: once is enough
 */
export function insert(place: Place, opened: LockTicket[], met?: Set<LockTicket>): void {
  const { entry } = place;
  entry.queue ??= new QueueState();
  const { queue } = entry;
  const wait = waitOf(place);
  let after = queue.tail;
  let passed = 0;
  while (after !== undefined && isBefore(wait, waitOf(after))) {
    pass(after, place, met);
    passed += 1;
    wait.suspect ||= hasOtherTies(after.ticket);
    after = after.previous;
  }
  link(queue, place, after);
  if (passed > 0) queue.epoch += 1;
  wait.ahead = Math.max(wait.ahead, queue.waiting - passed - 1);
  wait.blocked += 1;
  queue.closed += 1;
  if (place.mode === UNITS) rescanUnits(entry, queue, opened, place);
  else if (queue.special > 0) rescan(entry, opened);
  else if (entry.fits(place) && !clashesAhead(queue, place, after)) setOpen(queue, place, true, opened);
}

// ── changes

/** Takes a place out of the queue. */
export function unqueue(place: Place): void {
  const queue = place.entry.queue as QueueState;
  const { previous, next } = place;
  if (queue.barriers?.[place.mode] === place) moveBarrier(queue.barriers, place);
  if (previous === undefined) queue.head = next;
  else previous.next = next;
  if (next === undefined) queue.tail = previous;
  else {
    next.previous = previous;
    queue.epoch += 1;
  }
  place.previous = undefined;
  place.next = undefined;
  place.queued = false;
  queue.waiting -= 1;
  if (!place.open) queue.closed -= 1;
  if (place.special) queue.special -= 1;
  count(queue, place, -1);
}

/** Waits of an owner at the resources of a ticket that it has just come to hold: what it holds is not in their way. */
export function letOwnIn(holder: LockHolder, ticket: LockTicket, opened: LockTicket[]): void {
  for (const other of holder.waits()) {
    for (const place of other.places()) {
      if (!ticket.places().some((held) => held.entry === place.entry)) continue;
      if (!place.special && place.queued) (place.entry.queue as QueueState).special += 1;
      place.special = true;
      rescan(place.entry, opened);
    }
  }
}

/** Finds the places that became open, from the head as far as anything can be. */
export function rescan(entry: LockEntry, opened: LockTicket[]): void {
  const { queue } = entry;
  if (queue === undefined) return;
  if (entry.of > 0) {
    rescanUnits(entry, queue, opened, undefined);
    return;
  }
  const all = queue.special > 0;
  if (queue.closed === 0 && !all) return;
  let ahead = 0;
  for (let place = queue.head; place !== undefined; place = place.next) {
    setOpen(queue, place, isFree(entry, place, ahead), opened);
    ahead |= 1 << place.mode;
    // Behind something exclusive everything is closed, and was before.
    if (!all && ((ahead | entry.heldMask) & EXCLUSIVE_BIT) !== 0) return;
  }
}

function rescanUnits(
  entry: LockEntry,
  queue: QueueState,
  opened: LockTicket[],
  inserted: Place | undefined,
): void {
  let sum = entry.used;
  for (let place = queue.head; place !== undefined; place = place.next) {
    sum += place.units;
    const wasOpen = place.open;
    setOpen(queue, place, sum <= entry.of, opened);
    // Open places come first: behind one that stays closed, none changes, unless one was put in between.
    if (!wasOpen && !place.open && place !== inserted) return;
  }
}

/** Whether anybody waits for something this owner holds, or behind one of its waits but `except`. */
export function blocksAny(holder: LockHolder, except?: LockTicket): boolean {
  for (let ticket = holder.first; ticket !== undefined; ticket = ticket.nextOwn) {
    if (isInTheWay(ticket) || ticket.more?.some(isInTheWay) === true) return true;
  }
  for (let ticket = holder.firstWait; ticket !== undefined; ticket = ticket.nextOwn) {
    if (ticket === except) continue;
    if (ticket.next !== undefined || ticket.more?.some(({ next }) => next !== undefined) === true)
      return true;
  }
  return false;
}

function isInTheWay({ entry: { queue } }: Place): boolean {
  return queue !== undefined && queue.closed > 0;
}

/** Whether others may wait for a waiter's owner by anything but this one queue. */
function hasOtherTies({ holder, more }: LockTicket): boolean {
  return more !== undefined || (holder !== undefined && (holder.held > 0 || holder.waiting > 1));
}

// ── one place

function isWanted(queue: QueueState, mode: number): boolean {
  return ((CONFLICTS[mode] as number) & queue.mask) !== 0;
}

function isFree(entry: LockEntry, place: Place, ahead: number): boolean {
  if (!place.special) return ((CONFLICTS[place.mode] as number) & (entry.heldMask | ahead)) === 0;
  if (entry.isCovered(place)) return true;
  return ((CONFLICTS[place.mode] as number) & ahead) === 0 && entry.fits(place);
}

function setOpen(queue: QueueState, place: Place, open: boolean, opened: LockTicket[]): void {
  if (place.open === open) return;
  place.open = open;
  const wait = waitOf(place);
  const by = open ? -1 : 1;
  queue.closed += by;
  wait.blocked += by;
  if (open && wait.blocked === 0) opened.push(place.ticket);
}

function clashesAhead(queue: QueueState, place: Place, from: Place | undefined): boolean {
  if (!isWanted(queue, place.mode)) return false;
  for (let at = from; at !== undefined; at = at.previous) {
    if (clash(place, at)) return true;
    // One of the same mode that is open has seen everything in front of it.
    if (at.open && at.mode === place.mode && !at.special) return false;
  }
  return false;
}

function pass(passed: Place, by: Place, met: Set<LockTicket> | undefined): void {
  if (!clash(by, passed)) return;
  const wait = waitOf(passed);
  if (met?.has(passed.ticket) !== true) {
    met?.add(passed.ticket);
    wait.overtaken += 1;
    if (isOvertakenOut(wait)) for (const place of passed.ticket.places()) if (place.queued) setBarrier(place);
  }
  if (passed.open && passed.mode !== UNITS && !passed.special)
    setOpen(passed.entry.queue as QueueState, passed, false, NONE);
}

function link(queue: QueueState, place: Place, after: Place | undefined): void {
  place.queued = true;
  place.previous = after;
  place.next = after === undefined ? queue.head : after.next;
  if (after === undefined) queue.head = place;
  else after.next = place;
  if (place.next === undefined) queue.tail = place;
  else place.next.previous = place;
  queue.waiting += 1;
  if (place.special) queue.special += 1;
  count(queue, place, 1);
  if (isOvertakenOut(waitOf(place))) setBarrier(place);
}

function count(queue: QueueState, { mode, units }: Place, by: 1 | -1): void {
  queue.units += by * units;
  const times = (queue.counts[mode] as number) + by;
  queue.counts[mode] = times;
  if (times === 0) queue.mask &= ~(1 << mode);
  else queue.mask |= 1 << mode;
}

/** A waiter that was passed as often as it may be: nobody in conflict with it gets before it any more. */
function setBarrier(place: Place): void {
  const queue = place.entry.queue as QueueState;
  queue.barriers ??= [undefined, undefined, undefined, undefined, undefined, undefined];
  const known = queue.barriers[place.mode];
  if (known === undefined || isBefore(waitOf(known), waitOf(place))) queue.barriers[place.mode] = place;
}

function moveBarrier(barriers: (Place | undefined)[], place: Place): void {
  let at = place.previous;
  while (at !== undefined && (at.mode !== place.mode || !isOvertakenOut(waitOf(at)))) at = at.previous;
  barriers[place.mode] = at;
}
