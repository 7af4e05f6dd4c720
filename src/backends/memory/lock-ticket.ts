import type { LockListener, LockOrder, LockWish, Owner, QuickGrant } from '../../core/ports/locks.ts';
import type { Timer } from '../../core/ports/runtime.ts';
import type { BackendTime, SessionNumber, Token } from '../../core/ports/words.ts';
import type { Holder } from './lock-holder.ts';

export type TicketState = 'waiting' | 'held' | 'ended';

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
}

export interface LeaseState {
  leaseMs: number;
  expiresAt: number;
  timer: Timer | undefined;
  revoked: string | undefined;
}

/** What a ticket needs of its resource. */
interface TicketEntry {
  /** Moves whenever something in front of a waiter does. */
  readonly epoch: number;
  /** Tickets by id. */
  readonly index: { name(ticket: object, id: string | undefined): string; forget(id: string): void };
}

/** What most tickets never have. */
interface Rest<Entry extends TicketEntry> {
  id: string | undefined;
  /** Of a further place: the ticket whose request it belongs to. */
  ticket: Ticket<Entry> | undefined;
  more: Ticket<Entry>[] | undefined;
  lease: LeaseState | undefined;
  target: Ticket<Entry> | undefined;
  converted: Ticket<Entry> | undefined;
  grantedAt: BackendTime;
}

/**
 * A request: waiting, then held, then ended; and its place at one resource, in the queue there or among the holders. Requests for several
 * resources have a further ticket for each: a place only, all the rest is said by the first.
 */
export class Ticket<Entry extends TicketEntry> implements QuickGrant {
  state: TicketState = 'held';
  #owner: Owner | undefined;
  holder: Holder<Ticket<Entry>> | undefined;
  readonly session: SessionNumber;
  readonly listener: LockListener | undefined;
  /** Asked for by the quick way: the client has this object. */
  inPlace = false;
  wait: Waiting | undefined;
  /** In its owner's list of held or of waiting tickets. */
  previousOwn: Ticket<Entry> | undefined;
  nextOwn: Ticket<Entry> | undefined;

  // Its place.
  readonly entry: Entry;
  mode: number;
  readonly units: number;
  token = 0 as Token;
  /** In the queue: nothing at this resource is in its way. */
  open = false;
  queued = false;
  /** Its owner holds this resource too: its own holds are not in its way. */
  special = false;
  previous: Ticket<Entry> | undefined;
  next: Ticket<Entry> | undefined;
  #rest: Rest<Entry> | undefined;

  /** @param owner without one, the listener is the wish, which makes the owner when it is asked */
  constructor(
    owner: Owner | undefined,
    holder: Holder<Ticket<Entry>> | undefined,
    session: SessionNumber,
    listener: LockListener | undefined,
    entry: Entry,
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

  get owner(): Owner {
    this.#owner ??= (this.listener as LockWish).holder;
    return this.#owner;
  }

  /** Without an id, a lease, a second resource or something to convert. */
  get isBare(): boolean {
    return this.#rest === undefined;
  }

  get id(): string {
    const rest = this.#made;
    rest.id ??= this.entry.index.name(this, undefined);
    return rest.id;
  }

  /** Makes it known under an id of the client. */
  nameIt(id: string): void {
    this.#made.id = this.entry.index.name(this, id);
  }

  /** Nothing is to be said of it any more, nor of an upgrade of it. */
  forget(): void {
    const rest = this.#rest;
    if (rest === undefined) return;
    if (rest.id !== undefined) this.entry.index.forget(rest.id);
    rest.converted?.forget();
  }

  /** The request that this is a place of: itself, unless it is a further place. */
  get ticket(): Ticket<Entry> {
    return this.#rest?.ticket ?? this;
  }

  /** The second and further places. */
  get more(): readonly Ticket<Entry>[] | undefined {
    return this.#rest?.more;
  }

  /** A place at a further resource. */
  addPlace(entry: Entry, mode: number, units: number): Ticket<Entry> {
    const place = new Ticket<Entry>(this.#owner, this.holder, this.session, undefined, entry, mode, units);
    place.#made.ticket = this;
    this.#made.more ??= [];
    this.#made.more.push(place);
    return place;
  }

  places(): readonly Ticket<Entry>[] {
    const more = this.#rest?.more;
    return more === undefined ? [this] : [this, ...more];
  }

  get tokens(): readonly Token[] {
    return this.places().map((place) => place.token);
  }

  get lease(): LeaseState | undefined {
    return this.#rest?.lease;
  }
  set lease(lease: LeaseState) {
    this.#made.lease = lease;
  }

  /** The held place that this one converts. */
  get target(): Ticket<Entry> | undefined {
    return this.#rest?.target;
  }
  set target(place: Ticket<Entry> | undefined) {
    if (place !== undefined) this.#made.target = place;
  }

  /** The grant that is converted. */
  get upgrade(): Ticket<Entry> | undefined {
    return this.#rest?.target?.ticket;
  }

  /** The granted upgrade that its modes are of. */
  get converted(): Ticket<Entry> | undefined {
    return this.#rest?.converted;
  }
  set converted(upgrade: Ticket<Entry> | undefined) {
    this.#made.converted = upgrade;
  }

  /** An upgrade that was granted and can still be taken back. */
  get isConversion(): boolean {
    const { upgrade } = this;
    return upgrade !== undefined && upgrade.state === 'held' && upgrade.converted === this;
  }

  /** Tokens are times of the backend, unless this one is older than the grant, or newer. */
  get grantedAt(): BackendTime {
    const at = this.#rest?.grantedAt ?? 0;
    return (at === 0 ? this.token : at) as BackendTime;
  }
  set grantedAt(at: BackendTime) {
    this.#made.grantedAt = at;
  }

  /** See `WaitRef`: moves whenever something in front of it does, at any of its resources. */
  get version(): number {
    return this.places().reduce((sum, place) => sum + place.entry.epoch, 0);
  }

  get #made(): Rest<Entry> {
    this.#rest ??= {
      id: undefined,
      ticket: undefined,
      more: undefined,
      lease: undefined,
      target: undefined,
      converted: undefined,
      grantedAt: 0 as BackendTime,
    };
    return this.#rest;
  }
}
