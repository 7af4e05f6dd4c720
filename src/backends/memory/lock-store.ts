import { CONFLICTS, conflict, isIntent, modeIndex, SHARED, UNITS, UPDATE } from '../../core/lock-modes.ts';
import type {
  CycleEdge,
  Grant,
  LiveLocks,
  LockAnswer,
  LockItem,
  LockListener,
  LockRelease,
  LockRequest,
  LockRow,
  LockStore,
  Owner,
  QuickGrant,
  QuickLocks,
  WaitRef,
  WaitSnapshot,
} from '../../core/ports/locks.ts';
import type {
  BackendTime,
  Operation,
  Page,
  PageRequest,
  SessionNumber,
  Stamped,
  Token,
} from '../../core/ports/words.ts';
import { Holder, justBefore, LockEntry, Place, Ticket, TicketIndex, type Waiting } from './lock-entry.ts';
import { liveLocks } from './lock-live.ts';
import { type LockFilter, listLocks, snapshotLocks } from './lock-pictures.ts';
import type { MemoryCore } from './memory-core.ts';
import type { SessionFollower } from './sessions.ts';

/** Calls of the quick way that share one reading of the clock, unless the loop turns before. */
const STAMP_LIFE = 64;
/** Idle resources and owners are kept for the next use; when this many records exist, idle ones are dropped. */
const SWEEP_AT = 16_384;
const NEVER = Number.POSITIVE_INFINITY;

export interface LockTable {
  readonly entries: Map<string, LockEntry>;
  readonly holders: Map<string, Holder>;
}

/**
 * Locks in memory. Every call is atomic, hands on to the next waiters before it returns, and tells listeners last, when the table is
 * consistent again. Cost: an uncontended lock two map look-ups, a release of a contended one nothing that grows with the queue.
 */
export class MemoryLockStore implements LockStore, SessionFollower {
  readonly quick: QuickLocks;
  readonly live: LiveLocks;
  readonly #core: MemoryCore;
  readonly #index = new TicketIndex();
  readonly #table: LockTable = { entries: new Map(), holders: new Map() };
  readonly #published = new Map<SessionNumber, readonly CycleEdge[]>();
  readonly #origin: number;
  #entriesLimit = SWEEP_AT;
  #holdersLimit = SWEEP_AT;
  #lastArrival = 0;
  #alive: SessionNumber | undefined;
  #stampAt = 0 as BackendTime;
  #stampLife = 0;
  #stampArmed = false;
  /** Grown in one call and told at its end; a listener may call in again. */
  #notices: { readonly listener: LockListener; readonly answer: LockAnswer }[] = [];
  #telling = false;

