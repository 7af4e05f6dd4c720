import type { Awaitable, BackendTime, Encoded, Operation, Page, PageRequest, Stamped } from './words.ts';

/**
 * `m0` at most once, dropped when nobody listens or a buffer is full; carries `n`, counted per (sender, address), so a receiver can count what it missed.
 * `m1` at least once, acknowledged. A request is an `m1` or `m0` with `replyTo`; exactly-once settling of the caller (M2) is core's work.
 */
export interface NewMessage {
  readonly id: string; // dedupe by (address, id) for 10 min
  readonly class: 'm0' | 'm1';
  readonly from: string;
  readonly to: { readonly address: string } | { readonly topic: string };
  readonly orderKey: string; // FIFO per (orderKey, receiver); core puts sender, or sender + conversation
  readonly n: number;
  readonly payload: Encoded;
  readonly headers?: Readonly<Record<string, string>>;
  readonly priority: number; // between order keys only
  readonly expiresInMs?: number;
  readonly replyTo?: string;
  readonly correlation?: string;
}

/** Where a message of a topic went: members at one instant (M3), or the group that shares the work. */
export type PublishResult =
  | { readonly status: 'published' | 'duplicate'; readonly receivers: number }
  | { readonly status: 'no-receiver' }
  | { readonly status: 'full'; readonly address: string };

export interface Delivery extends Omit<NewMessage, 'class' | 'to'> {
  readonly class: 'm0' | 'm1';
  readonly address: string;
  readonly topic?: string;
  readonly receipt: string; // opaque; proves this delivery, not an earlier one
  readonly delivery: number; // 1 = first
  readonly sentAt: BackendTime;
}

/** Carries bytes between addresses. 5 methods. `'cursor'` transports refuse `retry` with a delay and answer `NOT_SUPPORTED` to `list`. */
export interface MessageTransport {
  /** Joins or leaves, absolute per address: `topics` replaces. `group` members share one copy; without it each member gets its own. `mailbox` keeps m1 while offline. */
  subscribe(
    op: Operation,
    changes: readonly {
      readonly address: string;
      readonly topics: readonly string[];
      readonly group?: string;
      readonly mailbox:
        | {
            readonly keepMs: number;
            readonly maxLength: number;
            readonly overflow: 'refuse' | 'drop-oldest' | 'drop-newest';
          }
        | 'none'
        | 'leave';
    }[],
  ): Awaitable<Stamped>;
  /** Stores or fans out. Calls of one session are processed in order, one at a time: two in flight could commit in the wrong order. */
  publish(
    op: Operation,
    messages: readonly NewMessage[],
  ): Awaitable<Stamped & { readonly results: readonly PublishResult[] }>;
  /** Deliveries for these addresses of this session: never a second message of an order key while one is unacknowledged elsewhere. Unacknowledged after `ackWithinMs` → again. */
  receive(
    op: Operation,
    request: { readonly addresses: readonly string[]; readonly limit: number; readonly ackWithinMs: number },
  ): Awaitable<
    Stamped & {
      readonly deliveries: readonly Delivery[];
      readonly missed: readonly { readonly from: string; readonly address: string; readonly count: number }[];
    }
  >;
  /** `ack` after the handler finished; `retry` puts it back first of its order key after the delay; `bury` → dead letters. `false` = the receipt is not current. */
  settle(
    op: Operation,
    items: readonly ({ readonly receipt: string } & (
      | { readonly as: 'ack' }
      | { readonly as: 'retry'; readonly delayMs: number }
      | { readonly as: 'bury'; readonly reason: string }
    ))[],
  ): Awaitable<Stamped & { readonly settled: readonly boolean[] }>;
  /** Mailboxes and dead letters for people and redrive. */
  list(
    filter: { readonly address?: string; readonly dead?: boolean },
    page: PageRequest,
  ): Awaitable<
    Page<{
      readonly address: string;
      readonly depth: number;
      readonly dropped: number;
      readonly expired: number;
      readonly messages: readonly Omit<Delivery, 'receipt'>[];
    }>
  >;
}
