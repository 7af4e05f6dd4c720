import type {
  Delivery,
  Lost,
  MailboxSettings,
  MailboxView,
  Membership,
  MessageCounts,
  MessageSettlement,
  MessageTransport,
  NewMessage,
  PublishResult,
  Wanted,
} from '../../core/ports/messages.ts';
import type {
  BackendTime,
  Operation,
  Page,
  PageRequest,
  SessionNumber,
  Stamped,
} from '../../core/ports/words.ts';
import type { MemoryCore } from './memory-core.ts';
import { DedupeWindow } from './message-dedupe.ts';
import { Expiries } from './message-expiries.ts';
import { Flights } from './message-flights.ts';
import { type Flight, type Home, Stored } from './message-lane.ts';
import { listMailboxes } from './message-list.ts';
import { type Counts, type DeadLetter, type Load, Mailbox, zeroCounts } from './message-mailbox.ts';
import { type Mailboxes, Members } from './message-members.ts';
import type { SessionFollower } from './sessions.ts';

/** Answers shared by all calls: a message costs no object for them. */
const PUBLISHED: PublishResult = Object.freeze({ status: 'published', receivers: 1 });
const DUPLICATE: PublishResult = Object.freeze({ status: 'duplicate' });
const NO_RECEIVER: PublishResult = Object.freeze({ status: 'no-receiver' });
const NONE: readonly never[] = Object.freeze([]);
/** A mailbox keeps so many dead letters, or as many as it may hold messages if that is more. */
const KEEP_DEAD = 1_000;
const SWEEP_MS = 1_000;

