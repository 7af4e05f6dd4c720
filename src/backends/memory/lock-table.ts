import { checkId } from '../../core/check.ts';
import { CONFLICTS, EXCLUSIVE, isIntent, modeIndex, SHARED, UNITS, UPDATE } from '../../core/lock-modes.ts';
import type { LockAnswer, LockListener, LockRequest, LockWish, Owner } from '../../core/ports/locks.ts';
import type { BackendTime, SessionNumber, Token } from '../../core/ports/words.ts';
import {
  FurtherPlace,
  Holder,
  type LeaseState,
  LockEntry,
  type Place,
  Ticket,
  TicketIndex,
  type Waiting,
} from './lock-entry.ts';
import { ageStepUs, coveringToken, grantOf, justBeforeStuck, preparePlace, refusalOf } from './lock-rules.ts';
import type { MemoryCore } from './memory-core.ts';

/** Idle resources and owners are kept for the next use; when this many records exist, idle ones are dropped. */
const SWEEP_AT = 16_384;
const NEVER = Number.POSITIVE_INFINITY;
/** Less urgent than any priority. */
const PASSAGES = -1_000_000;
export const LOST: Refusal = { status: 'lost' };

type Notice = LockAnswer | Ticket | undefined;

export type Refusal = Extract<LockAnswer, { readonly status: 'refused' | 'lost' }>;

const CAPACITY: Refusal = { status: 'refused', why: 'capacity' };
const BUSY: Refusal = { status: 'refused', why: 'busy' };

/**
 * The lock table. Every method leaves it consistent and hands on to the next waiters before it returns; listeners are told by
 * {@link tell}, last, and may call in again. Cost: an uncontended lock one map look-up and one of its owner, a release of a contended one
 * nothing that grows with the queue.
 */
export class LockTable {
  readonly entries = new Map<string, LockEntry>();
  readonly holders = new Map<string, Holder>();
  readonly index = new TicketIndex();
  readonly #core: MemoryCore;
  /** Ranks count from the first wait: small numbers, exact to the µs and below. */
  #origin: number | undefined;
  #entriesLimit = SWEEP_AT;
  #holdersLimit = SWEEP_AT;
  #lastArrival = 0;
  #lastPassage = PASSAGES;
  /** Who is to be told what, in pairs: grown in one call and told at its end. */
  #notices: (Ticket | Notice)[] = [];
  #telling = false;

  constructor(core: MemoryCore) {
    this.#core = core;
  }

  now(): BackendTime {
    return this.#core.clock.now();
  }

  // ── requests

  /** One resource in one mode for a session lease: the commonest request, in as few steps as it takes. */
  one(session: SessionNumber, resource: string, mode: number, wish: LockWish): Ticket | Refusal {
    let entry = this.entries.get(resource);
    if (entry === undefined) entry = this.#newEntry(checkId(resource, 'resource'));
    else if (entry.holders === undefined && entry.head === undefined) entry.of = 0;
    else if (entry.of > 0) return CAPACITY;
    else if (entry.leased > 0) this.#expireHolders(entry, this.now());
    const owner = wish.single ? undefined : wish.holder;
    const holder = owner === undefined ? undefined : this.#holderFor(owner);
    const ticket = new Ticket(owner, holder, session, wish, entry, mode, 0);
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
    if (holder !== undefined) {
      holder.add(ticket);
      if (holder.firstWait !== undefined) this.#letOwnIn(holder, ticket, at);
    }
    return ticket;
  }

