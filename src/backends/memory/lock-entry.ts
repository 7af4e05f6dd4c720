import { CONFLICTS, COVERS, EXCLUSIVE, UNITS } from '../../core/lock-modes.ts';
import type {
  LockItem,
  LockListener,
  LockOrder,
  LockWish,
  Owner,
  QuickGrant,
} from '../../core/ports/locks.ts';
import type { Timer } from '../../core/ports/runtime.ts';
import type { BackendTime, SessionNumber, Token } from '../../core/ports/words.ts';

/** The lock table: resources, the tickets (requests) that hold or want them, and a ticket's place at each of its resources. */

const EXCLUSIVE_BIT = 1 << EXCLUSIVE;

export type TicketState = 'waiting' | 'held' | 'ended';

/** Who holds and wants what: one for each owner id in use. Tickets are linked, not kept in a Set: sets that are filled and emptied all the time leave chains of dead tables behind. */
export class Holder {
  owner: Owner;
  /** Held tickets. */
  first: Ticket | undefined;
  held = 0;
  /** Waiting tickets. */
  firstWait: Ticket | undefined;
  waiting = 0;

  constructor(owner: Owner) {
    this.owner = owner;
    this.first = undefined;
    this.firstWait = undefined;
  }

  get idle(): boolean {
    return this.held === 0 && this.waiting === 0;
  }

  add(ticket: Ticket): void {
    link(ticket, this.first);
    this.first = ticket;
    this.held += 1;
  }

  remove(ticket: Ticket): void {
    if (this.first === ticket) this.first = ticket.nextOwn;
    unlink(ticket);
    this.held -= 1;
  }

  addWait(ticket: Ticket): void {
    link(ticket, this.firstWait);
    this.firstWait = ticket;
    this.waiting += 1;
  }

  removeWait(ticket: Ticket): void {
    if (this.firstWait === ticket) this.firstWait = ticket.nextOwn;
    unlink(ticket);
    this.waiting -= 1;
  }

  waits(): Ticket[] {
    const found: Ticket[] = [];
    for (let ticket = this.firstWait; ticket !== undefined; ticket = ticket.nextOwn) found.push(ticket);
    return found;
  }

  /** This owner's held place at a resource, one with units or of a mode in `modes`. */
  placeAt(entry: LockEntry, modes = -1): Place | undefined {
    for (let ticket = this.first; ticket !== undefined; ticket = ticket.nextOwn) {
      if (ticket.entry === entry && (modes & (1 << ticket.mode)) !== 0) return ticket;
      if (ticket.more === undefined) continue;
      for (const place of ticket.more) {
        if (place.entry === entry && (modes & (1 << place.mode)) !== 0) return place;
      }
    }
    return undefined;
  }

  /** How often this owner holds a resource in one mode. */
  countAt(entry: LockEntry, mode: number): number {
    let count = 0;
    for (let ticket = this.first; ticket !== undefined; ticket = ticket.nextOwn) {
      for (const place of ticket.places()) if (place.entry === entry && place.mode === mode) count += 1;
    }
    return count;
  }

  unitsAt(entry: LockEntry): number {
    let units = 0;
    for (let ticket = this.first; ticket !== undefined; ticket = ticket.nextOwn) {
      for (const place of ticket.places()) if (place.entry === entry) units += place.units;
    }
    return units;
  }
}

/** What only a waiting ticket needs. Its key is (rank, urgency, arrival), the same in all of its queues: no two tickets can block each other by order. */
export interface Waiting {
  readonly order: LockOrder;
  readonly since: BackendTime;
  /** µs since the first wait, unique. */
  readonly arrival: number;
  /**
   * `arrival − priority × ageStep`; or just behind a waiter that mustn't be passed any more; or just in front of one that waits for this
   * one.
   */
  rank: number;
  /** Between equal ranks the larger goes first: the priority, unless it went in front of somebody. */
  urgency: number;
  overtaken: number;
  /** Places that aren't open. */
  blocked: number;
  /** Waiters in front when it was queued, in the longest of its queues. */
  ahead: number;
  /** It passed somebody for whom others may wait. */
  suspect: boolean;
  /** The grant that is converted. */
  readonly upgrade: Ticket | undefined;
}

export interface LeaseState {
  leaseMs: number;
  expiresAt: number;
  timer: Timer | undefined;
  revoked: string | undefined;
}

function link(ticket: Ticket, first: Ticket | undefined): void {
  ticket.nextOwn = first;
  if (first !== undefined) first.previousOwn = ticket;
}