/** Messages in memory: one thread, so each call is atomic and `publish` sees one snapshot of the members (M3). */
export class MemoryMessageTransport implements MessageTransport, SessionFollower {
  readonly #core: MemoryCore;
  readonly #mailboxes = new Map<string, Mailbox>();
  readonly #members: Members;
  readonly #flights = new Flights();
  readonly #dedupe = new DedupeWindow();
  readonly #expiries = new Expiries();
  readonly #load: Load = {
    count: 0,
    expiring: (mailbox, at) => this.#expiries.add(mailbox, at),
  };
  /** Counts of mailboxes that are gone, and of messages that never had one. */
  readonly #retired: Counts = zeroCounts();
  #sequence = 0;
  #ordinal = 0;
  #sweeping: Iterator<Mailbox> | undefined;

  constructor(core: MemoryCore) {
    this.#core = core;
    const mailboxes: Mailboxes = {
      direct: (address) => this.#mailbox(address),
      group: (topic, group) => this.#mailbox(topic, group),
    };
    this.#members = new Members(mailboxes);
    core.sessions.follow(this);
  }

  subscribe(op: Operation, changes: readonly Membership[]): Stamped & { readonly lost: readonly Lost[] } {
    const at = this.#core.sessions.expireDue();
    return this.#core.log.once(op, () => ({
      at,
      lost: changes.flatMap((change) =>
        change.mailbox === 'leave'
          ? this.#leave(op.session, change.address, at)
          : this.#members.set(op.session, change),
      ),
    }));
  }

  publish(
    op: Operation,
    messages: readonly NewMessage[],
    defaults: MailboxSettings,
  ): Stamped & { readonly results: readonly PublishResult[] } {
    const at = this.#core.sessions.expireDue();
    return this.#core.log.once(op, () => {
      const results = new Array<PublishResult>(messages.length);
      for (let i = 0; i < messages.length; i++)
        results[i] = this.#publish(messages[i] as NewMessage, at, defaults);
      return { at, results };
    });
  }

  receive(
    op: Operation,
    request: {
      readonly addresses: readonly Wanted[];
      readonly ackWithinMs: number;
    },
  ): Stamped & {
    readonly deliveries: readonly Delivery[];
    readonly missed: readonly Lost[];
    readonly nextInMs: number;
  } {
    const at = this.#core.sessions.expireDue();
    return this.#core.log.once(op, () => {
      this.#reclaim(at);
      const deliveries: Stored[] = [];
      const flight: Flight = {
        session: op.session,
        deadline: at + request.ackWithinMs * 1_000,
        items: deliveries,
        open: 0,
      };
      let missed: readonly Lost[] = NONE;
      let nextDue = Number.POSITIVE_INFINITY;
      for (const { address, limit, onePerKey = false } of request.addresses) {
        const member = this.#members.get(op.session, address);
        if (member === undefined) continue;
        const { sources } = member;
        const end = deliveries.length + limit;
        member.turn = (member.turn + 1) % sources.length;
        for (let i = 0; i < sources.length; i++) {
          const source = sources[(member.turn + i) % sources.length] as Mailbox;
          source.take(member, { address, limit: end - deliveries.length, onePerKey }, at, deliveries, flight);
          const losses = source.takeMissed();
          if (losses.length > 0) missed = [...missed, ...losses];
          nextDue = Math.min(nextDue, source.nextDue);
        }
      }
      if (flight.open > 0) this.#flights.add(flight);
      return { at, deliveries, missed, nextInMs: Math.max(0, (nextDue - at) / 1_000) };
    });
  }

  settle(
    op: Operation,
    items: readonly MessageSettlement[],
  ): Stamped & { readonly settled: readonly boolean[]; readonly readied: readonly string[] } {
    const at = this.#core.sessions.expireDue();
    return this.#core.log.once(
      op,
      () => {
        const settled = new Array<boolean>(items.length);
        const readied = new Set<Home>();
        for (let i = 0; i < items.length; i++) {
          settled[i] = this.#settle(op.session, items[i] as MessageSettlement, at, readied);
        }
        return { at, settled, readied: this.#wake(readied) };
      },
      true,
    );
  }

  sweep(
    op: Operation,
    limit: number,
  ): Stamped & {
    readonly lost: readonly Lost[];
    readonly readied: readonly string[];
    readonly nextInMs: number;
  } {
    const at = this.#core.sessions.expireDue();
    return this.#core.log.once(op, () => {
      this.#dedupe.prune(at);
      const lost = this.#members.prune(at);
      const readied = this.#reclaim(at);
      this.#expire(at, limit, lost, readied);
      for (let left = limit; left > 0; left--) {
        this.#sweeping ??= this.#mailboxes.values();
        const next = this.#sweeping.next();
        if (next.done === true) {
          this.#sweeping = undefined;
          break;
        }
        this.#sweepMailbox(next.value, at, lost, readied);
      }
      // What has expired and found no room in this call goes in the next.
      const overdue = this.#expiries.soonest <= at ? at : Number.POSITIVE_INFINITY;
      const soonest = (Math.min(this.#flights.soonest, overdue) - at) / 1_000;
      const nextInMs =
        this.#load.count === 0 ? Number.POSITIVE_INFINITY : Math.min(SWEEP_MS, Math.max(1, soonest));
      return { at, lost, readied: this.#wake(readied), nextInMs };
    });
  }

  revise(
    op: Operation,
    request: {
      readonly set: 'redrive' | 'discard';
      readonly address?: string;
      readonly ids?: readonly string[];
      readonly limit: number;
    },
  ): Stamped & {
    readonly changed: number;
    readonly more: boolean;
    readonly lost: readonly Lost[];
    readonly readied: readonly string[];
  } {
    const at = this.#core.sessions.expireDue();
    return this.#core.log.once(op, () => {
      const ids = request.ids === undefined ? undefined : new Set(request.ids);
      const lost: Lost[] = [];
      const readied = new Set<Home>();
      let changed = 0;
      let more = false;
      for (const mailbox of this.#chosen(request.address)) {
        const matching = mailbox.dead.filter(({ stored }) => ids === undefined || ids.has(stored.message.id));
        const letters = matching.slice(0, request.limit - changed);
        more ||= letters.length < matching.length;
        if (letters.length === 0) continue;
        changed += letters.length;
        if (request.set === 'discard') lost.push(...this.#discard(mailbox, letters));
        else {
          mailbox.redrive(letters, at, () => ++this.#sequence);
          readied.add(mailbox);
        }
      }
      return { at, changed, more, lost, readied: this.#wake(readied) };
    });
  }

  list(
    filter: { readonly address?: string; readonly messages?: 'waiting' | 'dead' },
    page: PageRequest,
  ): Page<MailboxView> & { readonly totals: MessageCounts } {
    const at = this.#core.sessions.expireDue();
    const totals = { ...this.#retired };
    for (const { counts } of this.#mailboxes.values()) addCounts(totals, counts);
    return { at, totals, ...listMailboxes([...this.#chosen(filter.address)], filter.messages, page) };
  }

  sessionEnded(session: SessionNumber, how: 'close' | 'expire'): void {
    const at = this.#core.clock.now();
    const readied = new Set<Home>();
    this.#members.endSession(session, how, at);
    for (const item of this.#flights.of(session)) this.#putBack(item, true, 0, at, readied);
    this.#wake(readied);
  }

  #publish(message: NewMessage, at: BackendTime, defaults: MailboxSettings): PublishResult {
    if (message.dedupe && this.#dedupe.has(message, at)) return DUPLICATE;
    const result = message.topic
      ? this.#publishToTopic(message, at, defaults)
      : this.#publishToAddress(message, at, defaults);
    if (message.dedupe && result.status !== 'full') this.#dedupe.add(message, at);
    return result;
  }

  #publishToAddress(message: NewMessage, at: BackendTime, defaults: MailboxSettings): PublishResult {
    const mailbox = this.#mailbox(message.to);
    if ((message.class === 'm0' || mailbox.settings === 'none') && !mailbox.hasListener) {
      mailbox.counts.published += 1;
      mailbox.counts.dropped += 1;
      return NO_RECEIVER;
    }
    const outcome = mailbox.put(message, at, ++this.#sequence, defaults);
    if (outcome === 'full') return { status: 'full', address: message.to };
    if (!this.#core.hints.idle) this.#hint(mailbox);
    return outcome === undefined ? PUBLISHED : { status: 'published', receivers: 1, lost: outcome };
  }

  #publishToTopic(message: NewMessage, at: BackendTime, defaults: MailboxSettings): PublishResult {
    const targets = this.#targets(message);
    if (targets.size === 0) {
      this.#retired.published += 1;
      this.#retired.dropped += 1;
      return NO_RECEIVER;
    }
    const lost: Lost[] = [];
    for (const mailbox of targets) {
      if (message.class === 'm0' && !mailbox.hasListener) {
        mailbox.counts.published += 1;
        mailbox.counts.dropped += 1;
        lost.push({ from: message.from, address: mailbox.address, count: 1, reason: 'no-receiver' });
        continue;
      }
      const outcome = mailbox.put(message, at, ++this.#sequence, defaults);
      if (outcome === 'full') {
        // A copy can't be refused to a sender who doesn't know the members: it is dropped, and counted.
        mailbox.counts.published += 1;
        mailbox.counts.dropped += 1;
        lost.push({ from: message.from, address: mailbox.address, count: 1, reason: 'full' });
      } else if (outcome !== undefined) lost.push(...outcome);
      if (!this.#core.hints.idle) this.#hint(mailbox);
    }
    return { status: 'published', receivers: targets.size, ...(lost.length > 0 ? { lost } : {}) };
  }

  /** The mailboxes of a topic's members but the sender; a group has one. */
  #targets(message: NewMessage): Set<Mailbox> {
    const targets = new Set<Mailbox>();
    for (const member of this.#members.ofTopic(message.to) ?? NONE) {
      const group = member.topics.get(message.to);
      if (group !== undefined) targets.add(this.#mailbox(message.to, group));
      else if (member.address !== message.from) targets.add(member.sources[0] as Mailbox);
    }
    return targets;
  }

  #settle(session: SessionNumber, item: MessageSettlement, at: BackendTime, readied: Set<Home>): boolean {
    const { delivery } = item;
    const stored =
      delivery instanceof Stored ? delivery : this.#flights.find(delivery.address, delivery.receipt);
    if (stored === undefined || stored.state !== 'held' || stored.flight?.session !== session) return false;
    const { mailbox, flight } = stored;
    let free: boolean;
    switch (item.as) {
      case 'ack':
        free = mailbox.ack(stored);
        break;
      case 'drop':
        free = mailbox.drop(stored);
        break;
      case 'bury':
        free = mailbox.bury(stored, item.reason, keepDead(mailbox));
        break;
      case 'retry':
        free = mailbox.putBack(stored, true, item.delayMs, at);
        break;
      default:
        free = mailbox.putBack(stored, false, 0, at);
    }
    if (free) readied.add(mailbox);
    this.#flights.settled(flight);
    return true;
  }

  /** Puts back what was not acknowledged in time. */
  #reclaim(at: BackendTime): Set<Home> {
    const readied = new Set<Home>();
    if (this.#flights.soonest > at) return readied;
    for (const item of this.#flights.overdue(at)) this.#putBack(item, true, 0, at, readied);
    return readied;
  }

  #putBack(item: Stored, counted: boolean, delayMs: number, at: BackendTime, readied: Set<Home>): void {
    if (item.mailbox.putBack(item, counted, delayMs, at)) readied.add(item.mailbox);
    if (item.flight !== undefined) this.#flights.settled(item.flight);
  }

  #leave(session: SessionNumber, address: string, at: BackendTime): Lost[] {
    const lost = this.#members.leave(session, address);
    const mailbox = this.#mailboxes.get(address);
    if (mailbox === undefined) return lost;
    if (this.#members.has(address)) {
      // Others still take from it: they get what this session had in hand.
      const readied = new Set<Home>();
      for (const item of this.#flights.from(mailbox)) {
        if (item.flight?.session === session) this.#putBack(item, true, 0, at, readied);
      }
      this.#wake(readied);
      return lost;
    }
    const inHand = new Map<string, number>();
    for (const item of this.#flights.from(mailbox)) {
      const { from } = item.message;
      inHand.set(from, (inHand.get(from) ?? 0) + 1);
      mailbox.drop(item);
      if (item.flight !== undefined) this.#flights.settled(item.flight);
    }
    for (const [from, count] of inHand) lost.push({ from, address, count, reason: 'left' });
    lost.push(...mailbox.dropWaiting('left'));
    mailbox.settings = undefined;
    // Nothing sweeps an empty store.
    this.#retire(mailbox);
    return lost;
  }

  /** Visits those in which something has expired; those beyond the limit keep their turn. */
  #expire(at: BackendTime, limit: number, lost: Lost[], readied: Set<Home>): void {
    for (let left = limit; left > 0; left--) {
      const mailbox = this.#expiries.shift(at);
      if (mailbox === undefined) return;
      this.#sweepMailbox(mailbox, at, lost, readied);
      mailbox.note();
    }
  }

  #sweepMailbox(mailbox: Mailbox, at: BackendTime, lost: Lost[], readied: Set<Home>): void {
    lost.push(...mailbox.expire(at), ...mailbox.takeMissed());
    if (mailbox.recoverDue(at)) readied.add(mailbox);
    this.#retire(mailbox);
  }

  /** Forgets a mailbox with nothing in it and nobody at it. */
  #retire(mailbox: Mailbox): void {
    const key = keyOf(mailbox.address, mailbox.group);
    if (!mailbox.isIdle || this.#mailboxes.get(key) !== mailbox) return;
    addCounts(this.#retired, mailbox.counts);
    this.#mailboxes.delete(key);
  }

  #discard(mailbox: Mailbox, letters: readonly DeadLetter[]): Lost[] {
    mailbox.discard(letters);
    return letters.map(({ stored }) => ({
      from: stored.message.from,
      address: mailbox.address,
      count: 1,
      reason: 'discarded',
    }));
  }

  /** Tells the members of these mailboxes. @returns their addresses. */
  #wake(mailboxes: ReadonlySet<Home>): readonly string[] {
    if (mailboxes.size === 0) return NONE;
    const addresses = new Set<string>();
    for (const mailbox of mailboxes) {
      for (const member of mailbox.members) addresses.add(member.address);
      if (!this.#core.hints.idle) this.#hint(mailbox);
    }
    return [...addresses];
  }

  #hint(mailbox: Home): void {
    for (const { address } of mailbox.members) this.#core.hint({ about: 'messages', address });
  }

  *#chosen(address: string | undefined): Generator<Mailbox> {
    for (const mailbox of this.#mailboxes.values()) {
      if (address === undefined || mailbox.address === address) yield mailbox;
    }
  }

  #mailbox(address: string, group?: string): Mailbox {
    const key = keyOf(address, group);
    let mailbox = this.#mailboxes.get(key);
    if (mailbox === undefined) {
      mailbox = new Mailbox(address, group, ++this.#ordinal, this.#load);
      this.#mailboxes.set(key, mailbox);
    }
    return mailbox;
  }
}

/** A group's mailbox can't be mistaken for an address: those have no U+0000. */
function keyOf(address: string, group: string | undefined): string {
  return group === undefined ? address : `${address}\0${group}`;
}

function keepDead({ settings }: Home): number {
  return typeof settings === 'object' ? Math.max(settings.maxLength, KEEP_DEAD) : KEEP_DEAD;
}

function addCounts(sum: Counts, more: MessageCounts): void {
  for (const key of Object.keys(sum) as (keyof MessageCounts)[]) sum[key] += more[key];
}