  constructor(core: MemoryCore) {
    this.#core = core;
    this.#origin = core.clock.now();
    core.sessions.follow(this);
    this.quick = {
      take: (session, resource, mode, owner) => this.#take(session, resource, mode, owner),
      give: (grant) => this.#give(grant as Ticket),
      ageMs: (grant) => Math.max(0, (this.#now() - grant.grantedAt) / 1_000),
    };
    this.live = liveLocks(this.#table, (owner, stuck) => this.#pass(owner, stuck));
  }

  request(
    op: Operation,
    requests: readonly LockRequest[],
  ): Stamped & { readonly answers: readonly LockAnswer[] } {
    const answer = this.#core.log.once(op, () => {
      const at = this.#now();
      return { at, answers: requests.map((request) => this.#request(op.session, request, at)) };
    });
    this.#tell();
    return answer;
  }

  keep(
    session: SessionNumber,
    refs: readonly { readonly id: string; readonly token?: Token | undefined }[],
  ): Stamped & { readonly answers: readonly LockAnswer[] } {
    this.#core.sessions.expireDue();
    const at = this.#now();
    const answers = refs.map((ref) => this.#keep(session, ref, at));
    this.#tell();
    return { at, answers };
  }

  release(
    op: Operation,
    items: readonly LockRelease[],
  ): Stamped & { readonly ended: readonly boolean[]; readonly granted: readonly string[] } {
    const answer = this.#core.log.once(op, () => {
      const at = this.#now();
      const opened: Ticket[] = [];
      const ended = items.map((item) => this.#release(op.session, item, at, opened));
      return { at, ended, granted: this.#grantAll(opened, at) };
    });
    this.#tell();
    return answer;
  }

  publish(session: SessionNumber, edges: readonly CycleEdge[]): Stamped {
    if (edges.length === 0 || !this.#core.sessions.isAlive(session)) this.#published.delete(session);
    else this.#published.set(session, edges);
    return { at: this.#now() };
  }

  snapshot(around?: string): WaitSnapshot {
    this.#core.sessions.expireDue();
    const at = this.#now();
    return snapshotLocks(this.#table, [...this.#published.values()].flat(), at, around);
  }

  abort(
    op: Operation,
    wait: WaitRef,
    cycle: readonly CycleEdge[],
    witnesses: readonly WaitRef[],
  ): Stamped & { readonly aborted: boolean } {
    const answer = this.#core.log.once(op, () => {
      const at = this.#now();
      const stands = [wait, ...witnesses].every((ref) => this.#waitOf(ref.id)?.version === ref.version);
      const ticket = this.#waitOf(wait.id);
      if (!stands || ticket === undefined) return { at, aborted: false };
      this.#endWait(ticket, { status: 'aborted', cycle }, at);
      return { at, aborted: true };
    });
    this.#tell();
    return answer;
  }

  list(filter: LockFilter, page: PageRequest): Page<LockRow> {
    return listLocks(this.#table, filter, page, this.#now());
  }

  sessionEnded(session: SessionNumber): void {
    if (this.#alive === session) this.#alive = undefined;
    this.#published.delete(session);
    const at = this.#now();
    const opened: Ticket[] = [];
    for (const ticket of this.#ticketsOf(session)) {
      if (ticket.state === 'waiting') this.#endWait(ticket, { status: 'lost' }, at);
      else this.#end(ticket, opened);
      this.#notice(ticket, { status: 'lost' });
    }
    this.#grantAll(opened, at);
    this.#tell();
  }

  // ── requests

  #request(session: SessionNumber, request: LockRequest, at: BackendTime): LockAnswer {
    const { owner } = request;
    const known = this.#index.byId.get(request.id);
    if (known !== undefined) return this.#stateOf(known, at);
    const upgrade = request.upgradeOf === undefined ? undefined : this.#held(session, request.upgradeOf);
    if (request.upgradeOf !== undefined && upgrade === undefined) return { status: 'lost' };
    const entries = request.items.map((item) => this.#entryFor(item));
    if (entries.includes(undefined)) return { status: 'refused', why: 'capacity' };
    const holder = this.#holderFor(owner, upgrade);
    const ticket = new Ticket(this.#index, owner, holder, session, request.id);
    const places = request.items.map((item, i) =>
      placeFor(ticket, entries[i] as LockEntry, item.mode, upgrade),
    );
    ticket.listener = request.listener;
    ticket.place = places[0] as Place;
    if (places.length > 1) ticket.more = places.slice(1);
    const refusal = refusalOf(ticket, request);
    if (refusal !== undefined) return refusal;
    for (const { entry } of places) if (entry.leased > 0) this.#expireHolders(entry, at);
    return this.#decide(ticket, request, upgrade, at);
  }

  #decide(ticket: Ticket, request: LockRequest, upgrade: Ticket | undefined, at: BackendTime): LockAnswer {
    const places = ticket.places();
    const arrival = Math.max(this.#lastArrival + 1, at - this.#origin);
    const own = upgrade === undefined ? arrival - request.priority * ageStepUs(request) : -NEVER;
    const wait: Waiting = {
      request,
      arrival,
      own,
      rank: own,
      since: at,
      overtaken: 0,
      overtaker: 0,
      blocked: 0,
      upgrade,
    };
    if (upgrade === undefined)
      wait.rank = places.reduce((rank, place) => place.entry.rankFor(place, rank), own);
    ticket.wait = wait;
    const free = places.every((place) => place.entry.wouldOpen(place, wait));
    if (!free && !request.wait) {
      ticket.wait = undefined;
      return { status: 'refused', why: 'busy' };
    }
    this.#lastArrival = arrival;
    this.#index.byId.set(request.id, ticket);
    if (request.lease !== 'session') ticket.lease = leaseOf(request.lease.leaseMs);
    if (free && !places.some((place) => place.entry.mustQueueToPass(place))) {
      return this.#grant(ticket, at);
    }
    return this.#enqueue(ticket, at);
  }

  #enqueue(ticket: Ticket, at: BackendTime): LockAnswer {
    const opened: Ticket[] = [];
    ticket.state = 'waiting';
    let ahead = 0;
    for (const place of ticket.places()) ahead = Math.max(ahead, place.entry.insert(place, opened));
    if ((ticket.wait as Waiting).blocked === 0) return this.#grant(ticket, at);
    ticket.holder ??= this.#holderFor(ticket.owner, undefined, true);
    const holder = ticket.holder as Holder;
    holder.owner = ticket.owner;
    holder.waits.add(ticket);
    this.#grantAll(opened, at);
    return {
      status: 'waiting',
      wait: { id: ticket.id, version: ticket.version },
      ahead,
      suspect: this.live.blocks(ticket.owner.id),
      pushed: ticket.listener !== undefined,
      holders: holdersOf(ticket),
    };
  }

  /** Gives a ticket all its places: from the queues, or at once. */
  #grant(ticket: Ticket, at: BackendTime): Grant {
    const upgrade = ticket.wait?.upgrade;
    const token = this.#core.clock.token(at);
    for (const place of ticket.places()) if (place.queued) place.entry.unqueue(place);
    const holder = ticket.holder;
    if (upgrade !== undefined) {
      this.#convert(ticket, upgrade, token);
      return grantOf(upgrade, at, ticket);
    }
    holder?.waits.delete(ticket);
    for (const place of ticket.places()) {
      place.token = place.special ? (coveringToken(place) ?? token) : token;
      place.entry.hold(place);
    }
    ticket.state = 'held';
    ticket.wait = undefined;
    ticket.token = ticket.place.token;
    ticket.grantedAt = at;
    if (holder !== undefined) {
      holder.add(ticket);
      if (holder.waits.size > 0) this.#markOwn(holder, ticket, at);
    }
    if (ticket.lease !== undefined) this.#startLease(ticket, ticket.lease, at);
    return grantOf(ticket, at);
  }

  /** An upgrade is granted: the first grant goes on in the new modes, with new tokens. */
  #convert(ticket: Ticket, upgrade: Ticket, token: Token): void {
    for (const place of ticket.places()) {
      const target = place.target as Place;
      if (target.mode !== place.mode) place.entry.convert(target, place.mode);
      target.token = token;
    }
    upgrade.token = upgrade.place.token;
    ticket.state = 'ended';
    ticket.wait = undefined;
    ticket.holder?.waits.delete(ticket);
    ticket.forget();
  }

  /** Waits of an owner at a resource that it has just come to hold by another request. */
  #markOwn(holder: Holder, ticket: Ticket, at: BackendTime): void {
    const opened: Ticket[] = [];
    for (const other of holder.waits) {
      for (const place of other.places()) {
        if (!ticket.places().some((held) => held.entry === place.entry)) continue;
        place.entry.markSpecial(place);
        place.entry.rescan(opened);
      }
    }
    this.#grantAll(opened, at);
  }

  /** Grants what became open, in the order in which it was found, and tells those who asked. Returns their ids. */
  #grantAll(opened: Ticket[], at: BackendTime): readonly string[] {
    const granted: string[] = [];
    for (const ticket of opened) {
      if (ticket.state !== 'waiting' || ticket.wait?.blocked !== 0) continue;
      const answer = this.#grant(ticket, at);
      granted.push(ticket.id);
      this.#notice(ticket, answer);
    }
    return granted;
  }

  // ── keep, release

  #keep(
    session: SessionNumber,
    ref: { readonly id: string; readonly token?: Token | undefined },
    at: BackendTime,
  ): LockAnswer {
    const ticket = this.#index.byId.get(ref.id);
    if (ticket === undefined || ticket.session !== session) return { status: 'lost' };
    if (ticket.state !== 'held') return this.#stateOf(ticket, at);
    if (ref.token !== undefined && ref.token !== ticket.token) return { status: 'lost' };
    const { lease } = ticket;
    if (lease !== undefined && lease.expiresAt <= at) {
      this.#expire(ticket, at);
      return { status: 'lost' };
    }
    if (lease !== undefined && lease.revoked === undefined) lease.expiresAt = at + lease.leaseMs * 1_000;
    return grantOf(ticket, at);
  }

  #stateOf(ticket: Ticket, at: BackendTime): LockAnswer {
    if (ticket.state === 'held') return grantOf(ticket, at);
    if (ticket.state === 'ended') return { status: 'lost' };
    return {
      status: 'waiting',
      wait: { id: ticket.id, version: ticket.version },
      ahead: 0,
      suspect: true,
      pushed: ticket.listener !== undefined,
      holders: holdersOf(ticket),
    };
  }

  #release(session: SessionNumber, item: LockRelease, at: BackendTime, opened: Ticket[]): boolean {
    const ticket = this.#index.byId.get(item.id);
    if (ticket === undefined || ticket.state === 'ended') return false;
    if (item.token !== undefined && (ticket.state !== 'held' || ticket.token !== item.token)) return false;
    if (item.revoke !== undefined) return this.#revoke(ticket, item.revoke, at, opened);
    if (ticket.session !== session) return false;
    if (ticket.state === 'waiting') {
      this.#withdraw(ticket, opened);
      return true;
    }
    if (ticket.lease !== undefined && ticket.lease.expiresAt <= at) {
      this.#expire(ticket, at);
      return false;
    }
    if (item.downgradeTo !== undefined) this.#downgrade(ticket, opened);
    else this.#end(ticket, opened);
    return true;
  }

  #downgrade(ticket: Ticket, opened: Ticket[]): void {
    for (const place of ticket.places()) {
      if (place.mode === UNITS) continue;
      const mode = isIntent(place.mode) ? 0 : SHARED;
      if (place.mode === mode || (mode === SHARED && place.mode < UPDATE)) continue;
      place.entry.convert(place, mode);
      place.entry.rescan(opened);
    }
  }