function unlink(ticket: Ticket): void {
  if (ticket.previousOwn !== undefined) ticket.previousOwn.nextOwn = ticket.nextOwn;
  if (ticket.nextOwn !== undefined) ticket.nextOwn.previousOwn = ticket.previousOwn;
  ticket.previousOwn = undefined;
  ticket.nextOwn = undefined;
}

/** Tickets by id; one that came by the quick way is here only once somebody has read its id. */
export class TicketIndex {
  readonly byId = new Map<string, Ticket>();
  #next = 0;

  name(ticket: Ticket, id: string | undefined): string {
    this.#next += 1;
    const name = id ?? `quick-${this.#next}`;
    this.byId.set(name, ticket);
    return name;
  }
}

/** What most tickets never have. */
interface TicketRest {
  id: string | undefined;
  more: FurtherPlace[] | undefined;
  lease: LeaseState | undefined;
  /** The held place that the first place converts. */
  target: Place | undefined;
  grantedAt: BackendTime;
}

/** One ticket at one resource: in its queue, or among its holders. A ticket is its own first place, so that the commonest one is one object. */
export type Place = Ticket | FurtherPlace;

/** A request: waiting, then held, then ended. */
export class Ticket implements QuickGrant {
  state: TicketState = 'held';
  #owner: Owner | undefined;
  holder: Holder | undefined;
  readonly session: SessionNumber;
  readonly listener: LockListener | undefined;
  /** Asked for by the quick way: the client has this object. */
  inPlace = false;
  wait: Waiting | undefined;
  /** In its owner's list of held or of waiting tickets. */
  previousOwn: Ticket | undefined;
  nextOwn: Ticket | undefined;

  // Its first place.
  readonly entry: LockEntry;
  mode: number;
  readonly units: number;
  token = 0 as Token;
  /** In the queue: nothing at this resource is in its way. */
  open = false;
  queued = false;
  /** Its owner holds this resource too: its own holds are not in its way. */
  special = false;
  previous: Place | undefined;
  next: Place | undefined;
  #rest: TicketRest | undefined;

  /** @param owner without one, the listener is the wish, which makes the owner when it is asked */
  constructor(
    owner: Owner | undefined,
    holder: Holder | undefined,
    session: SessionNumber,
    listener: LockListener | undefined,
    entry: LockEntry,
    mode: number,
    units: number,
  ) {
    this.#owner = owner;
    this.holder = holder;
    this.session = session;
    this.listener = listener;
    this.wait = undefined;
    this.previousOwn = undefined;
    this.nextOwn = undefined;
    this.entry = entry;
    this.mode = mode;
    this.units = units;
    this.previous = undefined;
    this.next = undefined;
    this.#rest = undefined;
  }

  get ticket(): Ticket {
    return this;
  }

  get owner(): Owner {
    this.#owner ??= (this.listener as LockWish).holder;
    return this.#owner;
  }

  /** Asked for by the quick way, without an id, a lease, a second resource or something to convert. */
  get isBare(): boolean {
    return this.#rest === undefined;
  }

  get id(): string {
    const rest = this.#more;
    rest.id ??= this.entry.index.name(this, undefined);
    return rest.id;
  }

  /** Makes it known under an id of the client. */
  nameIt(id: string): void {
    this.#more.id = this.entry.index.name(this, id);
  }

  get more(): FurtherPlace[] | undefined {
    return this.#rest?.more;
  }

  addPlace(place: FurtherPlace): void {
    const rest = this.#more;
    if (rest.more === undefined) rest.more = [place];
    else rest.more.push(place);
  }

  get lease(): LeaseState | undefined {
    return this.#rest?.lease;
  }
  set lease(lease: LeaseState) {
    this.#more.lease = lease;
  }

  get target(): Place | undefined {
    return this.#rest?.target;
  }
  set target(place: Place | undefined) {
    if (place !== undefined) this.#more.target = place;
  }

  /** Tokens are times of the backend, unless this one is older than the grant, or newer. */
  get grantedAt(): BackendTime {
    const at = this.#rest?.grantedAt ?? 0;
    return (at === 0 ? this.token : at) as BackendTime;
  }
  set grantedAt(at: BackendTime) {
    this.#more.grantedAt = at;
  }

  get tokens(): readonly Token[] {
    return this.places().map((place) => place.token);
  }

  places(): readonly Place[] {
    const more = this.#rest?.more;
    return more === undefined ? [this] : [this, ...more];
  }

