import { andThen, handled, isPromise } from '../core/awaitable.ts';
import { checkJson, PAYLOAD_LIMITS } from '../core/json.ts';
import type { NewMessage, PublishResult } from '../core/ports/messages.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import type { WaitGraph } from '../core/waits.ts';
import { HERE, replyAddress } from './addresses.ts';
import { type Composer, checkRequest } from './compose.ts';
import type { DeliveryPump, PumpHost } from './delivery-pump.ts';
import type { Handling } from './handling.ts';
import { type InboundRequest, InboundRequests } from './inbound-requests.ts';
import type { Outbox } from './outbox.ts';
import { noResponder, Replies } from './replies.ts';
import type { Envelope, RequestOptions } from './types.ts';

/** What travels to the reply address. */
type ReplyPayload = { readonly request: string } & (
  | { readonly value: unknown }
  | { readonly failed: string }
);

const INBOX = { maxLength: 100_000, overflow: 'drop-oldest' } as const;

/**
 * Requests and their answers. A reply to a request of this very router settles it at once; others travel as messages to the reply
 * address of the router that asked.
 */
export class Requests {
  readonly replies: Replies;
  waits: WaitGraph | undefined;
  readonly #composer: Composer;
  readonly #outbox: Outbox;
  readonly #timeoutMs: number;
  readonly #inbound: InboundRequests;
  /** Where replies come: here only, or an address of this router's own. */
  readonly #replyTo: string;
  readonly #published: (message: NewMessage, result: PublishResult) => void;
  #failures = 0;
  /** Set when replies may come from elsewhere. */
  #pump: DeliveryPump | undefined;
  #listening = false;

  constructor(parts: {
    readonly runtime: Runtime;
    readonly composer: Composer;
    readonly outbox: Outbox;
    readonly timeoutMs: number;
    readonly shared: boolean;
    readonly published: (message: NewMessage, result: PublishResult) => void;
  }) {
    this.#composer = parts.composer;
    this.#outbox = parts.outbox;
    this.#timeoutMs = parts.timeoutMs;
    this.#published = parts.published;
    this.#replyTo = parts.shared ? replyAddress(parts.runtime.ids.next()) : HERE;
    this.replies = new Replies(parts.runtime.clock);
    this.#inbound = new InboundRequests(parts.runtime.clock);
  }

  get stats(): {
    readonly pendingRequests: number;
    readonly lateReplies: number;
    readonly failedHandlings: number;
  } {
    const { size, late } = this.replies;
    return { pendingRequests: size, lateReplies: late, failedHandlings: this.#failures };
  }

  /** What the pump tells. */
  get host(): Omit<PumpHost, 'request'> {
    return {
      reply: (handling, payload) => this.#reply(handling, payload),
      requestReceived: (handling) => {
        if (handling.delivery.message.replyTo !== this.#replyTo) this.#inbound.add(handling);
      },
      requestHandled: (handling) => this.replies.markHandled(handling.delivery.message.id),
      requestBuried: (handling, reason) => this.#buried(handling, reason),
      failed: () => {
        this.#failures += 1;
      },
    };
  }

  /** Takes replies from other routers, from the first request on. */
  listen(pump: DeliveryPump): void {
    this.#pump = pump;
  }

  /** Stores the membership of the reply address anew: the session that carried it is over. */
  async rejoin(): Promise<void> {
    if (this.#listening) await this.#join(true);
  }

  /** Takes no more of them. */
  async leave(): Promise<void> {
    if (this.#listening) await this.#join(false);
  }

  /** Sends a request and waits for its answer. */
  ask(from: string, to: string, payload: unknown, options: RequestOptions | undefined): Promise<unknown> {
    const { timeoutMs, node } = checkRequest(options, this.#timeoutMs);
    if (this.#pump !== undefined && !this.#listening) this.#listen(this.#pump);
    const draft = this.#composer.message('request', from, to, payload, options);
    const message: NewMessage = {
      ...draft,
      replyTo: this.#replyTo,
      expiresInMs: timeoutMs === Number.POSITIVE_INFINITY ? undefined : timeoutMs,
    };
    const { id, orderKey } = message;
    const reply = this.replies.expect({ id, from, to, orderKey, node }, timeoutMs, options?.signal);
    this.#send(message);
    if (node !== undefined) this.waits?.entered(node);
    return reply;
  }

  /** Answers by the id of the request. @returns whether somebody waits */
  async answer(id: string, response: unknown): Promise<boolean> {
    const value = response === undefined ? null : response;
    const request = this.#inbound.take(id);
    if (request === undefined) return this.replies.resolve(id, value);
    return this.#answered(request, { request: id, value });
  }

  agentLeft(agentId: string, reason: string, error: Error): void {
    this.replies.responderLeft(agentId, reason);
    this.replies.requesterLeft(agentId, error);
  }

  close(error: Error): void {
    this.replies.close(error);
  }

  #listen(pump: DeliveryPump): void {
    const joined = this.#join(true);
    this.#listening = true;
    const consumer = pump.open(this.#replyTo);
    consumer.subscribers = [
      {
        id: this.#replyTo,
        handler: (message) => this.#receive(message),
        topics: undefined,
        group: undefined,
        concurrency: 1,
        node: undefined,
      },
    ];
    const ready = andThen(joined, () => {
      consumer.ready = true;
      pump.wake(consumer);
    });
    pump.chores.poll();
    if (isPromise(ready)) handled(ready);
  }

  #send(message: NewMessage): void {
    const { id, to } = message;
    try {
      const sent = andThen(this.#outbox.publish(message), (result) => {
        this.#published(message, result);
        if (result.status === 'no-receiver') this.replies.refuse(id, noResponder(to, 'nobody listens there'));
      });
      if (isPromise(sent)) sent.catch((error: unknown) => this.replies.refuse(id, error));
    } catch (error) {
      this.replies.refuse(id, error);
    }
  }

  async #reply(handling: Handling, payload: unknown): Promise<boolean> {
    checkJson(payload, 'payload', PAYLOAD_LIMITS);
    const first = !handling.replied;
    handling.replied = true;
    // A second reply to the same request is a late one.
    return first ? this.answer(handling.delivery.message.id, payload) : this.replies.countLate();
  }

  #buried(handling: Handling, reason: string): void {
    const { id, replyTo } = handling.delivery.message;
    const { address } = handling.delivery;
    if (replyTo === this.#replyTo) {
      this.replies.refuse(id, noResponder(address, `its handler failed: ${reason}`));
      return;
    }
    const request = this.#inbound.take(id);
    if (request === undefined) return;
    handled(this.#answered(request, { request: id, failed: reason.slice(0, 1_000) }));
  }

  /** @returns whether the reply is on its way */
  async #answered(request: InboundRequest, payload: ReplyPayload): Promise<boolean> {
    const result = await this.#outbox.publish(this.#composer.reply(request, payload));
    return result.status === 'published';
  }

  #receive({ from, payload }: Envelope): void {
    const reply = payload as ReplyPayload;
    if ('failed' in reply)
      this.replies.refuse(reply.request, noResponder(from, `its handler failed: ${reply.failed}`));
    else this.replies.resolve(reply.request, reply.value);
  }

  #join(listening: boolean): Awaitable<unknown> {
    return this.#outbox.subscribe({
      address: this.#replyTo,
      topics: [],
      listening,
      mailbox: listening ? INBOX : 'leave',
      keepMs: 0,
    });
  }
}
