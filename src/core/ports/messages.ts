import type { Awaitable, BackendTime, Encoded, Operation, Page, PageRequest, Stamped } from './words.ts';

/**
 * `m0` at most once: leaves the store when it is handed out; dropped when nobody listens or the mailbox is full. `m1` at least once,
 * acknowledged. A request is a message with `replyTo`; that it settles exactly once (M2) is core's work.
 */
export interface NewMessage {
  readonly id: string;
  /** The id is the caller's: a second message of this id to the same `to` within 10 min is a `duplicate`. Core's own ids are unique and need no memory. */
  readonly dedupe: boolean;
  readonly class: 'm0' | 'm1';
  readonly from: string;
  /** An address, or a topic when `topic` is set. Addresses and topics that begin with U+0001 are core's own. */
  readonly to: string;
  readonly topic: boolean;
  /** FIFO per (orderKey, receiver); core puts the sender, or sender + key. */
  readonly orderKey: string;
  /** `m0` on a network: number in (from, to), so that the receiver can count what it missed. 0 where the transport counts itself (memory). */
  readonly n: number;
  readonly payload: Encoded;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Larger is handed out first, **between order keys only**: within one it never overtakes. */
  readonly priority: number;
  /** Undelivered by then → expired; `undefined`: never. */
  readonly expiresInMs: number | undefined;
  /** Set for a request: the address of the reply. */
  readonly replyTo: string | undefined;
  /** Set for a reply: the id of the request. */
  readonly correlation: string | undefined;
}

/** How much a mailbox may hold waiting (what is being handled doesn't count), and what gives when it is full. An `m0` is dropped under `refuse` too. */
export interface MailboxSettings {
  readonly maxLength: number;
  readonly overflow: 'refuse' | 'drop-oldest' | 'drop-newest';
}

/** Messages that ended undelivered, for counting and events. */
export interface Lost {
  readonly from: string;
  readonly address: string;
  readonly count: number;
  readonly reason: 'full' | 'expired' | 'left' | 'no-receiver' | 'discarded' | 'unwanted';
}

/** Where a message went. `receivers`: members of one snapshot (M3), a group counts as one; copies dropped at a full mailbox are in `lost` too. */
export type PublishResult =
  | { readonly status: 'published'; readonly receivers: number; readonly lost?: readonly Lost[] }
  | { readonly status: 'duplicate' }
  /** An `m0` nobody listens for, or a topic without members: counted as published and dropped. */
  | { readonly status: 'no-receiver' }
  /** Refused, not counted as published. */
  | { readonly status: 'full'; readonly address: string };

/** What a receiver takes. `onePerKey`: nothing of an order key of which it has a message unacknowledged already. */
export interface Wanted {
  readonly address: string;
  readonly limit: number;
  readonly onePerKey?: boolean;
}

/** Names one delivery. Hand back the {@link Delivery} itself where possible: the memory backend then needs no look-up. */
export interface DeliveryRef {
  readonly address: string;
  /** Opaque; proves this delivery, not an earlier one. */
  readonly receipt: string;
}

/** A message in the hand of a receiver. A snapshot: it never changes. */
export interface Delivery extends DeliveryRef {
  readonly message: NewMessage;
  /** 1 = first. More: it was handed out before and came back without `release`, so it may have been handled. */
  readonly delivery: number;
  readonly sentAt: BackendTime;
}

export type MessageSettlement = { readonly delivery: DeliveryRef } & (
  | { readonly as: 'ack' }
  /** Back to the front of its order key, handed out again after the delay. */
  | { readonly as: 'retry'; readonly delayMs: number }
  /** Given back unhandled: the delivery is not counted. The only way back that doesn't count. */
  | { readonly as: 'release' }
  /** → dead letters. */
  | { readonly as: 'bury'; readonly reason: string }
  /** Nobody here wants it any more: counted as dropped. */
  | { readonly as: 'drop' }
);

/** Exact at every moment (M0, M1): published = delivered + dropped + expired + dead + waiting + handling. */
export interface MessageCounts {
  readonly published: number;
  /** Acknowledged; an `m0` when handed out. */
  readonly delivered: number;
  readonly dropped: number;
  readonly expired: number;
  /** In the dead letters now. */
  readonly dead: number;
  readonly waiting: number;
  readonly handling: number;
}