  forget(): void {
    const id = this.#rest?.id;
    if (id !== undefined) this.entry.index.byId.delete(id);
  }

  /** See `WaitRef`: moves whenever something in front of it does, at any of its resources. */
  get version(): number {
    return this.places().reduce((sum, place) => sum + place.entry.epoch, 0);
  }

  get #more(): TicketRest {
    this.#rest ??= {
      id: undefined,
      more: undefined,
      lease: undefined,
      target: undefined,
      grantedAt: 0 as BackendTime,
    };
    return this.#rest;
  }
}

/** The second and further places of a ticket; fields as there. */
export class FurtherPlace {
  readonly ticket: Ticket;
  readonly entry: LockEntry;
  mode: number;
  readonly units: number;
  token = 0 as Token;
  open = false;
  queued = false;
  special = false;
  target: Place | undefined;
  previous: Place | undefined;
  next: Place | undefined;

  constructor(ticket: Ticket, entry: LockEntry, mode: number, units: number) {
    this.ticket = ticket;
    this.entry = entry;
    this.mode = mode;
    this.units = units;
    this.target = undefined;
    this.previous = undefined;
    this.next = undefined;
  }
}

/** The wait of a queued place. */
export function waitOf(place: Place): Waiting {
  return place.ticket.wait as Waiting;
}

/** A place as users write it. */
export function itemOf(place: Place): LockItem {
  const { resource, of } = place.entry;
  return place.mode === UNITS
    ? { resource, mode: { units: place.units, of } }
    : { resource, mode: WORDS[place.mode] as LockItem['mode'] };
}

const WORDS = ['intent-shared', 'intent-exclusive', 'shared', 'update', 'exclusive'] as const;

/** Whether `a` stands in front of `b`, in any queue. */
export function isBefore(a: Waiting, b: Waiting): boolean {
  if (a.rank !== b.rank) return a.rank < b.rank;
  if (a.urgency !== b.urgency) return a.urgency > b.urgency;
  return a.arrival < b.arrival;
}

/** The nearest rank behind another; exact as far as a double reaches. */
export function justBehind(rank: number): number {
  return rank + Math.max(0.001, Math.abs(rank) * 4.5e-16);
}

export function justBefore(rank: number): number {
  return rank - Math.max(0.001, Math.abs(rank) * 4.5e-16);
}

/** Whether two places at one resource can't be held together. Units are in one another's way by order, so they count as conflicting. */
export function clash(a: Place, b: Place): boolean {
  if (a.mode === UNITS) return true;
  return ((CONFLICTS[a.mode] as number) & (1 << b.mode)) !== 0;
}

/**
 * A resource. A waiting place is open when neither a holder nor a waiter in front of it stands in its way; a ticket is granted when all its
 * places are. So conflicting requests are granted in the order of the queue, and nobody is passed after having queued but by a smaller key.
 */
export class LockEntry {
  // What an uncontended lock reads and writes comes first: with many resources each line of the cache counts.
  holders: Place | undefined;
  head: Place | undefined;
  heldMask = 0;
  /** How often each mode is held; without it, each mode in the mask once. */
  #held: number[] | undefined;
  /** Capacity of a semaphore; 0: a lock with modes. */
  of = 0;
  closed = 0;
  special = 0;
  /** Holders with a lease of their own. */
  leased = 0;
  used = 0;
  /** While somebody waits, grows whenever a holder or a waiter in front of another comes or goes. */
  epoch = 0;
  tail: Place | undefined;
  waiting = 0;
  waitMask = 0;
  waitUnits = 0;
  #waits: number[] | undefined;
  /** The last waiter of each mode that mustn't be passed any more. */
  #barriers: (Place | undefined)[] | undefined;
  readonly resource: string;
  readonly index: TicketIndex;

  constructor(resource: string, index: TicketIndex) {
    this.holders = undefined;
    this.head = undefined;
    this.#held = undefined;
    this.tail = undefined;
    this.#waits = undefined;
    this.#barriers = undefined;
    this.resource = resource;
    this.index = index;
  }

  get idle(): boolean {
    return this.holders === undefined && this.head === undefined;
  }

  // ── holders

  hold(place: Place): void {
    place.previous = undefined;
    place.next = this.holders;
    if (this.holders !== undefined) this.holders.previous = place;
    this.holders = place;
    if (this.head !== undefined) this.epoch += 1;
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
    if (this.head !== undefined) this.epoch += 1;
    if (place.ticket.lease !== undefined) this.leased -= 1;
    if (place.mode === UNITS) {
      this.used -= place.units;
      return this.closed > 0;
    }
    return this.#uncount(place.mode) ? this.closed > 0 || this.special > 0 : this.special > 0;
  }

