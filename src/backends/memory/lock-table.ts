import { checkId } from '../../core/check.ts';
import { CONFLICTS, EXCLUSIVE, isIntent, modeIndex, SHARED, UNITS, UPDATE } from '../../core/lock-modes.ts';
import type { LockAnswer, LockRequest, LockWish } from '../../core/ports/locks.ts';
import type { BackendTime, SessionNumber } from '../../core/ports/words.ts';
import { grantOf } from './lock-answer.ts';
import { LockArrivals } from './lock-arrivals.ts';
import { LockDirectory } from './lock-directory.ts';
import type { LockEntry, LockHolder, LockTicket, Place } from './lock-entry.ts';
import { LockLeases, leaseOf } from './lock-leases.ts';
import { LockNotices } from './lock-notices.ts';
import { justBeforeStuck } from './lock-order.ts';
import { convert, hold, insertAll, preparePlace, release, revert, takeOut, withdraw } from './lock-places.ts';
import { blocksAny, letOwnIn, mustQueueToPass, rankFor, rescan, unqueue, wouldOpen } from './lock-queue.ts';
import { BUSY, CAPACITY, LOST, type Refusal, refusalOf } from './lock-refusal.ts';
import { Ticket, type Waiting } from './lock-ticket.ts';
import type { MemoryCore } from './memory-core.ts';

const NO_UNITS = { units: 0, of: 0 };

/**
 * The lock table. Every method leaves it consistent and hands on to the next waiters before it returns; listeners are told by `notices`,
 * last, and may call in again. Cost: an uncontended lock one map look-up and one of its owner, a release of a contended one nothing that
 * grows with the queue.
 */
export class LockTable {
  readonly directory = new LockDirectory();
  readonly notices: LockNotices;
  readonly leases: LockLeases;
  readonly #core: MemoryCore;
  readonly #arrivals = new LockArrivals();

  constructor(core: MemoryCore) {
    this.#core = core;
    this.notices = new LockNotices(core);
    this.leases = new LockLeases(core.clock, (ticket, at) => {
      this.expire(ticket, at);
      this.notices.tell();
    });
  }

  now(): BackendTime {
    return this.#core.clock.now();
  }

  /** A reading of the clock that calls of one turn share: tokens, ages and ranks are made of it, no lease ends by it. */
  stamp(): BackendTime {
    return this.#core.clock.coarse();
  }

  // ── requests

  /** One resource in one mode for a session lease: the commonest request, in as few steps as it takes. */
  one(session: SessionNumber, resource: string, mode: number, wish: LockWish): LockTicket | Refusal {
    let entry = this.directory.entries.get(resource);
    if (entry === undefined) entry = this.directory.newEntry(checkId(resource, 'resource'));
    else if (entry.of > 0 && entry.idle) entry.of = 0;
    else if (entry.of > 0) return CAPACITY;
    else if (entry.leased > 0) this.#expireHolders(entry, this.now());
    const owner = wish.single ? undefined : wish.holder;
    const holder = owner === undefined ? undefined : this.directory.holderFor(owner);
    const ticket: LockTicket = new Ticket(owner, holder, session, wish, entry, mode, 0);
    ticket.inPlace = true;
    const at = this.stamp();
    if (
      entry.head !== undefined ||
      ((CONFLICTS[mode] as number) & entry.heldMask) !== 0 ||
      (holder !== undefined && ownsThere(ticket))
    ) {
      return this.#contend(ticket, wish, at);
    }
    ticket.token = this.#core.clock.token(at);
    entry.hold(ticket);
    // None of its owner's waits is for this resource: its queue is empty.
    holder?.add(ticket);
    return ticket;
  }