  #contend(ticket: Ticket, wish: LockWish, at: BackendTime): Ticket | Refusal {
    if (ticket.holder?.first !== undefined) preparePlace(ticket, undefined);
    return refusalOf(ticket, wish.reentrant) ?? this.#decide(ticket, wish, undefined, at);
  }

  /** What an owner has come to hold is not in the way of its other waits. */
  #letOwnIn(holder: Holder, ticket: Ticket, at: BackendTime): void {
    const opened: Ticket[] = [];
    markOwn(holder, ticket, opened);
    this.grantAll(opened, at);
  }

  /** Grants, queues or refuses: what comes back is held or waits, or is the reason why not. */
  ask(session: SessionNumber, request: LockRequest, inPlace = false): Ticket | Refusal {
    const at = this.stamp();
    const { owner } = request;
    const upgrade = request.upgradeOf === undefined ? undefined : this.#held(session, request.upgradeOf);
    if (request.upgradeOf !== undefined && upgrade === undefined) return LOST;
    const holder = upgrade === undefined ? this.#ownHolder(owner) : this.#adopt(upgrade, owner);
    let ticket: Ticket | undefined;
    for (const { resource, mode } of request.items) {
      const of = typeof mode === 'string' ? 0 : mode.of;
      const entry = this.#entryFor(resource, of);
      if (entry === undefined) return CAPACITY;
      const units = typeof mode === 'string' ? 0 : mode.units;
      let place: Place;
      if (ticket === undefined) {
        ticket = new Ticket(owner, holder, session, request.listener, entry, modeIndex(mode), units);
        place = ticket;
      } else {
        place = new FurtherPlace(ticket, entry, modeIndex(mode), units);
        ticket.addPlace(place);
      }
      if (upgrade !== undefined || holder?.first !== undefined) preparePlace(place, upgrade);
    }
    if (ticket === undefined) return BUSY;
    ticket.inPlace = inPlace;
    return refusalOf(ticket, request.reentrant) ?? this.#decide(ticket, request, upgrade, at);
  }

  #decide(
    ticket: Ticket,
    wish: Pick<LockRequest, 'priority' | 'order' | 'wait' | 'lease'>,
    upgrade: Ticket | undefined,
    at: BackendTime,
  ): Ticket | Refusal {
    this.#origin ??= at;
    const arrival = Math.max(this.#lastArrival + 1, at - this.#origin);
    const wait: Waiting = {
      order: wish.order,
      since: at,
      arrival,
      rank: upgrade === undefined ? arrival - wish.priority * ageStepUs(wish.order) : -NEVER,
      urgency: wish.priority,
      overtaken: 0,
      blocked: 0,
      ahead: 0,
      suspect: false,
      upgrade,
    };
    ticket.wait = wait;
    const { more } = ticket;
    if (upgrade === undefined) {
      wait.rank = ticket.entry.rankFor(ticket, wait.rank);
      if (more !== undefined) for (const place of more) wait.rank = place.entry.rankFor(place, wait.rank);
    }
    const free =
      ticket.entry.wouldOpen(ticket, wait) &&
      (more === undefined || more.every((place) => place.entry.wouldOpen(place, wait)));
    if (!free && !wish.wait) {
      ticket.wait = undefined;
      return BUSY;
    }
    this.#lastArrival = arrival;
    if (wish.lease !== 'session') ticket.lease = leaseOf(wish.lease.leaseMs);
    if (!free || ticket.places().some((place) => place.entry.mustQueueToPass(place)))
      return this.#enqueue(ticket, wait, at);
    return this.#grantNow(ticket, at, []);
  }

  #enqueue(ticket: Ticket, wait: Waiting, at: BackendTime): Ticket {
    const opened: Ticket[] = [];
    ticket.state = 'waiting';
    const { more, holder } = ticket;
    if (more === undefined) ticket.entry.insert(ticket, opened);
    else {
      const met = new Set<Ticket>();
      for (const place of ticket.places()) place.entry.insert(place, opened, met);
    }
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

  #grantNow(ticket: Ticket, at: BackendTime, opened: Ticket[]): Ticket {
    this.#grant(ticket, at, opened);
    if (opened.length > 0) this.grantAll(opened, at);
    return ticket;
  }

  /** Makes a waiting owner of one request known by its id. */
  expose(ticket: Ticket): void {
    if (ticket.state !== 'waiting' || ticket.holder !== undefined) return;
    ticket.holder = this.#holderFor(ticket.owner);
    ticket.holder.addWait(ticket);
  }

  /** The id under which a ticket's owner is found, if it waits. */
  nodeOf(ticket: Ticket): string {
    if (ticket.holder === undefined) this.expose(ticket);
    return ticket.owner.id;
  }

  /** Gives a ticket all its places: from the queues, or at once. */
  #grant(ticket: Ticket, at: BackendTime, opened: Ticket[]): void {
    const upgrade = ticket.wait?.upgrade;
    const { holder, more } = ticket;
    const token = this.#core.clock.token(at);
    if (ticket.state === 'waiting') {
      ticket.entry.unqueue(ticket);
      if (more !== undefined) for (const place of more) place.entry.unqueue(place);
      if (holder !== undefined && isLinkedWait(ticket, holder)) holder.removeWait(ticket);
    }
    if (upgrade !== undefined) {
      this.#convert(ticket, token);
      return;
    }
    this.#hold(ticket, token);
    if (more !== undefined) for (const place of more) this.#hold(place, token);
    ticket.state = 'held';
    ticket.wait = undefined;
    if (ticket.token !== token) ticket.grantedAt = at;
    if (holder !== undefined) {
      holder.add(ticket);
      if (holder.firstWait !== undefined) markOwn(holder, ticket, opened);
    }
    if (ticket.lease !== undefined) this.#startLease(ticket, ticket.lease);
  }

  #hold(place: Place, token: Token): void {
    place.token = (place.special ? coveringToken(place) : undefined) ?? token;
    place.entry.hold(place);
  }

  /** An upgrade is granted: the first grant goes on in the new modes, with new tokens. */
  #convert(ticket: Ticket, token: Token): void {
    const since = (ticket.target as Place).ticket.grantedAt;
    for (const place of ticket.places()) {
      const target = place.target as Place;
      if (target.mode !== place.mode) place.entry.convert(target, place.mode);
      target.token = token;
    }
    (ticket.target as Place).ticket.grantedAt = since;
    ticket.state = 'ended';
    ticket.forget();
  }

  /** Grants what became open, in the order in which it was found, and notes who is to be told. */
  grantAll(opened: Ticket[], at: BackendTime): readonly Ticket[] {
    if (opened.length === 0) return opened;
    const granted: Ticket[] = [];
    // It grows while it is worked off: what an owner has come to hold is not in the way of its other waits.
    for (let i = 0; i < opened.length; i++) {
      const ticket = opened[i] as Ticket;
      if (ticket.state !== 'waiting' || ticket.wait?.blocked !== 0) continue;
      const { upgrade } = ticket.wait;
      this.#grant(ticket, at, opened);
      granted.push(ticket);
      this.notice(ticket, upgrade);
    }
    return granted;
  }

  // ── ends

  /** Gives a grant back, or withdraws a wait. What becomes open by it is added to `opened`. */
  end(ticket: Ticket, opened: Ticket[]): void {
    if (ticket.state === 'waiting') this.#withdraw(ticket, opened);
    else if (ticket.state === 'held') {
      if (ticket.holder?.firstWait !== undefined) this.#endUpgrades(ticket, ticket.holder, opened);
      this.#release(ticket, opened);
    }
    ticket.forget();
    const { holder } = ticket;
    // Owners of a single request leave no record behind.
    if (holder?.owner.single === true && holder.idle) this.holders.delete(holder.owner.id);
  }

  /** The same for the quick way: complete, with those who go on by it. False: it had ended. */
  give(ticket: Ticket): boolean {
    if (ticket.state === 'ended') return false;
    if (ticket.state === 'held' && ticket.isBare && hasNoOtherBusiness(ticket.holder)) {
      ticket.state = 'ended';
      ticket.holder?.remove(ticket);
      if (ticket.entry.free(ticket)) this.#handOn(ticket.entry);
      return true;
    }
    if (this.hasExpired(ticket)) {
      this.expire(ticket, this.now());
      this.tell();
      return false;
    }
    const opened: Ticket[] = [];
    this.end(ticket, opened);
    if (opened.length > 0) this.grantAll(opened, this.stamp());
    this.tell();
    return true;
  }

  /** A resource has become free, or freer: whoever can go on by it does. */
  #handOn(entry: LockEntry): void {
    const { head } = entry;
    if (head !== undefined && entry.heldMask === 0 && entry.special === 0 && isSimple(head)) {
      this.#handTo(head as Ticket, entry);
      return;
    }
    const opened: Ticket[] = [];
    entry.rescan(opened);
    if (opened.length > 0) this.grantAll(opened, this.stamp());
    this.tell();
  }

  /** The commonest: the head of the queue wants one resource for itself, and everybody behind it goes on waiting. */
  #handTo(ticket: Ticket, entry: LockEntry): void {
    const { holder } = ticket;
    entry.unqueue(ticket);
    ticket.token = this.#core.clock.token(this.stamp());
    entry.hold(ticket);
    ticket.state = 'held';
    ticket.wait = undefined;
    if (holder !== undefined) {
      holder.removeWait(ticket);
      holder.add(ticket);
    }
    if (this.#telling || this.#notices.length > 0) {
      this.notice(ticket, undefined);
      return;
    }
    this.#telling = true;
    this.#tellOne(ticket, undefined);
    this.#telling = false;
    this.tell();
  }

  /** With a grant, waits to upgrade it end. */
  #endUpgrades(ticket: Ticket, holder: Holder, opened: Ticket[]): void {
    for (const other of holder.waits()) {
      if (other.wait?.upgrade !== ticket) continue;
      this.end(other, opened);
      this.notice(other, LOST);
    }
  }

  #withdraw(ticket: Ticket, opened: Ticket[]): void {
    ticket.state = 'ended';
    const { holder } = ticket;
    holder?.removeWait(ticket);
    for (const place of ticket.places()) {
      place.entry.unqueue(place);
      place.entry.rescan(opened);
    }
  }

  #release(ticket: Ticket, opened: Ticket[]): void {
    ticket.state = 'ended';
    ticket.lease?.timer?.cancel();
    // The owner's own waits see its holds: it must be out of them before they are looked at.
    ticket.holder?.remove(ticket);
    if (ticket.entry.free(ticket)) ticket.entry.rescan(opened);
    if (ticket.more === undefined) return;
    for (const place of ticket.more) if (place.entry.free(place)) place.entry.rescan(opened);
  }

  /** Ends a wait from outside: a victim, a dead session. */
  endWait(ticket: Ticket, answer: LockAnswer, at: BackendTime): void {
    const opened: Ticket[] = [];
    this.end(ticket, opened);
    this.notice(ticket, answer);
    this.grantAll(opened, at);
  }

  /** X and U become S, intents follow. */
  downgrade(ticket: Ticket, opened: Ticket[]): void {
    for (const place of ticket.places()) {
      if (place.mode === UNITS) continue;
      const mode = isIntent(place.mode) ? 0 : SHARED;
      if (place.mode === mode || (mode === SHARED && place.mode < UPDATE)) continue;
      place.entry.convert(place, mode);
      place.entry.rescan(opened);
    }
  }

  /** Cuts a grant's lease, for good; its holder is told. */
  revoke(ticket: Ticket, graceMs: number, reason: string, at: BackendTime, opened: Ticket[]): void {
    if (graceMs <= 0) {
      this.end(ticket, opened);
      this.notice(ticket, { ...grantOf(ticket, at), expiresInMs: 0, revoked: reason });
      return;
    }
    if (ticket.lease === undefined) {
      ticket.lease = leaseOf(0);
      for (const { entry } of ticket.places()) entry.leased += 1;
    }
    const { lease } = ticket;
    lease.revoked ??= reason;
    lease.expiresAt = Math.min(lease.expiresAt, at + graceMs * 1_000);
    this.#armLease(ticket, lease, at);
    this.notice(ticket, grantOf(ticket, at));
  }

  // ── leases

  hasExpired(ticket: Ticket): boolean {
    return ticket.lease !== undefined && ticket.state === 'held' && ticket.lease.expiresAt <= this.now();
  }

  expire(ticket: Ticket, at: BackendTime): void {
    const opened: Ticket[] = [];
    this.end(ticket, opened);
    this.notice(ticket, LOST);
    this.grantAll(opened, at);
  }

  #startLease(ticket: Ticket, lease: LeaseState): void {
    const at = this.now();
    lease.expiresAt = at + lease.leaseMs * 1_000;
    this.#armLease(ticket, lease, at);
  }

  /** One timer for a lease; renewals only move its end, and the timer looks again. */
  #armLease(ticket: Ticket, lease: LeaseState, at: BackendTime): void {
    lease.timer?.cancel();
    lease.timer = undefined;
    if (lease.expiresAt === NEVER) return;
    lease.timer = this.#core.clock.after((lease.expiresAt - at) / 1_000, () => {
      const now = this.now();
      if (ticket.state !== 'held') return;
      if (lease.expiresAt > now) this.#armLease(ticket, lease, now);
      else this.expire(ticket, now);
      this.tell();
    });
  }

  // ── order

  /** See `LiveLocks.pass`. */
  pass(owner: string, stuck: { has(owner: string): boolean }): boolean {
    const holder = this.holders.get(owner);
    if (holder === undefined) return false;
    const at = this.now();
    let moved = false;
    for (const ticket of holder.waits()) {
      const rank = justBeforeStuck(ticket, stuck);
      if (rank === undefined) continue;
      const opened: Ticket[] = [];
      const wait = ticket.wait as Waiting;
      for (const place of ticket.places()) {
        place.entry.unqueue(place);
        place.open = false;
      }
      wait.rank = rank;
      // Behind others that went to the same place before.
      this.#lastPassage -= 1;
      wait.urgency = this.#lastPassage;
      wait.blocked = 0;
      const met = new Set<Ticket>();
      for (const place of ticket.places()) place.entry.insert(place, opened, met);
      this.grantAll(opened, at);
      moved = true;
    }
    this.tell();
    return moved;
  }

  // ── telling

  /** @param what `undefined`: it was granted; a ticket: that one was upgraded by it */
  notice(ticket: Ticket, what: Notice): void {
    if (ticket.listener !== undefined) this.#notices.push(ticket, what);
    else if (!this.#core.hints.idle) this.#core.hint({ about: 'locks', resource: ticket.entry.resource });
  }

  /** Tells listeners what happened. A call of theirs back into the table is told by the outermost one, in order. */
  tell(): void {
    if (this.#telling || this.#notices.length === 0) return;
    this.#telling = true;
    while (this.#notices.length > 0) {
      const notices = this.#notices;
      this.#notices = [];
      for (let i = 0; i < notices.length; i += 2) this.#tellOne(notices[i] as Ticket, notices[i + 1]);
    }
    this.#telling = false;
  }

  /** A listener's exception must keep no other from hearing; it still ends up where uncaught ones do. */
  #tellOne(ticket: Ticket, what: Notice): void {
    const listener = ticket.listener as LockListener;
    try {
      if (what !== undefined && !(what instanceof Ticket)) listener.lockChanged(what);
      else if (ticket.inPlace) listener.lockGranted?.();
      else listener.lockChanged(grantOf(what ?? ticket, this.now(), ticket));
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  // ── records

  ticketsOf(session: SessionNumber): Ticket[] {
    const found = new Set<Ticket>();
    for (const entry of this.entries.values()) {
      for (let place = entry.holders; place !== undefined; place = place.next) found.add(place.ticket);
      for (let place = entry.head; place !== undefined; place = place.next) found.add(place.ticket);
    }
    return [...found].filter((ticket) => ticket.session === session);
  }

  #held(session: SessionNumber, ref: { readonly id: string; readonly token: Token }): Ticket | undefined {
    const ticket = ref instanceof Ticket ? ref : this.index.byId.get(ref.id);
    if (ticket?.state !== 'held' || ticket.token !== ref.token || ticket.session !== session)
      return undefined;
    return ticket;
  }

  /** `undefined`: it is in use with another capacity. */
  #entryFor(resource: string, of: number): LockEntry | undefined {
    const entry = this.entries.get(resource) ?? this.#newEntry(resource);
    if (entry.leased > 0) this.#expireHolders(entry, this.now());
    if (entry.of === of) return entry;
    if (!entry.idle) return undefined;
    entry.of = of;
    return entry;
  }

  /** A lease ends by the clock, also when its timer is late. */
  #expireHolders(entry: LockEntry, at: BackendTime): void {
    for (let place = entry.holders; place !== undefined; ) {
      const { next, ticket } = place;
      if (ticket.lease !== undefined && ticket.lease.expiresAt <= at) this.expire(ticket, at);
      place = next;
    }
  }

  #newEntry(resource: string): LockEntry {
    const { entries } = this;
    if (entries.size >= this.#entriesLimit) {
      for (const [name, entry] of entries) if (entry.idle) entries.delete(name);
      this.#entriesLimit = Math.max(SWEEP_AT, entries.size * 2);
    }
    const entry = new LockEntry(resource, this.index);
    entries.set(resource, entry);
    return entry;
  }

  #ownHolder(owner: Owner): Holder | undefined {
    return owner.single === true ? undefined : this.#holderFor(owner);
  }

  #holderFor(owner: Owner): Holder {
    const { holders } = this;
    const known = holders.get(owner.id);
    if (known !== undefined) return known;
    if (holders.size >= this.#holdersLimit) {
      for (const [id, holder] of holders) if (holder.idle) holders.delete(id);
      this.#holdersLimit = Math.max(SWEEP_AT, holders.size * 2);
    }
    const holder = new Holder(owner);
    holders.set(owner.id, holder);
    return holder;
  }

  /** The owner of a grant that is upgraded, found by its id from now on. */
  #adopt(upgrade: Ticket, owner: Owner): Holder {
    if (upgrade.holder !== undefined) return upgrade.holder;
    upgrade.holder = this.#holderFor(owner);
    upgrade.holder.add(upgrade);
    return upgrade.holder;
  }

  /** A reading of the clock that calls of one turn share: tokens, ages and ranks are made of it, no lease ends by it. */
  stamp(): BackendTime {
    return this.#core.clock.coarse();
  }
}