  #revoke(
    ticket: Ticket,
    revoke: { readonly graceMs: number; readonly reason: string },
    at: BackendTime,
    opened: Ticket[],
  ): boolean {
    if (ticket.state !== 'held') return false;
    if (revoke.graceMs <= 0) {
      this.#end(ticket, opened);
      this.#notice(ticket, { ...grantOf(ticket, at), expiresInMs: 0, revoked: revoke.reason });
      return true;
    }
    if (ticket.lease === undefined) {
      ticket.lease = leaseOf(0);
      for (const { entry } of ticket.places()) entry.leased += 1;
    }
    const { lease } = ticket;
    lease.revoked ??= revoke.reason;
    lease.expiresAt = Math.min(lease.expiresAt, at + revoke.graceMs * 1_000);
    this.#armLease(ticket, lease, at);
    this.#notice(ticket, grantOf(ticket, at));
    return true;
  }

  /** Ends a wait from outside: a victim, a dead session. */
  #endWait(ticket: Ticket, answer: LockAnswer, at: BackendTime): void {
    const opened: Ticket[] = [];
    this.#withdraw(ticket, opened);
    this.#notice(ticket, answer);
    this.#grantAll(opened, at);
  }

  #withdraw(ticket: Ticket, opened: Ticket[]): void {
    ticket.state = 'ended';
    for (const place of ticket.places()) {
      place.entry.unqueue(place);
      place.entry.rescan(opened);
    }
    ticket.holder?.waits.delete(ticket);
    ticket.forget();
    this.#dropHolder(ticket);
  }

  /** Ends a grant; what becomes open by it is added to `opened`. */
  #end(ticket: Ticket, opened: Ticket[]): void {
    ticket.state = 'ended';
    ticket.lease?.timer?.cancel();
    // The owner's own waits see its holds: it must be out of them before they are looked at.
    ticket.holder?.remove(ticket);
    if (ticket.more === undefined) {
      if (ticket.place.entry.free(ticket.place)) ticket.place.entry.rescan(opened);
    } else {
      for (const place of ticket.places()) if (place.entry.free(place)) place.entry.rescan(opened);
    }
    ticket.forget();
    this.#dropHolder(ticket);
  }

  // ── the quick way

  #take(session: SessionNumber, resource: string, mode: number, owner: Owner): QuickGrant | undefined {
    if (session !== this.#alive && !this.#isKnown(session)) return undefined;
    let entry = this.#table.entries.get(resource);
    if (entry === undefined) entry = this.#newEntry(resource);
    else if (entry.holders === undefined && entry.head === undefined) entry.of = 0;
    else if (!isShareable(entry, mode)) return undefined;
    const holder = owner.single === true ? undefined : this.#holderFor(owner, undefined);
    // Whether it may share with itself is for the long way to say.
    if (holder !== undefined && entry.holders !== undefined && holder.placeAt(entry) !== undefined)
      return undefined;
    const ticket = new Ticket(this.#index, owner, holder, session, undefined);
    const place = new Place(ticket, entry, mode, 0, undefined);
    const at = this.#stampLife > 0 ? this.#stampAt : this.#stamp();
    this.#stampLife -= 1;
    const token = this.#core.clock.token(at);
    place.token = token;
    ticket.place = place;
    ticket.token = token;
    ticket.grantedAt = at;
    entry.hold(place);
    holder?.add(ticket);
    return ticket;
  }

  #give(ticket: Ticket): boolean {
    if (ticket.state !== 'held') return false;
    if (ticket.lease !== undefined && ticket.lease.expiresAt <= this.#core.clock.now()) {
      this.#expire(ticket, this.#now());
      this.#tell();
      return false;
    }
    const { place, holder } = ticket;
    if (ticket.more === undefined && place.entry.head === undefined && holder?.owner.single !== true) {
      // Nobody waits: nothing to look for.
      ticket.state = 'ended';
      ticket.lease?.timer?.cancel();
      holder?.remove(ticket);
      place.entry.free(place);
      ticket.forget();
      return true;
    }
    const opened: Ticket[] = [];
    this.#end(ticket, opened);
    if (opened.length > 0) {
      this.#grantAll(opened, this.#now());
      this.#tell();
    }
    return true;
  }

  // ── leases

  #startLease(ticket: Ticket, lease: NonNullable<Ticket['lease']>, at: BackendTime): void {
    lease.expiresAt = at + lease.leaseMs * 1_000;
    this.#armLease(ticket, lease, at);
  }

  /** One timer for a lease; renewals only move its end, and the timer looks again. */
  #armLease(ticket: Ticket, lease: NonNullable<Ticket['lease']>, at: BackendTime): void {
    lease.timer?.cancel();
    lease.timer = undefined;
    if (lease.expiresAt === NEVER) return;
    lease.timer = this.#core.clock.after((lease.expiresAt - at) / 1_000, () => {
      const now = this.#now();
      if (ticket.state !== 'held') return;
      if (lease.expiresAt > now) this.#armLease(ticket, lease, now);
      else this.#expire(ticket, now);
      this.#tell();
    });
  }

  #expire(ticket: Ticket, at: BackendTime): void {
    const opened: Ticket[] = [];
    this.#end(ticket, opened);
    this.#notice(ticket, { status: 'lost' });
    this.#grantAll(opened, at);
  }

  #expireHolders(entry: LockEntry, at: BackendTime): void {
    for (let place = entry.holders; place !== undefined; ) {
      const { next, ticket } = place;
      if (ticket.lease !== undefined && ticket.lease.expiresAt <= at) this.#expire(ticket, at);
      place = next;
    }
  }

  // ── order

  /** See `LiveLocks.pass`. */
  #pass(owner: string, stuck: { has(owner: string): boolean }): boolean {
    const holder = this.#table.holders.get(owner);
    if (holder === undefined) return false;
    const at = this.#now();
    let moved = false;
    for (const ticket of [...holder.waits]) {
      const before = passableFront(ticket, stuck);
      if (before === undefined) continue;
      const opened: Ticket[] = [];
      const wait = ticket.wait as Waiting;
      for (const place of ticket.places()) {
        place.entry.unqueue(place);
        place.open = false;
      }
      wait.rank = justBefore(before);
      wait.blocked = 0;
      for (const place of ticket.places()) place.entry.insert(place, opened);
      this.#grantAll(opened, at);
      moved = true;
    }
    this.#tell();
    return moved;
  }

  // ── records

  #entryFor(item: LockItem): LockEntry | undefined {
    const entry = this.#table.entries.get(item.resource) ?? this.#newEntry(item.resource);
    const of = typeof item.mode === 'string' ? 0 : item.mode.of;
    if (entry.of === of) return entry;
    if (!entry.idle) return undefined;
    entry.of = of;
    return entry;
  }

  #newEntry(resource: string): LockEntry {
    const { entries } = this.#table;
    if (entries.size >= this.#entriesLimit) {
      for (const [name, entry] of entries) if (entry.idle) entries.delete(name);
      this.#entriesLimit = Math.max(SWEEP_AT, entries.size * 2);
    }
    const entry = new LockEntry(resource);
    entries.set(resource, entry);
    return entry;
  }

  #holderFor(owner: Owner, upgrade: Ticket | undefined, needed = false): Holder | undefined {
    if (owner.single === true && !needed && upgrade === undefined) return undefined;
    const { holders } = this.#table;
    let holder = upgrade?.holder ?? holders.get(owner.id);
    if (holder === undefined) {
      if (holders.size >= this.#holdersLimit) {
        for (const [id, known] of holders) if (known.idle) holders.delete(id);
        this.#holdersLimit = Math.max(SWEEP_AT, holders.size * 2);
      }
      holder = new Holder(owner);
      holders.set(owner.id, holder);
    }
    if (upgrade !== undefined && upgrade.holder === undefined) {
      upgrade.holder = holder;
      holder.add(upgrade);
    }
    return holder;
  }

  /** Owners of a single request leave no record behind. */
  #dropHolder(ticket: Ticket): void {
    const { holder } = ticket;
    if (holder?.owner.single === true && holder.idle) this.#table.holders.delete(holder.owner.id);
  }

  #held(session: SessionNumber, ref: { readonly id: string; readonly token: Token }): Ticket | undefined {
    const ticket = this.#index.byId.get(ref.id);
    if (ticket?.state !== 'held' || ticket.token !== ref.token || ticket.session !== session)
      return undefined;
    return ticket;
  }

  #waitOf(id: string): Ticket | undefined {
    const ticket = this.#index.byId.get(id);
    return ticket?.state === 'waiting' ? ticket : undefined;
  }

  #ticketsOf(session: SessionNumber): Ticket[] {
    const found = new Set<Ticket>();
    for (const entry of this.#table.entries.values()) {
      for (let place = entry.holders; place !== undefined; place = place.next) found.add(place.ticket);
      for (let place = entry.head; place !== undefined; place = place.next) found.add(place.ticket);
    }
    return [...found].filter((ticket) => ticket.session === session);
  }

  #isKnown(session: SessionNumber): boolean {
    if (!this.#core.sessions.isAlive(session)) return false;
    this.#alive = session;
    return true;
  }

  #notice(ticket: Ticket, answer: LockAnswer): void {
    const { listener } = ticket;
    if (listener !== undefined) this.#notices.push({ listener, answer });
    else if (!this.#core.hints.idle)
      this.#core.hint({ about: 'locks', resource: ticket.place.entry.resource });
  }

  #tell(): void {
    if (this.#telling || this.#notices.length === 0) return;
    this.#telling = true;
    try {
      while (this.#notices.length > 0) {
        const notices = this.#notices;
        this.#notices = [];
        for (const { listener, answer } of notices) tell(listener, answer);
      }
    } finally {
      this.#telling = false;
    }
  }

  #now(): BackendTime {
    return this.#core.clock.now();
  }

  /** A reading of the clock that the quick way shares: only tokens and ages are made of it, no lease ends by it. */
  #stamp(): BackendTime {
    this.#stampAt = this.#now();
    this.#stampLife = STAMP_LIFE;
    if (!this.#stampArmed) {
      this.#stampArmed = true;
      this.#core.clock.soon(() => {
        this.#stampArmed = false;
        this.#stampLife = 0;
      });
    }
    return this.#stampAt;
  }
}