  #contend(ticket: LockTicket, wish: LockWish, at: BackendTime): LockTicket | Refusal {
    if (ticket.holder?.first !== undefined) preparePlace(ticket, undefined);
    return refusalOf(ticket, wish.reentrant) ?? this.#decide(ticket, wish, undefined, at);
  }

  /** Grants, queues or refuses: what comes back is held or waits, or is the reason why not. */
  ask(session: SessionNumber, request: LockRequest, inPlace = false): LockTicket | Refusal {
    const at = this.stamp();
    const { owner } = request;
    const upgrade =
      request.upgradeOf === undefined ? undefined : this.directory.held(session, request.upgradeOf);
    if (request.upgradeOf !== undefined && upgrade === undefined) return LOST;
    const isKnown = upgrade !== undefined || owner.single !== true;
    const holder = isKnown ? this.directory.holderFor(owner, upgrade) : undefined;
    let ticket: LockTicket | undefined;
    if (request.items.length > 1) this.directory.makeRoom(request.items.length);
    for (const { resource, mode } of request.items) {
      const { units, of } = typeof mode === 'string' ? NO_UNITS : mode;
      const entry = this.#entryFor(resource, of);
      if (entry === undefined) return CAPACITY;
      const place: Place =
        ticket === undefined
          ? new Ticket(owner, holder, session, request.listener, entry, modeIndex(mode), units)
          : ticket.addPlace(entry, modeIndex(mode), units);
      ticket ??= place;
    }
    // Looking for each resource has ended leases there that had run out: never convert one of these.
    if (upgrade !== undefined && upgrade.state !== 'held') return LOST;
    if (ticket === undefined) return BUSY;
    if (upgrade !== undefined || holder?.first !== undefined) {
      for (const place of ticket.places()) preparePlace(place, upgrade);
    }
    ticket.inPlace = inPlace;
    return refusalOf(ticket, request.reentrant) ?? this.#decide(ticket, request, upgrade, at);
  }

  #decide(
    ticket: LockTicket,
    wish: Pick<LockRequest, 'priority' | 'order' | 'wait' | 'lease'>,
    upgrade: LockTicket | undefined,
    at: BackendTime,
  ): LockTicket | Refusal {
    const wait = this.#arrivals.waitOf(wish, upgrade !== undefined, at);
    ticket.wait = wait;
    const { more } = ticket;
    if (upgrade === undefined) {
      wait.rank = rankFor(ticket, wait.rank);
      if (more !== undefined) for (const place of more) wait.rank = rankFor(place, wait.rank);
    }
    const free =
      wouldOpen(ticket, wait) && (more === undefined || more.every((place) => wouldOpen(place, wait)));
    if (!free && !wish.wait) {
      ticket.wait = undefined;
      return BUSY;
    }
    this.#arrivals.queued(wait);
    if (wish.lease !== 'session') ticket.lease = leaseOf(wish.lease.leaseMs);
    if (!free || ticket.places().some(mustQueueToPass)) return this.#enqueue(ticket, wait, at);
    return this.#grantNow(ticket, at, []);
  }

  #enqueue(ticket: LockTicket, wait: Waiting, at: BackendTime): LockTicket {
    const opened: LockTicket[] = [];
    ticket.state = 'waiting';
    const { holder } = ticket;
    insertAll(ticket, opened);
    if (wait.blocked === 0) return this.#grantNow(ticket, at, opened);
    if (holder !== undefined) {
      holder.owner = ticket.owner;
      holder.addWait(ticket);
    }
    if (opened.length > 0) this.grantAll(opened, at);
    wait.suspect ||= holder !== undefined && blocksAny(holder, ticket);
    if (wait.suspect) this.expose(ticket);
    return ticket;
  }

  #grantNow(ticket: LockTicket, at: BackendTime, opened: LockTicket[]): LockTicket {
    this.#grant(ticket, at, opened);
    if (opened.length > 0) this.grantAll(opened, at);
    return ticket;
  }

  /** Makes a waiting owner of one request known by its id. */
  expose(ticket: LockTicket): void {
    if (ticket.state !== 'waiting' || ticket.holder !== undefined) return;
    ticket.holder = this.directory.holderFor(ticket.owner);
    ticket.holder.addWait(ticket);
  }

  /** The id under which a ticket's owner is found, if it waits. */
  nodeOf(ticket: LockTicket): string {
    if (ticket.holder === undefined) this.expose(ticket);
    return ticket.owner.id;
  }

  // ── grants

  /** Gives a ticket all its places: from the queues, or at once. */
  #grant(ticket: LockTicket, at: BackendTime, opened: LockTicket[]): void {
    const { holder, more, upgrade } = ticket;
    const token = this.#core.clock.token(at);
    if (ticket.state === 'waiting') {
      unqueue(ticket);
      if (more !== undefined) for (const place of more) unqueue(place);
      if (holder?.lists(ticket) === true) holder.removeWait(ticket);
    }
    if (upgrade !== undefined) {
      convert(ticket, upgrade, token);
      if (holder?.firstWait !== undefined) letOwnIn(holder, upgrade, opened);
      return;
    }
    hold(ticket, token);
    if (more !== undefined) for (const place of more) hold(place, token);
    ticket.state = 'held';
    ticket.wait = undefined;
    if (ticket.token !== token) ticket.grantedAt = at;
    if (holder !== undefined) {
      holder.add(ticket);
      if (holder.firstWait !== undefined) letOwnIn(holder, ticket, opened);
    }
    if (ticket.lease !== undefined) this.leases.start(ticket, ticket.lease);
  }

  /** Grants what became open, in the order in which it was found, and notes who is to be told. */
  grantAll(opened: LockTicket[], at: BackendTime): readonly LockTicket[] {
    if (opened.length === 0) return opened;
    const granted: LockTicket[] = [];
    // It grows while it is worked off: what an owner has come to hold is not in the way of its other waits.
    for (let i = 0; i < opened.length; i++) {
      const ticket = opened[i] as LockTicket;
      if (ticket.state !== 'waiting' || ticket.wait?.blocked !== 0) continue;
      if (this.#endsWithLease(ticket, opened)) continue;
      this.#grant(ticket, at, opened);
      granted.push(ticket);
      this.notices.add(ticket, ticket.upgrade);
    }
    return granted;
  }

  /** An upgrade whose grant has run out while it waited ends with it, also when the timer of that is late. */
  #endsWithLease({ upgrade }: LockTicket, opened: LockTicket[]): boolean {
    if (upgrade === undefined || !this.leases.hasExpired(upgrade)) return false;
    this.end(upgrade, opened);
    this.notices.add(upgrade, LOST);
    return true;
  }

  // ── ends

  /** Gives a grant back, or withdraws a wait. What becomes open by it is added to `opened`. */
  end(ticket: LockTicket, opened: LockTicket[]): void {
    const { holder, state } = ticket;
    if (state === 'held' && holder?.firstWait !== undefined) this.#endUpgrades(ticket, holder, opened);
    ticket.state = 'ended';
    if (state === 'waiting') withdraw(ticket, opened);
    else if (state === 'held') release(ticket, opened);
    ticket.forget();
    // Owners of a single request leave no record behind.
    if (holder?.owner.single === true && holder.idle) this.directory.holders.delete(holder.owner.id);
  }

  /** The same for the quick way: complete, with those who go on by it. False: it had ended. */
  give(ticket: LockTicket): boolean {
    if (ticket.state === 'held' && ticket.isBare && hasNoOtherBusiness(ticket.holder)) {
      ticket.state = 'ended';
      ticket.holder?.remove(ticket);
      if (ticket.entry.free(ticket)) this.#handOn(ticket.entry);
      return true;
    }
    if (this.leases.hasExpired(ticket)) {
      this.expire(ticket, this.now());
      this.notices.tell();
      return false;
    }
    const opened: LockTicket[] = [];
    const isCurrent = ticket.state !== 'ended';
    const isGiven = isCurrent || this.revert(ticket, opened);
    if (isCurrent) this.end(ticket, opened);
    if (opened.length > 0) this.grantAll(opened, this.stamp());
    this.notices.tell();
    return isGiven;
  }

  /** Takes back an upgrade of which its owner hasn't heard: the grant goes on as it was. False: it is none, or over. */
  revert(ticket: LockTicket, opened: LockTicket[]): boolean {
    if (!ticket.isConversion) return false;
    const upgrade = ticket.upgrade as LockTicket;
    if (this.leases.hasExpired(upgrade)) {
      this.expire(upgrade, this.now());
      return false;
    }
    revert(ticket, upgrade, opened);
    return true;
  }

  /** A resource has become free, or freer: whoever can go on by it does. */
  #handOn(entry: LockEntry): void {
    const { head } = entry;
    if (head !== undefined && entry.heldMask === 0 && entry.queue?.special === 0 && isSimple(head)) {
      this.#handTo(head, entry);
      return;
    }
    const opened: LockTicket[] = [];
    rescan(entry, opened);
    if (opened.length > 0) this.grantAll(opened, this.stamp());
    this.notices.tell();
  }

  /** The commonest: the head of the queue wants one resource for itself, and everybody behind it goes on waiting. */
  #handTo(ticket: LockTicket, entry: LockEntry): void {
    const { holder } = ticket;
    unqueue(ticket);
    ticket.token = this.#core.clock.token(this.stamp());
    entry.hold(ticket);
    ticket.state = 'held';
    ticket.wait = undefined;
    if (holder !== undefined) {
      holder.removeWait(ticket);
      holder.add(ticket);
    }
    this.notices.tellGranted(ticket);
  }

  /** With a grant, waits to upgrade it end. */
  #endUpgrades(ticket: LockTicket, holder: LockHolder, opened: LockTicket[]): void {
    for (const other of holder.waits()) {
      if (other.upgrade !== ticket) continue;
      this.end(other, opened);
      this.notices.add(other, LOST);
    }
  }

  /** Ends a wait from outside: a victim, a dead session. */
  endWait(ticket: LockTicket, answer: LockAnswer, at: BackendTime): void {
    const opened: LockTicket[] = [];
    this.end(ticket, opened);
    this.notices.add(ticket, answer);
    this.grantAll(opened, at);
  }

  /** A lease ran out. */
  expire(ticket: LockTicket, at: BackendTime): void {
    this.endWait(ticket, LOST, at);
  }

  // ── changes

  /** X and U become S, intents follow. */
  downgrade(ticket: LockTicket, opened: LockTicket[]): void {
    if (ticket.converted !== undefined) {
      ticket.converted.forget();
      ticket.converted = undefined;
    }
    for (const place of ticket.places()) {
      if (place.mode === UNITS) continue;
      const mode = isIntent(place.mode) ? 0 : SHARED;
      if (place.mode === mode || (mode === SHARED && place.mode < UPDATE)) continue;
      place.entry.convert(place, mode);
      rescan(place.entry, opened);
    }
  }

  /** Cuts a grant's lease, for good; its holder is told. */
  revoke(ticket: LockTicket, graceMs: number, reason: string, at: BackendTime, opened: LockTicket[]): void {
    if (graceMs > 0) this.leases.cut(ticket, graceMs, reason, at);
    else this.end(ticket, opened);
    const grant = grantOf(ticket, at);
    this.notices.add(ticket, graceMs > 0 ? grant : { ...grant, expiresInMs: 0, revoked: reason });
  }

  /** See `LiveLocks.pass`. */
  pass(owner: string, stuck: { has(owner: string): boolean }): boolean {
    const holder = this.directory.holders.get(owner);
    if (holder === undefined) return false;
    const at = this.now();
    let moved = false;
    for (const ticket of holder.waits()) {
      const rank = justBeforeStuck(ticket, stuck);
      if (rank === undefined) continue;
      this.#move(ticket, rank, at);
      moved = true;
    }
    this.notices.tell();
    return moved;
  }

  #move(ticket: LockTicket, rank: number, at: BackendTime): void {
    const opened: LockTicket[] = [];
    const wait = ticket.wait as Waiting;
    const passed = takeOut(ticket);
    this.#arrivals.moved(wait, rank);
    insertAll(ticket, opened, passed);
    this.grantAll(opened, at);
  }

  // ── records

  /** `undefined`: it is in use with another capacity. */
  #entryFor(resource: string, of: number): LockEntry | undefined {
    const entry = this.directory.entries.get(resource) ?? this.directory.newEntry(resource);
    if (entry.leased > 0) this.#expireHolders(entry, this.now());
    if (entry.of === of) return entry;
    if (!entry.idle) return undefined;
    entry.of = of;
    return entry;
  }

  #expireHolders(entry: LockEntry, at: BackendTime): void {
    for (let place = entry.holders; place !== undefined; ) {
      const { next, ticket } = place;
      if (ticket.lease !== undefined && ticket.lease.expiresAt <= at) this.expire(ticket, at);
      place = next;
    }
  }
}

/** Whether an owner with a name holds the resource already: it might share it with itself. */
function ownsThere({ holder, entry }: LockTicket): boolean {
  return entry.holders !== undefined && holder?.first !== undefined && holder.placeAt(entry) !== undefined;
}

/** A waiter for one resource for itself, whose owner waits for nothing else: a grant of it opens no other wait. */
function isSimple(head: Place): boolean {
  if (head.mode !== EXCLUSIVE || !head.isBare) return false;
  return head.holder === undefined || head.holder.waiting === 1;
}

/** An owner whose grant ends without any other consequence: it waits for nothing, and its record is kept. */
function hasNoOtherBusiness(holder: LockHolder | undefined): boolean {
  return holder === undefined || (holder.firstWait === undefined && holder.owner.single !== true);
}