/** Waits of an owner at a resource that it has just come to hold by another request. */
function markOwn(holder: Holder, ticket: Ticket, opened: Ticket[]): void {
  for (const other of holder.waits()) {
    for (const place of other.places()) {
      if (!ticket.places().some((held) => held.entry === place.entry)) continue;
      place.entry.markSpecial(place);
      place.entry.rescan(opened);
    }
  }
}

/** Whether anybody waits for something this owner holds, or behind one of its waits but `except`. */
export function blocksAny(holder: Holder, except?: Ticket): boolean {
  for (let ticket = holder.first; ticket !== undefined; ticket = ticket.nextOwn) {
    if (ticket.entry.closed > 0) return true;
    if (ticket.more?.some((place) => place.entry.closed > 0) === true) return true;
  }
  for (let ticket = holder.firstWait; ticket !== undefined; ticket = ticket.nextOwn) {
    if (ticket === except) continue;
    if (ticket.next !== undefined) return true;
    if (ticket.more?.some((place) => place.next !== undefined) === true) return true;
  }
  return false;
}

/** Whether an owner with a name holds the resource already: it might share it with itself. */
function ownsThere({ holder, entry }: Ticket): boolean {
  return entry.holders !== undefined && holder?.first !== undefined && holder.placeAt(entry) !== undefined;
}

/** A waiter for one resource for itself, whose owner waits for nothing else: a grant of it opens no other wait. */
function isSimple(head: Place): boolean {
  if (!(head instanceof Ticket) || head.mode !== EXCLUSIVE || !head.isBare) return false;
  return head.holder === undefined || head.holder.waiting === 1;
}

/** An owner whose grant ends without any other consequence: it waits for nothing, and its record is kept. */
function hasNoOtherBusiness(holder: Holder | undefined): boolean {
  return holder === undefined || (holder.firstWait === undefined && holder.owner.single !== true);
}

function isLinkedWait(ticket: Ticket, holder: Holder): boolean {
  return holder.firstWait === ticket || ticket.previousOwn !== undefined;
}

function leaseOf(leaseMs: number): LeaseState {
  return { leaseMs, expiresAt: NEVER, timer: undefined, revoked: undefined };
}