  /** Changes the mode of a holder: an upgrade, a downgrade. */
  convert(place: Place, mode: number): void {
    this.epoch += 1;
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

  // ── queue

  /** The rank that a newcomer may have here: behind waiters that were passed often enough. */
  rankFor(place: Place, rank: number): number {
    if (this.#barriers === undefined) return rank;
    let allowed = rank;
    for (const barrier of this.#barriers) {
      if (barrier === undefined || !clash(place, barrier)) continue;
      if (waitOf(barrier).rank >= allowed) allowed = justBehind(waitOf(barrier).rank);
    }
    return allowed;
  }

  /** Whether a newcomer with this wait would find its place open; changes nothing. */
  wouldOpen(place: Place, wait: Waiting): boolean {
    if (this.isCovered(place)) return true;
    if (!this.fits(place)) return false;
    if (place.mode === UNITS) {
      let ahead = this.waitUnits;
      for (let at = this.tail; at !== undefined && isBefore(wait, waitOf(at)); at = at.previous)
        ahead -= at.units;
      return this.used + ahead + place.units <= this.of;
    }
    if (((CONFLICTS[place.mode] as number) & this.waitMask) === 0) return true;
    let at = this.tail;
    while (at !== undefined && isBefore(wait, waitOf(at))) at = at.previous;
    return !this.#clashesAhead(place, at);
  }

  /** Whether a newcomer that is granted at once passes somebody it would be in the way of. */
  mustQueueToPass(place: Place): boolean {
    if (this.head === undefined) return false;
    return place.mode === UNITS || ((CONFLICTS[place.mode] as number) & this.waitMask) !== 0;
  }

  /**
   * Puts a place into the queue, counting whom it passes, and finds out which places are open now.
   * @param met those whom it passed in other queues: once is enough
   */
  insert(place: Place, opened: Ticket[], met?: Set<Ticket>): void {
    const wait = waitOf(place);
    let after = this.tail;
    let passed = 0;
    while (after !== undefined && isBefore(wait, waitOf(after))) {
      this.#pass(after, place, met);
      passed += 1;
      wait.suspect ||= hasOtherTies(after.ticket);
      after = after.previous;
    }
    this.#link(place, after);
    if (passed > 0) this.epoch += 1;
    wait.ahead = Math.max(wait.ahead, this.waiting - passed - 1);
    wait.blocked += 1;
    this.closed += 1;
    if (place.mode === UNITS) this.#rescanUnits(opened, place);
    else if (this.special > 0) this.rescan(opened);
    else if (this.fits(place) && !this.#clashesAhead(place, after)) this.#setOpen(place, true, opened);
  }

  /** Takes a place out of the queue. */
  unqueue(place: Place): void {
    const { previous, next } = place;
    if (this.#barriers?.[place.mode] === place) this.#moveBarrier(place);
    if (previous === undefined) this.head = next;
    else previous.next = next;
    if (next === undefined) this.tail = previous;
    else {
      next.previous = previous;
      this.epoch += 1;
    }
    place.previous = undefined;
    place.next = undefined;
    place.queued = false;
    this.waiting -= 1;
    if (!place.open) this.closed -= 1;
    if (place.special) this.special -= 1;
    this.#countWait(place, -1);
  }

  /** Marks a queued place whose owner has come to hold this resource by another request. */
  markSpecial(place: Place): void {
    if (place.special) return;
    place.special = true;
    if (place.queued) this.special += 1;
  }

  /** Finds the places that became open, from the head as far as anything can be. */
  rescan(opened: Ticket[]): void {
    if (this.of > 0) {
      this.#rescanUnits(opened, undefined);
      return;
    }
    const all = this.special > 0;
    if (this.closed === 0 && !all) return;
    let ahead = 0;
    for (let place = this.head; place !== undefined; place = place.next) {
      this.#setOpen(place, this.#isFree(place, ahead), opened);
      ahead |= 1 << place.mode;
      // Behind something exclusive everything is closed, and was before.
      if (!all && ((ahead | this.heldMask) & EXCLUSIVE_BIT) !== 0) return;
    }
  }

  /** A waiter that was passed as often as it may be: nobody in conflict with it gets before it any more. */
  setBarrier(place: Place): void {
    this.#barriers ??= [undefined, undefined, undefined, undefined, undefined, undefined];
    const known = this.#barriers[place.mode];
    if (known === undefined || isBefore(waitOf(known), waitOf(place))) this.#barriers[place.mode] = place;
  }

  #isFree(place: Place, ahead: number): boolean {
    if (!place.special) return ((CONFLICTS[place.mode] as number) & (this.heldMask | ahead)) === 0;
    if (this.isCovered(place)) return true;
    return ((CONFLICTS[place.mode] as number) & ahead) === 0 && this.fits(place);
  }

  #rescanUnits(opened: Ticket[], inserted: Place | undefined): void {
    let sum = this.used;
    for (let place = this.head; place !== undefined; place = place.next) {
      sum += place.units;
      const wasOpen = place.open;
      this.#setOpen(place, sum <= this.of, opened);
      // Open places come first: behind one that stays closed, none changes, unless one was put in between.
      if (!wasOpen && !place.open && place !== inserted) return;
    }
  }

  #setOpen(place: Place, open: boolean, opened: Ticket[]): void {
    if (place.open === open) return;
    place.open = open;
    const wait = waitOf(place);
    if (open) {
      this.closed -= 1;
      wait.blocked -= 1;
      if (wait.blocked === 0) opened.push(place.ticket);
    } else {
      this.closed += 1;
      wait.blocked += 1;
    }
  }

  #clashesAhead(place: Place, from: Place | undefined): boolean {
    const against = CONFLICTS[place.mode] as number;
    if ((against & this.waitMask) === 0) return false;
    for (let at = from; at !== undefined; at = at.previous) {
      if ((against & (1 << at.mode)) !== 0) return true;
      // One of the same mode that is open has seen everything in front of it.
      if (at.open && at.mode === place.mode && !at.special) return false;
    }
    return false;
  }