export interface MailboxView extends MessageCounts {
  readonly address: string;
  /** Set for the shared mailbox of a group. */
  readonly group?: string;
  /** Oldest first; none unless `filter.messages` asks. */
  readonly messages: readonly (Omit<Delivery, 'receipt' | 'address'> & { readonly reason?: string })[];
}

/** A listener, absolute per (session, address): each change replaces what was said before. */
export interface Membership {
  readonly address: string;
  /** Each topic once. Members of one `group` share one copy of a topic's message, in a mailbox of their own; without it each gets its own. */
  readonly topics: readonly { readonly topic: string; readonly group?: string }[];
  /** Whether somebody takes messages here now; an offline member still gets its copies. */
  readonly listening: boolean;
  /** `none`: keeps nothing while nobody listens. `leave`: ends the address; what waits there is dropped. */
  readonly mailbox: MailboxSettings | 'none' | 'leave';
  /** How long the membership outlives a crash of its session. */
  readonly keepMs: number;
}

/**
 * Carries messages between addresses; 7 methods. An address that never was a member has an offline mailbox with the settings that
 * `publish` is given, so nothing sent before its first subscription is lost. `'cursor'` transports (Kafka) refuse `retry` with a delay
 * and answer `NOT_SUPPORTED` to `list` and `revise`.
 */
export interface MessageTransport {
  /** Joins, changes or leaves. `lost`: what a `leave` dropped. */
  subscribe(
    op: Operation,
    changes: readonly Membership[],
  ): Awaitable<Stamped & { readonly lost: readonly Lost[] }>;
  /**
   * Stores or fans out. Core has at most one call of a session under way, because two could commit in the wrong order. A topic's
   * message doesn't go back to the member it came from; a group gets its copy all the same.
   */
  publish(
    op: Operation,
    messages: readonly NewMessage[],
    defaults: MailboxSettings,
  ): Awaitable<Stamped & { readonly results: readonly PublishResult[] }>;
  /**
   * Takes up to `limit` deliveries for each address that this session is a member of. While one message of an order key is
   * unacknowledged, further ones go to the same member only, and none after one was given back, until all of the key are. Within
   * one answer they are in order. Unacknowledged after `ackWithinMs`, or when the session ends → handed out again, counted.
   */
  receive(
    op: Operation,
    request: {
      readonly addresses: readonly Wanted[];
      readonly ackWithinMs: number;
    },
  ): Awaitable<
    Stamped & {
      readonly deliveries: readonly Delivery[];
      /** Copies of `m0` that these addresses lost since they last asked. */
      readonly missed: readonly Lost[];
      /** When a message of these addresses that waits for its time may be had; `Infinity` when none does. */
      readonly nextInMs: number;
    }
  >;
  /** Ends deliveries. `false`: the receipt is not current. `readied`: addresses that can go on because of it. */
  settle(
    op: Operation,
    items: readonly MessageSettlement[],
  ): Awaitable<Stamped & { readonly settled: readonly boolean[]; readonly readied: readonly string[] }>;
  /** Mechanical chores over at most `limit` mailboxes: expiry, receipts run out, members whose session died long ago. Says when it next wants to be called. */
  sweep(
    op: Operation,
    limit: number,
  ): Awaitable<
    Stamped & {
      readonly lost: readonly Lost[];
      readonly readied: readonly string[];
      /** `Infinity` when the store is empty. */
      readonly nextInMs: number;
    }
  >;
  /** Dead letters back to the end of their mailbox as new, or away for good; at most `limit` a call. */
  revise(
    op: Operation,
    request: {
      readonly set: 'redrive' | 'discard';
      readonly address?: string;
      readonly ids?: readonly string[];
      readonly limit: number;
    },
  ): Awaitable<
    Stamped & {
      readonly changed: number;
      readonly more: boolean;
      readonly lost: readonly Lost[];
      readonly readied: readonly string[];
    }
  >;
  /** Mailboxes for people, by age; with `messages` their letters too, at most `limit` of them on a page, and a long mailbox goes on on the next. */
  list(
    filter: { readonly address?: string; readonly messages?: 'waiting' | 'dead' },
    page: PageRequest,
  ): Awaitable<Page<MailboxView> & { readonly totals: MessageCounts }>;
}
