import { CONFLICTS, COVERS, UNITS } from '../../core/lock-modes.ts';
import type { Holder } from './lock-holder.ts';
import type { Ticket, Waiting } from './lock-ticket.ts';

/** A request as the lock table keeps it. */
export type LockTicket = Ticket<LockEntry>;
/** One resource of a request: its ticket, or a further one. */
export type Place = LockTicket;
export type LockHolder = Holder<LockTicket>;

/** Tickets by id; one that came by the quick way is here only once somebody has read its id. */
export class TicketIndex {
  readonly byId = new Map<string, LockTicket>();
  #next = 0;

  name(ticket: LockTicket, id: string | undefined): string {
    this.#next += 1;
    const name = id ?? `quick-${this.#next}`;
    this.byId.set(name, ticket);
    return name;
  }

  forget(id: string): void {
    this.byId.delete(id);
  }
}

/** What a resource has once somebody has had to wait for it. `lock-queue.ts` says what is done with it. */
export class QueueState {
  head: Place | undefined;
  tail: Place | undefined;
  waiting = 0;
  /** Places that aren't open. */
  closed = 0;
  special = 0;
  /** Grows whenever a holder or a waiter in front of another comes or goes. */
  epoch = 0;
  /** Modes that are waited for, and how often each. */
  mask = 0;
  readonly counts: number[] = [0, 0, 0, 0, 0, 0];
  units = 0;
  /** The last waiter of each mode that mustn't be passed any more. */
  barriers: (Place | undefined)[] | undefined;

  constructor() {
    this.head = undefined;
    this.tail = undefined;
    this.barriers = undefined;
  }
}

/** A resource, and who holds it. With many resources each line of the cache counts: all that a wait needs is elsewhere. */
export class LockEntry {
  holders: Place | undefined;
  queue: QueueState | undefined;
  heldMask = 0;
  /** How often each mode is held; without it, each mode in the mask once. */
  #held: number[] | undefined;
  /** Capacity of a semaphore; 0: a lock with modes. */
  of = 0;
  /** Holders with a lease of their own. */
  leased = 0;
  used = 0;
  readonly resource: string;
  readonly index: TicketIndex;

  constructor(resource: string, index: TicketIndex) {
    this.holders = undefined;
    this.queue = undefined;
    this.#held = undefined;
    this.resource = resource;
    this.index = index;
  }

  get idle(): boolean {
    return this.holders === undefined && this.head === undefined;
  }

  /** Who is to have it next. */
  get head(): Place | undefined {
    return this.queue?.head;
  }

  get epoch(): number {
    return this.queue?.epoch ?? 0;
  }

  hold(place: Place): void {
    place.previous = undefined;
    place.next = this.holders;
    if (this.holders !== undefined) this.holders.previous = place;
    this.holders = place;
    if (this.queue !== undefined) this.queue.epoch += 1;
    if (place.ticket.lease !== undefined) this.leased += 1;
    if (place.mode === UNITS) this.used += place.units;
    else this.#count(place.mode);
  }

  /** Takes a holder out. True: somebody in the queue may go on. */
  free(place: Place): boolean {
    if (place.previous === undefined) this.holders = place.next;
    else place.previous.next = place.next;
    if (place.next !== undefined) place.next.previous = place.previous;
    place.previous = undefined;
    place.next = undefined;
    if (place.ticket.lease !== undefined) this.leased -= 1;
    let isFreer = true;
    if (place.mode === UNITS) this.used -= place.units;
    else isFreer = this.#uncount(place.mode);
    const { queue } = this;
    if (queue === undefined) return false;
    queue.epoch += 1;
    return queue.special > 0 || (isFreer && queue.closed > 0);
  }

  /** Changes the mode of a holder: an upgrade, a downgrade. */
  convert(place: Place, mode: number): void {
    if (this.queue !== undefined) this.queue.epoch += 1;
    this.#count(mode);
    this.#uncount(place.mode);
    place.mode = mode;
  }

  /** Whether a place could be held now beside those who hold it, its owner left out. */
  fits(place: Place): boolean {
    if (place.mode === UNITS) return this.used + place.units <= this.of;
    const against = (CONFLICTS[place.mode] as number) & this.heldMask;
    return against === 0 || (place.special && this.#onlyOwn(place, against));
  }

  /** Whether its owner holds all that the place asks for already. */
  isCovered(place: Place): boolean {
    if (!place.special || place.mode === UNITS) return false;
    return place.ticket.holder?.placeAt(this, COVERED_BY[place.mode]) !== undefined;
  }

  #onlyOwn(place: Place, against: number): boolean {
    const holder = place.ticket.holder;
    if (holder === undefined) return false;
    for (let mode = 0; mode < UNITS; mode++) {
      if ((against & (1 << mode)) === 0) continue;
      if (this.#countOf(mode) > holder.countAt(this, mode)) return false;
    }
    return true;
  }

  #count(mode: number): void {
    const bit = 1 << mode;
    if (this.#held === undefined) {
      if ((this.heldMask & bit) === 0) {
        this.heldMask |= bit;
        return;
      }
      this.#held = [0, 1, 2, 3, 4].map((known) => (this.heldMask >> known) & 1);
    }
    this.#held[mode] = this.#countOf(mode) + 1;
    this.heldMask |= bit;
  }

  /** True: the last holder of this mode went. */
  #uncount(mode: number): boolean {
    if (this.#held !== undefined) {
      const count = this.#countOf(mode) - 1;
      this.#held[mode] = count;
      if (count > 0) return false;
    }
    this.heldMask &= ~(1 << mode);
    return true;
  }

  #countOf(mode: number): number {
    return this.#held === undefined ? (this.heldMask >> mode) & 1 : (this.#held[mode] as number);
  }
}

/** The wait of a queued place. */
export function waitOf(place: Place): Waiting {
  return place.ticket.wait as Waiting;
}

/** For each wanted mode the bits of the held modes that include it. */
const COVERED_BY: readonly number[] = [0, 1, 2, 3, 4].map((wanted) =>
  COVERS.reduce((mask, covered, held) => ((covered & (1 << wanted)) === 0 ? mask : mask | (1 << held)), 0),
);
