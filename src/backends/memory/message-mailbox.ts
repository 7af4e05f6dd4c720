import type { Lost, MailboxSettings, MessageCounts, NewMessage, Wanted } from '../../core/ports/messages.ts';
import type { BackendTime } from '../../core/ports/words.ts';
import { Ring } from '../../core/ring.ts';
import { type Flight, type Home, Lane, type Listener, Stored } from './message-lane.ts';

/** Unsettled messages of the whole store: whether there is anything to sweep. */
export interface Load {
  count: number;
  /** Something in a mailbox expires at this time, µs, before all else in it. */
  expiring(mailbox: Mailbox, at: number): void;
}

export type Counts = { -readonly [K in keyof MessageCounts]: number };

export function zeroCounts(): Counts {
  return { published: 0, delivered: 0, dropped: 0, expired: 0, dead: 0, waiting: 0, handling: 0 };
}

interface Level {
  readonly level: number;
  readonly queue: Ring<Stored>;
}

/** A letter that can't be delivered, and why. */
export interface DeadLetter {
  readonly stored: Stored;
  readonly reason: string;
}

const MAX_EMPTY_LEVELS = 8;

/**
 * Messages for one address, or for one group: FIFO within an order key, whatever is given back; larger priority first between keys,
 * else in order of arrival. Each message is counted in exactly one of {@link MessageCounts} (M0, M1).
 */
export class Mailbox implements Home {
  readonly address: string;
  readonly group: string | undefined;
  readonly ordinal: number;
  /** Absent: nobody has joined yet, and what `publish` brings is used. */
  settings: MailboxSettings | 'none' | undefined;
  readonly members = new Set<Listener>();
  readonly counts: Counts = zeroCounts();
  dead: DeadLetter[] = [];
  readonly #load: Load;
  readonly #lanes = new Map<string, Lane>();
  #pruneLanesAt = 64;
  /** Largest first; each queue in order of arrival. */
  #levels: Level[] = [];
  /** Lanes with parked messages, but for those that wait for their time or for their messages to come back. */
  #listed: Lane[] = [];
  /** Lanes that wait for their time. */
  #delayed: Lane[] = [];
  /** µs, never above the soonest expiry of a waiting message. */
  #soonestExpiry = Number.POSITIVE_INFINITY;
  /** µs; for when the sweep was told to come. */
  #noted = Number.POSITIVE_INFINITY;
  /** Losses that were not reported yet, by sender. */
  #missed: { readonly full: Map<string, number>; readonly expired: Map<string, number> } | undefined;

  constructor(address: string, group: string | undefined, ordinal: number, load: Load) {
    this.address = address;
    this.group = group;
    this.ordinal = ordinal;
    this.#load = load;
  }

  get hasListener(): boolean {
    for (const member of this.members) if (member.listening) return true;
    return false;
  }

  /** Nothing in it and nobody at it: may be forgotten. */
  get isIdle(): boolean {
    const { waiting, handling, dead } = this.counts;
    return waiting + handling + dead === 0 && this.members.size === 0;
  }

  /** Stores a message. @returns what was lost by it (the message itself perhaps), or `full` when it is refused and not counted. */
  put(
    message: NewMessage,
    at: BackendTime,
    sequence: number,
    defaults: MailboxSettings,
  ): readonly Lost[] | 'full' | undefined {
    const settings = this.settings === undefined || this.settings === 'none' ? defaults : this.settings;
    if (this.counts.waiting >= settings.maxLength) return this.#putFull(message, at, sequence, settings);
    this.counts.published += 1;
    this.#enqueue(message, at, sequence);
    return undefined;
  }