  #pass(passed: Place, by: Place, met: Set<Ticket> | undefined): void {
    if (!clash(by, passed)) return;
    if (met?.has(passed.ticket) !== true) {
      met?.add(passed.ticket);
      const wait = waitOf(passed);
      wait.overtaken += 1;
      if (wait.overtaken >= wait.order.maxOvertakes) {
        for (const place of passed.ticket.places()) if (place.queued) place.entry.setBarrier(place);
      }
    }
    if (passed.open && passed.mode !== UNITS && !passed.special) this.#setOpen(passed, false, NONE);
  }

  #moveBarrier(place: Place): void {
    let at = place.previous;
    while (
      at !== undefined &&
      (at.mode !== place.mode || waitOf(at).overtaken < waitOf(at).order.maxOvertakes)
    ) {
      at = at.previous;
    }
    (this.#barriers as (Place | undefined)[])[place.mode] = at;
  }

  #link(place: Place, after: Place | undefined): void {
    place.queued = true;
    place.previous = after;
    place.next = after === undefined ? this.head : after.next;
    if (after === undefined) this.head = place;
    else after.next = place;
    if (place.next === undefined) this.tail = place;
    else place.next.previous = place;
    this.waiting += 1;
    if (place.special) this.special += 1;
    this.#countWait(place, 1);
    if (waitOf(place).overtaken >= waitOf(place).order.maxOvertakes) this.setBarrier(place);
  }

  #countWait(place: Place, by: 1 | -1): void {
    this.waitUnits += by * place.units;
    this.#waits ??= [0, 0, 0, 0, 0, 0];
    const count = (this.#waits[place.mode] as number) + by;
    this.#waits[place.mode] = count;
    if (count === 0) this.waitMask &= ~(1 << place.mode);
    else this.waitMask |= 1 << place.mode;
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

  #onlyOwn(place: Place, against: number): boolean {
    const holder = place.ticket.holder;
    if (holder === undefined) return false;
    for (let mode = 0; mode < UNITS; mode++) {
      if ((against & (1 << mode)) === 0) continue;
      if (this.#countOf(mode) > holder.countAt(this, mode)) return false;
    }
    return true;
  }
}

/** Whether others may wait for a waiter's owner by anything but this one queue. */
function hasOtherTies({ holder, more }: Ticket): boolean {
  return more !== undefined || (holder !== undefined && (holder.held > 0 || holder.waiting > 1));
}

/** Nothing is granted while a newcomer passes others: they are closed only. */
const NONE: Ticket[] = [];

/** For each wanted mode the bits of the held modes that include it. */
const COVERED_BY: readonly number[] = [0, 1, 2, 3, 4].map((wanted) =>
  COVERS.reduce((mask, covered, held) => ((covered & (1 << wanted)) === 0 ? mask : mask | (1 << held)), 0),
);