/** A listener's exception must keep no other from hearing; it still ends up where uncaught ones do. */
function tell(listener: LockListener, answer: LockAnswer): void {
  try {
    listener.lockChanged(answer);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** Held, but compatible with all holders, and nobody waits whose turn could be taken. */
function isShareable(entry: LockEntry, mode: number): boolean {
  return entry.of === 0 && entry.head === undefined && ((CONFLICTS[mode] as number) & entry.heldMask) === 0;
}

function placeFor(
  ticket: Ticket,
  entry: LockEntry,
  mode: LockItem['mode'],
  upgrade: Ticket | undefined,
): Place {
  const target = upgrade?.places().find((place) => place.entry === entry);
  const units = typeof mode === 'string' ? 0 : mode.units;
  const place = new Place(ticket, entry, modeIndex(mode), units, target);
  place.special = target !== undefined || ticket.holder?.placeAt(entry) !== undefined;
  return place;
}

/** What a request is refused for before anything is queued. */
function refusalOf(ticket: Ticket, request: LockRequest): LockAnswer | undefined {
  for (const place of ticket.places()) {
    const { entry, mode, units } = place;
    if (mode === UNITS && units + (ticket.holder?.unitsAt(entry) ?? 0) > entry.of)
      return { status: 'refused', why: 'capacity' };
    if (place.target !== undefined) {
      if (clashesWithUpgrade(place, place.target)) return { status: 'refused', why: 'upgrade-conflict' };
    } else if (place.special && !request.reentrant && mode !== UNITS && !isIntent(mode)) {
      const held = ticket.holder?.placeAt(entry, NOT_INTENT)?.ticket;
      if (held !== undefined) {
        const ref = { id: held.id, token: held.token };
        return { status: 'refused', why: 'reentrant', resource: entry.resource, held: ref };
      }
    }
  }
  return undefined;
}

const NOT_INTENT = (1 << SHARED) | (1 << UPDATE) | (1 << (UPDATE + 1));

/** Each would wait for the other to give up what it holds: the later one fails at once (L8). */
function clashesWithUpgrade(place: Place, target: Place): boolean {
  for (let at = place.entry.head; at !== undefined; at = at.next) {
    if (at.target === undefined) return false; // upgrades come first
    if (conflict(place.item.mode, at.target.item.mode) && conflict(at.item.mode, target.item.mode))
      return true;
  }
  return false;
}

/** The least rank of the stuck tickets in front of this one, if it may go before them without passing somebody once too often. */
function passableFront(ticket: Ticket, stuck: { has(owner: string): boolean }): number | undefined {
  let front: number | undefined;
  for (const place of ticket.places()) {
    for (let at = place.previous; at !== undefined; at = at.previous) {
      if (clashing(place, at) && stuck.has(at.ticket.owner.id) && at.target === undefined)
        front = Math.min(front ?? NEVER, at.wait.rank);
    }
  }
  if (front === undefined) return undefined;
  for (const place of ticket.places()) {
    for (let at = place.previous; at !== undefined && at.wait.rank >= front; at = at.previous) {
      if (clashing(place, at) && at.wait.overtaken >= at.wait.request.order.maxOvertakes) return undefined;
    }
  }
  return front;
}

function clashing(a: Place, b: Place): boolean {
  return a.mode === UNITS || conflict(a.item.mode, b.item.mode);
}

function holdersOf(
  ticket: Ticket,
): { owner: string; agent?: string | undefined; task?: string | undefined }[] {
  const found: { owner: string; agent?: string | undefined; task?: string | undefined }[] = [];
  for (const place of ticket.places()) {
    for (let at = place.entry.holders; at !== undefined && found.length < 5; at = at.next) {
      if (!clashing(place, at) || at.ticket.holder === (ticket.holder ?? null)) continue;
      const { id, agent, task } = at.ticket.owner;
      found.push({ owner: id, agent, task });
    }
  }
  return found;
}

/** A grant of what its owner holds already carries the same token: a new one would make the owner's own writes look old. */
function coveringToken(place: Place): Token | undefined {
  if (place.mode === UNITS || !place.entry.isCovered(place)) return undefined;
  return place.ticket.holder?.placeAt(place.entry)?.token;
}

/** `ask`: the upgrade whose answer this is, so that tokens come in the order of its items. */
function grantOf(ticket: Ticket, at: BackendTime, ask: Ticket = ticket): Grant {
  const { lease } = ticket;
  return {
    status: 'granted',
    id: ticket.id,
    token: ticket.token,
    tokens: ask.places().map((place) => (place.target ?? place).token),
    expiresInMs: lease === undefined ? NEVER : Math.max(0, (lease.expiresAt - at) / 1_000),
    ...(lease?.revoked === undefined ? {} : { revoked: lease.revoked }),
  };
}

function leaseOf(leaseMs: number): NonNullable<Ticket['lease']> {
  return { leaseMs, expiresAt: NEVER, timer: undefined, revoked: undefined };
}

/** µs that a point of priority is worth; at most 12 days, so that ranks stay exact. */
function ageStepUs(request: LockRequest): number {
  return Math.min(request.order.ageStepMs, 1_000_000_000) * 1_000;
}
