import type { Delivery, MailboxSettings, NewMessage } from '../../core/ports/messages.ts';
import type { BackendTime, SessionNumber } from '../../core/ports/words.ts';
import { Ring } from '../../core/ring.ts';

/** A member of one session at one address: who takes from a mailbox and holds deliveries. Compared by identity. */
export interface Listener {
  readonly address: string;
  readonly listening: boolean;
}

/** What one `receive` handed out to one session, with the time by which it must be acknowledged. */
export interface Flight {
  readonly session: SessionNumber;
  /** µs. */
  readonly deadline: number;
  items: Stored[];
  /** Of `items`, those not settled. */
  open: number;
}

/** The mailbox of a message, as far as ending a delivery goes. Each tells whether messages behind it can go on now. */
export interface Home {
  readonly address: string;
  readonly group: string | undefined;
  readonly settings: MailboxSettings | 'none' | undefined;
  readonly members: ReadonlySet<Listener>;
  ack(stored: Stored): boolean;
  drop(stored: Stored): boolean;
  bury(stored: Stored, reason: string, keep: number): boolean;
  putBack(stored: Stored, counted: boolean, delayMs: number, at: number): boolean;
}

/**
 * A message in a mailbox, and at the same time the one delivery of it: given back, it is replaced by a new one with the next number, so
 * the delivery that was handed out never changes and its identity is its receipt.
 */
export class Stored implements Delivery {
  readonly mailbox: Home;
  readonly lane: Lane;
  readonly message: NewMessage;
  /** Order of arrival in the whole store. */
  readonly sequence: number;
  readonly sentAt: BackendTime;
  /** µs; `Infinity` without expiry. */
  readonly expiresAt: number;
  /** The priority it is handed out by: never above a message of its order key that is ahead of it. */
  readonly level: number;
  readonly delivery: number;
  address: string;
  state: 'waiting' | 'held' | 'ended' = 'waiting';
  flight: Flight | undefined;

  constructor(facts: {
    readonly mailbox: Home;
    readonly lane: Lane;
    readonly message: NewMessage;
    readonly sequence: number;
    readonly sentAt: BackendTime;
    readonly expiresAt: number;
    readonly level: number;
    readonly delivery: number;
  }) {
    this.mailbox = facts.mailbox;
    this.lane = facts.lane;
    this.message = facts.message;
    this.sequence = facts.sequence;
    this.sentAt = facts.sentAt;
    this.expiresAt = facts.expiresAt;
    this.level = facts.level;
    this.delivery = facts.delivery;
    this.address = facts.mailbox.address;
    this.flight = undefined;
  }

  /** The same message for its next delivery. `counted`: this one may have been handled. */
  again(counted: boolean): Stored {
    const { mailbox, lane, message, sequence, sentAt, expiresAt, level } = this;
    const delivery = counted ? this.delivery + 1 : this.delivery;
    return new Stored({ mailbox, lane, message, sequence, sentAt, expiresAt, level, delivery });
  }

  get receipt(): string {
    return `${this.sequence}.${this.delivery}`;
  }
}

/** The messages of one order key in one mailbox. */
export class Lane {
  /** Waiting messages of it, wherever they are. */
  queued = 0;
  /** Level of the last one queued. */
  level = 0;
  /** Handed out and not settled. */
  held = 0;
  holder: Listener | undefined;
  /** One was given back while others of it are still out: nothing more until all are back. */
  stalled = false;
  /** µs: nothing before this. */
  notBefore = 0;
  /** Messages that had to step aside, oldest first; while there are any, later arrivals join them. */
  parked: Ring<Stored> | undefined;
  /** In the mailbox's list of lanes with parked messages. */
  listed = false;

  /** Whether this holder may be given the next one. */
  isFreeFor(holder: Listener, at: number, onePerKey: boolean): boolean {
    if (this.stalled || this.notBefore > at) return false;
    return this.held === 0 || (!onePerKey && this.holder === holder);
  }

  /** Nothing waits and nothing is out: may be forgotten. */
  get isIdle(): boolean {
    return this.queued === 0 && this.held === 0 && this.parked === undefined;
  }

  /** Steps aside, at its place in the order of arrival. */
  park(stored: Stored): void {
    this.parked ??= new Ring<Stored>();
    const { parked } = this;
    const older: Stored[] = [];
    for (let head = parked.peek(); head !== undefined && isBefore(head, stored); head = parked.peek()) {
      older.push(parked.shift() as Stored);
    }
    parked.unshift(stored);
    for (let i = older.length - 1; i >= 0; i--) parked.unshift(older[i] as Stored);
  }

  /** Steps aside behind all that did so before: for one that comes from the queue. */
  parkLast(stored: Stored): void {
    this.parked ??= new Ring<Stored>();
    this.parked.push(stored);
  }
}

function isBefore(a: Stored, b: Stored): boolean {
  return a.sequence < b.sequence;
}
