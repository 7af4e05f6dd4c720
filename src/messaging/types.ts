import type { Operations } from '../core/operations.ts';
import type { Backend, Capabilities } from '../core/ports/backend.ts';
import type { MessageCounts, MessageTransport } from '../core/ports/messages.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Cursor } from '../core/ports/words.ts';
import type { WaitGraph } from '../core/waits.ts';

/** A message as a handler gets it. */
export interface Envelope<P = unknown> {
  readonly id: string;
  readonly from: string;
  /** The agent that receives it, also when it was sent to a topic or to all. */
  readonly to: string;
  /** The topic it was published to. */
  readonly topic: string | undefined;
  readonly payload: P;
  /** `payload.type` when that is a string. */
  readonly type: string | undefined;
  /** True when it may have been handled before: be idempotent by `id`. */
  readonly redelivered: boolean;
  /** 1 = first. */
  readonly delivery: number;
  /** ms since 1970, by the backend's clock. */
  readonly sentAt: number;
  /** Names this handling in the wait-for graph: hand it to locks and requests made meanwhile. */
  readonly node: string;
  /** Aborts when the handling took longer than `ackWithinMs`, the agent left, or the router stopped. */
  readonly signal: AbortSignal;
  /** Answers a request. @returns false when nobody waits for the answer any more. @throws INVALID_ARGUMENT when it isn't a request */
  reply(payload: unknown): Promise<boolean>;
  /** A request of the receiver to another agent, as part of this handling: a deadlock through it is found. */
  request<R = unknown>(to: string, payload: unknown, options?: Omit<RequestOptions, 'node'>): Promise<R>;
  /** Acknowledges now, not at the end of the handling: what fails afterwards isn't repeated. */
  ack(): void;
}

/** An `async` handler is awaited before the message is acknowledged; a rejection redelivers it. */
export type MessageHandler<P = unknown> = (message: Envelope<P>) => unknown;

export interface SendOptions {
  /** `at-most-once`: dropped when nobody listens or the mailbox is full, never repeated. @default 'at-least-once' */
  readonly delivery?: 'at-most-once' | 'at-least-once';
  /** Larger is delivered first, but never before an earlier message of the same sender (and key). −1,000…1,000. @default 2 */
  readonly priority?: number | 'low' | 'medium' | 'high';
  /** Undelivered by then, it expires. @default `keepMs` of the router, else `messageTimeout` */
  readonly expiresInMs?: number;
  /** Messages of one sender with different keys are ordered independently of each other. @default one order for all of a sender */
  readonly key?: string;
  /** Given, it dedupes: a second message of this id to the same receiver within 10 min changes nothing. */
  readonly id?: string;
  /** Before it is stored, rejects with its reason; afterwards it has no effect. */
  readonly signal?: AbortSignal;
}

export interface BroadcastOptions extends SendOptions {
  /** Only to the subscribers of this topic. @default every agent that joined or subscribed */
  readonly topic?: string;
}

export interface RequestOptions extends Omit<SendOptions, 'id' | 'expiresInMs'> {
  /** Longest wait for the reply; then `REPLY_TIMEOUT`. @default `messageTimeout` */
  readonly timeoutMs?: number;
  /** The unit of execution that waits, for the wait-for graph; without it the wait is not part of it. */
  readonly node?: string;
}

export interface SubscribeOptions {
  /** Messages published to these topics too. */
  readonly topics?: readonly string[];
  /**
   * Shares these topics: subscribers to a topic that name the same group get one copy of each message between them. What one sender sends
   * (with one `key`) goes to the same of them, in order; different keys spread it.
   */
  readonly group?: string;
  /** Messages of different senders handled at the same time; the largest of an agent's subscriptions counts. @default 1 */
  readonly concurrency?: number;
  /** Bounds of the agent's mailbox; the last subscription that says something counts. @default the router's */
  readonly maxLength?: number;
  /** What happens to a message for the full mailbox. @default the router's */
  readonly overflow?: 'refuse' | 'drop-oldest' | 'drop-newest';
  /** The unit of execution that handles the messages, for the wait-for graph. @default each handling is one */
  readonly node?: string;
}

/** A handler at work. Usable as the handler id in `unsubscribe`, as an object or by its `id`; `await using` works. */
export interface Subscription extends AsyncDisposable {
  readonly id: string;
  readonly agentId: string;
  /** Resolves when the backend knows it. In memory it always does. */
  readonly ready: Promise<void>;
  /** Ends it; handling under way goes on to its end. */
  unsubscribe(): Promise<void>;
  toString(): string;
}

/** `messageTimeout` and the `messaging` table of options; keys of other parts are passed over. */
export interface MessagingOptions {
  readonly messageTimeout?: number;
  readonly maxLength?: number;
  readonly overflow?: 'refuse' | 'drop-oldest' | 'drop-newest';
  readonly keepMs?: number;
  readonly ackWithinMs?: number;
  readonly maxDeliveries?: number;
  readonly redeliveryDelayMs?: number;
  readonly concurrency?: number;
}

/** What a manager injects; alone, a router makes a memory backend of its own. */
export interface RouterParts {
  readonly runtime?: Runtime;
  readonly transport?: MessageTransport;
  readonly operations?: Operations;
  readonly capabilities?: Capabilities;
  readonly onHint?: Backend['onHint'];
  readonly waits?: WaitGraph;
  /** Units of execution that an agent runs now: they may answer requests to it. */
  readonly runsOf?: (agentId: string) => Iterable<string>;
}

/** Exact at every moment: published = delivered + dropped + expired + dead + waiting + handling. */
export interface MessagingStats extends MessageCounts {
  readonly pendingRequests: number;
  /** Answers to requests that were settled before (M2). */
  readonly lateReplies: number;
  /** Handlings that threw, rejected or took too long. */
  readonly failedHandlings: number;
  /** Acknowledgements that came after the message had been given to somebody else. */
  readonly staleAcks: number;
}

export interface DeadMessage {
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly topic: string | undefined;
  readonly payload: unknown;
  readonly deliveries: number;
  readonly reason: string;
  /** ms since 1970. */
  readonly sentAt: number;
}

/** Which dead letters: all of them when nothing is said. */
export interface DeadLetterFilter {
  /** In the mailbox of this agent. */
  readonly agentId?: string;
  /** These messages. */
  readonly ids?: readonly string[];
}

export interface DeadLetterPage {
  readonly items: readonly DeadMessage[];
  readonly next: Cursor | undefined;
}
