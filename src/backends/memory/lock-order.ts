import { CONFLICTS, UNITS } from '../../core/lock-modes.ts';
import type { LockOrder } from '../../core/ports/locks.ts';
import { type Place, waitOf } from './lock-entry.ts';
import type { Waiting } from './lock-ticket.ts';

/** Who goes before whom. */

/** Whether `a` stands in front of `b`, in any queue. */
export function isBefore(a: Waiting, b: Waiting): boolean {
  if (a.rank !== b.rank) return a.rank < b.rank;
  if (a.urgency !== b.urgency) return a.urgency > b.urgency;
  return a.arrival < b.arrival;
}

/** Whether two places at one resource can't be held together. Units are in one another's way by order, so they count as conflicting. */
export function clash(a: Place, b: Place): boolean {
  if (a.mode === UNITS) return true;
  return ((CONFLICTS[a.mode] as number) & (1 << b.mode)) !== 0;
}

/** Whether a waiter was passed as often as it may be. */
export function isOvertakenOut({ overtaken, order }: Waiting): boolean {
  return overtaken >= order.maxOvertakes;
}

/** µs that a point of priority is worth; at most 12 days, so that ranks stay exact. */
export function ageStepUs(order: LockOrder): number {
  return Math.min(order.ageStepMs, 1_000_000_000) * 1_000;
}

/** The nearest rank behind another; exact as far as a double reaches. */
export function justBehind(rank: number): number {
  return rank + nearest(rank);
}

/** The rank just in front of the stuck tickets before this one, if none in between would be passed once too often. */
export function justBeforeStuck(ticket: Place, stuck: { has(owner: string): boolean }): number | undefined {
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
      if (clash(place, at) && isOvertakenOut(waitOf(at))) return undefined;
    }
  }
  return front - nearest(front);
}

function nearest(rank: number): number {
  return Math.max(0.001, Math.abs(rank) * 4.5e-16);
}