  /** Hands out up to `limit` messages to a holder, the `m1` as part of a flight. */
  take(holder: Listener, wanted: Required<Wanted>, at: BackendTime, out: Stored[], flight: Flight): void {
    const { address, limit, onePerKey } = wanted;
    if (this.#delayed.length > 0) this.recoverDue(at);
    for (let n = 0; n < limit; n++) {
      const stored = this.#next(holder, at, onePerKey);
      if (stored === undefined) return;
      this.#leaveQueue(stored);
      stored.address = address;
      if (stored.message.class === 'm0') this.#end(stored, 'delivered');
      else this.#hold(stored, holder, flight);
      out.push(stored);
    }
  }

  /** @returns whether messages behind it can go on now. */
  ack(stored: Stored): boolean {
    return this.#endHeld(stored, 'delivered');
  }

  drop(stored: Stored): boolean {
    return this.#endHeld(stored, 'dropped');
  }

  /** Puts it to the dead letters. Beyond `keep` of them the oldest are dropped. */
  bury(stored: Stored, reason: string, keep: number): boolean {
    this.dead.push({ stored, reason });
    const readied = this.#endHeld(stored, 'dead');
    const surplus = this.dead.length - keep;
    if (surplus > 0) this.#discard(this.dead.splice(0, surplus).length);
    return readied;
  }

  /** Puts a delivery back to the front of its lane. `counted`: it may have been handled. */
  putBack(stored: Stored, counted: boolean, delayMs: number, at: BackendTime): boolean {
    const { lane } = stored;
    stored.state = 'ended';
    this.counts.handling -= 1;
    this.counts.waiting += 1;
    lane.queued += 1;
    lane.level = lane.queued === 1 ? stored.level : Math.min(lane.level, stored.level);
    this.#expiresAt(stored.expiresAt);
    lane.park(stored.again(counted));
    if (delayMs > 0) {
      lane.notBefore = at + delayMs * 1_000;
      if (!this.#delayed.includes(lane)) this.#delayed.push(lane);
    }
    if (lane.held > 1) lane.stalled = true;
    return this.#released(lane) && lane.notBefore <= at;
  }

  /** Dead letters back to the end of the queue as new ones. @returns how many. */
  redrive(letters: readonly DeadLetter[], at: BackendTime, nextSequence: () => number): void {
    const chosen = new Set(letters);
    this.dead = this.dead.filter((letter) => !chosen.has(letter));
    for (const { stored } of letters) {
      this.counts.dead -= 1;
      this.#enqueue(stored.message, at, nextSequence());
    }
  }

  discard(letters: readonly DeadLetter[]): void {
    const chosen = new Set(letters);
    this.dead = this.dead.filter((letter) => !chosen.has(letter));
    this.#discard(letters.length);
  }

  /** Ends what has waited for too long. */
  expire(at: BackendTime): Lost[] {
    if (this.#soonestExpiry > at) return [];
    this.#soonestExpiry = Number.POSITIVE_INFINITY;
    return this.#endWaiting('expired', (stored) => {
      if (stored.expiresAt <= at) return true;
      this.#soonestExpiry = Math.min(this.#soonestExpiry, stored.expiresAt);
      return false;
    });
  }

  /** Whether the sweep was told to come at this time and hasn't yet; from now on it is to be told anew. */
  takeNotice(at: number): boolean {
    if (at !== this.#noted) return false;
    this.#noted = Number.POSITIVE_INFINITY;
    return true;
  }

  /** Tells the sweep when to come next. */
  note(): void {
    if (this.#soonestExpiry >= this.#noted) return;
    this.#noted = this.#soonestExpiry;
    this.#load.expiring(this, this.#noted);
  }

  #expiresAt(at: number): void {
    if (at >= this.#soonestExpiry) return;
    this.#soonestExpiry = at;
    this.note();
  }

  /** Ends everything that waits. */
  dropWaiting(reason: 'left' | 'no-receiver'): Lost[] {
    return this.#endWaiting(reason, () => true);
  }

  /** Losses that no answer has told of yet; they are told once. */
  takeMissed(): Lost[] {
    const missed = this.#missed;
    if (missed === undefined) return [];
    this.#missed = undefined;
    const { address } = this;
    return (['full', 'expired'] as const).flatMap((reason) =>
      [...missed[reason]].map(([from, count]) => ({ from, address, count, reason })),
    );
  }

  /** Lanes whose delay is over may go on. @returns whether there were any. */
  recoverDue(at: BackendTime): boolean {
    const due = this.#delayed.filter((lane) => lane.notBefore <= at);
    if (due.length === 0) return false;
    this.#delayed = this.#delayed.filter((lane) => lane.notBefore > at);
    for (const lane of due) this.#list(lane);
    return true;
  }

  /** µs at which the next delayed lane may go on; `Infinity` without one. */
  get nextDue(): number {
    let soonest = Number.POSITIVE_INFINITY;
    for (const lane of this.#delayed) soonest = Math.min(soonest, lane.notBefore);
    return soonest;
  }

  /** Waiting messages in order of arrival. */
  waiting(): Stored[] {
    const all: Stored[] = [];
    for (const queue of this.#queues())
      for (let i = 0; i < queue.length; i++) all.push(queue.at(i) as Stored);
    return all.sort((a, b) => a.sequence - b.sequence);
  }

  #putFull(
    message: NewMessage,
    at: BackendTime,
    sequence: number,
    settings: MailboxSettings,
  ): readonly Lost[] | 'full' {
    const lost = this.expire(at);
    const stillFull = this.counts.waiting >= settings.maxLength;
    if (stillFull && settings.overflow === 'refuse' && message.class === 'm1') return 'full';
    this.counts.published += 1;
    if (stillFull && settings.overflow !== 'drop-oldest') {
      this.counts.dropped += 1;
      if (message.class === 'm0') this.#miss(message.from, 'full');
      return [...lost, { from: message.from, address: this.address, count: 1, reason: 'full' }];
    }
    this.#enqueue(message, at, sequence);
    if (!stillFull) return lost;
    const oldest = this.#dropOldest();
    return [...lost, { from: oldest.message.from, address: this.address, count: 1, reason: 'full' }];
  }

  #enqueue(message: NewMessage, at: BackendTime, sequence: number): void {
    const lane = this.#lane(message.orderKey);
    const level = lane.queued > 0 ? Math.min(message.priority, lane.level) : message.priority;
    const expiresAt =
      message.expiresInMs === undefined ? Number.POSITIVE_INFINITY : at + message.expiresInMs * 1_000;
    lane.level = level;
    lane.queued += 1;
    this.counts.waiting += 1;
    this.#load.count += 1;
    if (expiresAt < this.#soonestExpiry) this.#expiresAt(expiresAt);
    this.#queue(level).push(
      new Stored({ mailbox: this, lane, message, sequence, sentAt: at, expiresAt, level, delivery: 1 }),
    );
  }

  #next(holder: Listener, at: BackendTime, onePerKey: boolean): Stored | undefined {
    for (;;) {
      const front = this.#front();
      const lane = this.#listed.length === 0 ? undefined : this.#bestListed(holder, at, onePerKey);
      let stored: Stored;
      if (lane !== undefined && (front === undefined || isAhead(headOf(lane), front.peek() as Stored))) {
        stored = this.#unpark(lane);
      } else if (front === undefined) return undefined;
      else {
        stored = front.shift() as Stored;
        if (stored.lane.parked !== undefined || !stored.lane.isFreeFor(holder, at, onePerKey)) {
          stored.lane.parkLast(stored);
          this.#list(stored.lane);
          continue;
        }
      }
      if (stored.expiresAt > at) return stored;
      this.#leaveQueue(stored);
      this.#end(stored, 'expired');
      this.#miss(stored.message.from, 'expired');
    }
  }

  #front(): Ring<Stored> | undefined {
    const levels = this.#levels;
    for (let i = 0; i < levels.length; i++) {
      const { queue } = levels[i] as Level;
      if (queue.length > 0) return queue;
    }
    return undefined;
  }

  /** The listed lane whose head goes first. Lanes that wait for something are struck off: what ends that lists them again. */
  #bestListed(holder: Listener, at: BackendTime, onePerKey: boolean): Lane | undefined {
    let best: Lane | undefined;
    let kept = 0;
    for (const lane of this.#listed) {
      if (lane.parked === undefined || lane.stalled || lane.notBefore > at) {
        lane.listed = false;
        continue;
      }
      this.#listed[kept++] = lane;
      if (!lane.isFreeFor(holder, at, onePerKey)) continue;
      if (best === undefined || isAhead(headOf(lane), headOf(best))) best = lane;
    }
    this.#listed.length = kept;
    return best;
  }

  #unpark(lane: Lane): Stored {
    const parked = lane.parked as Ring<Stored>;
    const stored = parked.shift() as Stored;
    if (parked.length === 0) lane.parked = undefined;
    return stored;
  }

  #hold(stored: Stored, holder: Listener, flight: Flight): void {
    stored.state = 'held';
    stored.flight = flight;
    flight.open += 1;
    stored.lane.held += 1;
    stored.lane.holder = holder;
    this.counts.handling += 1;
  }

  #endHeld(stored: Stored, as: 'delivered' | 'dropped' | 'dead'): boolean {
    this.counts.handling -= 1;
    this.#end(stored, as);
    return this.#released(stored.lane);
  }

  #end(stored: Stored, as: 'delivered' | 'dropped' | 'dead' | 'expired'): void {
    stored.state = 'ended';
    this.counts[as] += 1;
    this.#load.count -= 1;
  }

  #leaveQueue(stored: Stored): void {
    this.counts.waiting -= 1;
    stored.lane.queued -= 1;
  }

  /** One of the lane's messages is back. @returns whether others can go on because of it. */
  #released(lane: Lane): boolean {
    lane.held -= 1;
    if (lane.held > 0) return false;
    lane.stalled = false;
    lane.holder = undefined;
    return lane.parked !== undefined && this.#list(lane);
  }

  #list(lane: Lane): boolean {
    if (lane.parked !== undefined && !lane.listed) {
      lane.listed = true;
      this.#listed.push(lane);
    }
    return true;
  }

  #lane(key: string): Lane {
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      if (this.#lanes.size >= this.#pruneLanesAt) this.#pruneLanes();
      lane = new Lane();
      this.#lanes.set(key, lane);
    }
    return lane;
  }

  #pruneLanes(): void {
    for (const [key, lane] of this.#lanes) if (lane.isIdle) this.#lanes.delete(key);
    this.#pruneLanesAt = Math.max(64, 2 * this.#lanes.size);
  }

  #queue(level: number): Ring<Stored> {
    const levels = this.#levels;
    let index = 0;
    for (; index < levels.length; index++) {
      const known = levels[index] as Level;
      if (known.level === level) return known.queue;
      if (known.level < level) break;
    }
    const added = { level, queue: new Ring<Stored>() };
    this.#levels = levels.toSpliced(index, 0, added);
    if (this.#levels.length > MAX_EMPTY_LEVELS)
      this.#levels = this.#levels.filter((known) => known === added || known.queue.length > 0);
    return added.queue;
  }

  *#queues(): Generator<Ring<Stored>> {
    for (const { queue } of this.#levels) yield queue;
    for (const lane of this.#lanes.values()) if (lane.parked !== undefined) yield lane.parked;
  }

  #dropOldest(): Stored {
    let oldest: Ring<Stored> | undefined;
    for (const queue of this.#queues()) {
      if (queue.length === 0) continue;
      if (oldest === undefined || sequenceOf(queue) < sequenceOf(oldest)) oldest = queue;
    }
    const stored = oldest?.shift() as Stored;
    if (stored.lane.parked?.length === 0) stored.lane.parked = undefined;
    this.#leaveQueue(stored);
    this.#end(stored, 'dropped');
    return stored;
  }

  #miss(from: string, reason: 'full' | 'expired'): void {
    this.#missed ??= { full: new Map(), expired: new Map() };
    const bySender = this.#missed[reason];
    bySender.set(from, (bySender.get(from) ?? 0) + 1);
  }

  /** Ends waiting messages for which `isOver` holds, keeping the order of the rest. */
  #endWaiting(reason: 'expired' | 'left' | 'no-receiver', isOver: (stored: Stored) => boolean): Lost[] {
    const bySender = new Map<string, number>();
    const end = (stored: Stored): boolean => {
      if (!isOver(stored)) return false;
      this.#leaveQueue(stored);
      this.#end(stored, reason === 'expired' ? 'expired' : 'dropped');
      bySender.set(stored.message.from, (bySender.get(stored.message.from) ?? 0) + 1);
      return true;
    };
    for (const { queue } of this.#levels) strip(queue, end);
    for (const lane of this.#lanes.values()) {
      if (lane.parked === undefined) continue;
      strip(lane.parked, end);
      if (lane.parked.length === 0) lane.parked = undefined;
    }
    const { address } = this;
    return [...bySender].map(([from, count]) => ({ from, address, count, reason }));
  }

  #discard(count: number): void {
    this.counts.dead -= count;
    this.counts.dropped += count;
  }
}

/** Takes out of a ring what `isOver`, in one turn around it. */
function strip(queue: Ring<Stored>, isOver: (stored: Stored) => boolean): void {
  for (let left = queue.length; left > 0; left--) {
    const stored = queue.shift() as Stored;
    if (!isOver(stored)) queue.push(stored);
  }
}

function sequenceOf(queue: Ring<Stored>): number {
  return (queue.peek() as Stored).sequence;
}

function headOf(lane: Lane): Stored {
  return (lane.parked as Ring<Stored>).peek() as Stored;
}

/** Order of handing out between order keys. */
function isAhead(a: Stored, b: Stored): boolean {
  return a.level === b.level ? a.sequence < b.sequence : a.level > b.level;
}
