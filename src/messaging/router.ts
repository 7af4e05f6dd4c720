import { MemoryMessageTransport } from '../backends/memory/message-transport.ts';
import { standalone } from '../backends/memory/standalone.ts';
import { handled, isPromise } from '../core/awaitable.ts';
import { checkId, checkMs, checkSignal, invalid, reading } from '../core/check.ts';
import { CoordinationError, describe } from '../core/errors.ts';
import { type EventSink, silentSink } from '../core/events.ts';
import { checkJson, PAYLOAD_LIMITS } from '../core/json.ts';
import { checkOptions, resolveOptions } from '../core/options.ts';
import type { NewMessage, PublishResult } from '../core/ports/messages.ts';
import type { Clock, Logger } from '../core/ports/runtime.ts';
import type { Cursor } from '../core/ports/words.ts';
import { guardedLogger } from '../core/runtime/guarded-logger.ts';
import { silentLogger } from '../core/runtime/logger.ts';
import { EVERYBODY } from './addresses.ts';
import { Composer } from './compose.ts';
import { DeadLetters } from './dead-letters.ts';
import { DeliveryPump } from './delivery-pump.ts';
import { streamMessages } from './message-stream.ts';
import { Outbox } from './outbox.ts';
import { ReplyWaits } from './reply-waits.ts';
import { Requests } from './requests.ts';
import { Subscriptions } from './subscriptions.ts';
import type {
  BroadcastOptions,
  DeadLetterFilter,
  DeadLetterPage,
  Envelope,
  MessageHandler,
  MessagingOptions,
  MessagingStats,
  RequestOptions,
  RouterParts,
  SendOptions,
  SubscribeOptions,
  Subscription,
} from './types.ts';

/** Longest wait of `shutdown` for handlers under way, ms. */
const DRAIN_MS = 5_000;
/** How long the store may take to hear of the end, ms. */
const STORE_MS = 5_000;
/** A mailbox outlives its process's crash by this when nothing expires. */
const KEEP_FOREVER_MS = 365 * 24 * 3_600_000;

/**
 * Messages between agents: mailboxes that keep what came before the first `subscribe`, order per sender, acknowledgement and redelivery,
 * dead letters, topics, broadcasts, requests. At least once unless asked otherwise: handlers must be idempotent by message id.
 *
 * @example
 * const router = new MessageRouter({ messageTimeout: 10_000 });
 * router.subscribe('agent2', (message) => console.log(message.from, message.payload));
 * await router.send('agent1', 'agent2', { type: 'status' });
 */
export class MessageRouter implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #events: EventSink;
  readonly #composer: Composer;
  readonly #outbox: Outbox;
  readonly #pump: DeliveryPump;
  readonly #requests: Requests;
  readonly #subscriptions: Subscriptions;
  readonly #deadLetters: DeadLetters;
  readonly #streams = new Map<() => void, string>();
  readonly #owned: Disposable[] = [];
  #stopped: CoordinationError | undefined;
  #stopping: Promise<void> | undefined;

  /**
   * @param config `messageTimeout` and the `messaging` options; keys of other parts are passed over
   * @param parts what a manager injects; alone, the router works on a memory backend of its own
   * @throws INVALID_OPTION
   */
  constructor(
    config: MessagingOptions & object = {},
    events: EventSink = silentSink,
    logger: Logger = silentLogger,
    parts: RouterParts = {},
  ) {
    const options = resolveOptions('messaging', config);
    const { messageTimeout } = resolveOptions('manager', config);
    const keepMs = options.keepMs ?? messageTimeout;
    const { runtime, transport, operations } = seat(parts, logger);
    const shared = parts.capabilities?.shared === true;
    const mailbox = {
      maxLength: options.maxLength,
      overflow: options.overflow,
    };
    this.#clock = runtime.clock;
    this.#events = events;
    this.#composer = new Composer(runtime.ids, keepMs);
    const maxBatch = parts.capabilities?.maxBatch ?? 10_000;
    this.#outbox = new Outbox(transport, operations, { maxBatch, defaults: mailbox });
    this.#requests = new Requests({
      runtime,
      composer: this.#composer,
      outbox: this.#outbox,
      timeoutMs: messageTimeout,
      shared,
      published: (message, result) => this.#published(message, result),
    });
    this.#pump = new DeliveryPump({
      runtime,
      transport,
      operations,
      settings: options,
      events,
      logger: guardedLogger(logger),
      host: {
        ...this.#requests.host,
        request: (from, to, payload, given) => this.request(from, to, payload, given),
      },
      shared,
      far: parts.capabilities?.roundTrip === 'network',
      maxBatch,
    });
    this.#subscriptions = new Subscriptions(this.#pump, this.#outbox, runtime.ids, {
      mailbox,
      concurrency: options.concurrency,
      keepMs: Math.min(keepMs, KEEP_FOREVER_MS),
    });
    this.#deadLetters = new DeadLetters(transport, operations, this.#pump, maxBatch);
    this.#join(parts, shared);
  }

  /**
   * Sends one message. Resolves to its id when it is in the receiver's mailbox; a receiver that nobody knows has one too, and finds it
   * there when it subscribes.
   * @throws MAILBOX_FULL by the receiver's overflow policy, UNKNOWN_AGENT for one that was removed, STOPPED, INVALID_ARGUMENT
   */
  send(from: string, to: string, payload: unknown, options?: SendOptions): Promise<string> {
    try {
      this.#check(from, to);
      const message = this.#composer.message('send', from, to, payload, options);
      const result = this.#outbox.publish(message);
      if (isPromise(result))
        return result.then((stored) => {
          this.#published(message, stored);
          return message.id;
        });
      this.#published(message, result);
      // Whoever awaits each send lets timers and receivers have their turn.
      if (this.#pump.isTurnOver) return this.#pump.nextTurn().then(() => message.id);
      return Promise.resolve(message.id);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Sends one message to every agent that joined or subscribed but the sender, or to the subscribers of `topic`: the members at one
   * instant (M3), offline ones included. A copy for a full mailbox is dropped and reported.
   * @throws STOPPED, UNKNOWN_AGENT, INVALID_ARGUMENT
   */
  async broadcast(
    from: string,
    payload: unknown,
    options?: BroadcastOptions,
  ): Promise<{ readonly receivers: number }> {
    this.#check(from);
    const wanted = reading('options', () => options?.topic);
    const topic = wanted === undefined ? EVERYBODY : checkId(wanted, 'topic');
    const message = this.#composer.message('broadcast', from, topic, payload, options);
    const result = await this.#outbox.publish(message);
    this.#published(message, result);
    return { receivers: result.status === 'published' ? result.receivers : 0 };
  }

  /**
   * Asks and waits for the answer. Settles exactly once (M2).
   * @throws REPLY_TIMEOUT, NO_RESPONDER (the responder was removed, gave up, or — at most once — doesn't listen), DEADLOCK (with `node`),
   * STOPPED, MAILBOX_FULL; the reason of an aborted signal
   */
  async request<R = unknown>(
    from: string,
    to: string,
    payload: unknown,
    options?: RequestOptions,
  ): Promise<R> {
    this.#check(from, to);
    return (await this.#requests.ask(from, to, payload, options)) as R;
  }

  /** The same as {@link request}, in the predecessor's form. */
  sendWithResponse<R = unknown>(from: string, to: string, payload: unknown, timeoutMs?: number): Promise<R> {
    return this.request<R>(from, to, payload, timeoutMs === undefined ? undefined : { timeoutMs });
  }

  /**
   * Answers a request by the id of its message; `reply` of the message does the same.
   * @returns false when nobody waits for it (any more): the answer is dropped and counted.
   * @throws INVALID_ARGUMENT, STOPPED
   */
  async sendResponse(originalMessageId: string, response?: unknown): Promise<boolean> {
    this.#check();
    checkId(originalMessageId, 'originalMessageId');
    checkJson(response, 'response', PAYLOAD_LIMITS);
    return this.#requests.answer(originalMessageId, response);
  }

  /**
   * Hands the agent's messages to a handler, what already waits included. An asynchronous handler is awaited before the message is
   * acknowledged; a rejection redelivers it, in the end to the dead letters. Every handler of an agent gets every message.
   * @returns the subscription; it or its `id` is what {@link unsubscribe} takes
   * @throws INVALID_ARGUMENT, UNKNOWN_AGENT, STOPPED
   */
  subscribe<P = unknown>(
    agentId: string,
    handler: MessageHandler<P>,
    options?: SubscribeOptions,
  ): Subscription {
    this.#check();
    return this.#subscriptions.add(agentId, handler, options);
  }

  /** Ends a subscription of an agent, or all of them; its mailbox goes on. Resolves to whether there was one. */
  async unsubscribe(agentId: string, handlerId?: string | Subscription): Promise<boolean> {
    checkId(agentId, 'agentId');
    const id =
      typeof handlerId === 'object' && handlerId !== null
        ? reading('handlerId', () => handlerId.id)
        : handlerId;
    if (id !== undefined) checkId(id, 'handlerId');
    return this.#subscriptions.remove(agentId, id);
  }

  /**
   * The agent's messages one after another. A message is acknowledged when the next one is asked for, or by its `ack()`; leaving the
   * loop in between gives the current one back. Ends with the signal, the agent or the router.
   * @throws INVALID_ARGUMENT
   */
  messages<P = unknown>(
    agentId: string,
    options: {
      readonly signal?: AbortSignal;
      readonly topics?: readonly string[];
      readonly node?: string;
    } = {},
  ): AsyncIterable<Envelope<P>> {
    checkId(agentId, 'agentId');
    const { signal, ...rest } = checkOptions('messages', options, ['signal', 'topics', 'node']);
    checkSignal(signal, 'signal');
    return streamMessages<P>((handler, end) => {
      const subscription = this.subscribe(agentId, handler, { ...rest, concurrency: 1 });
      this.#streams.set(end, agentId);
      return () => {
        this.#streams.delete(end);
        handled(subscription.unsubscribe());
      };
    }, signal);
  }

  /** Makes an agent known: it gets broadcasts, subscribed or not, and may send again after a removal. */
  async agentJoined(agentId: string): Promise<void> {
    this.#check();
    checkId(agentId, 'agentId');
    await this.#subscriptions.join(agentId);
  }

  /**
   * Removes an agent: its subscriptions end, its handlings abort, what waits for it is dropped and counted, requests to it settle with
   * NO_RESPONDER. Until it joins again it can neither send nor receive.
   */
  async agentLeft(agentId: string, reason = 'the agent was removed'): Promise<void> {
    checkId(agentId, 'agentId');
    if (typeof reason !== 'string') throw invalid(`Expected reason to be a string, got ${describe(reason)}`);
    if (this.#stopped !== undefined) return;
    const error = new CoordinationError('UNKNOWN_AGENT', `Agent ${agentId} left: ${reason}`);
    // Its refusal comes last: whatever the store says, nobody here waits for the agent any more.
    const stored = (async () => this.#subscriptions.leave(agentId, error))();
    for (const [end, owner] of this.#streams) if (owner === agentId) end();
    this.#requests.agentLeft(agentId, reason, error);
    this.#pump.reportLost(await stored);
  }

  /** Dead letters, oldest first. @throws INVALID_ARGUMENT */
  deadLetters(
    filter: DeadLetterFilter = {},
    page: { readonly after?: Cursor; readonly limit?: number } = {},
  ): Promise<DeadLetterPage> {
    return this.#deadLetters.list(filter, page);
  }

  /** Puts matching dead letters back into their mailboxes as new. Resolves to how many. */
  async redrive(filter: DeadLetterFilter = {}): Promise<number> {
    this.#check();
    return this.#deadLetters.revise('redrive', filter);
  }

  /** Removes matching dead letters for good; they count as dropped. Resolves to how many. */
  async discard(filter: DeadLetterFilter = {}): Promise<number> {
    this.#check();
    return this.#deadLetters.revise('discard', filter);
  }

  /** Counters over all mailboxes. */
  async stats(): Promise<MessagingStats> {
    return {
      ...(await this.#deadLetters.totals()),
      ...this.#requests.stats,
      staleAcks: this.#pump.outcomes.stale,
    };
  }

  /** For how long the store has been silent, or its chores are overdue, ms; 0 when neither is. */
  overdueMs(): number {
    return this.#pump.overdueMs();
  }

  /**
   * The session of this process is another one now: memberships are stored anew. What was being handled is delivered again, its
   * acknowledgements count as stale.
   */
  async rejoin(): Promise<void> {
    if (this.#stopped !== undefined) return;
    await Promise.all([this.#subscriptions.rejoin(), this.#requests.rejoin()]);
    this.#pump.wakeAll();
  }

  /** Does the chores of the store now: expiry, receipts that ran out. Touches no request under way. */
  async performMaintenance(): Promise<void> {
    this.#check();
    await this.#pump.chores.sweep();
  }

  /**
   * Stops: takes no more messages, settles every request with STOPPED, waits for handlers under way, then aborts them and gives their
   * messages back. A store that doesn't answer is waited for 5 s, then what was to be sent is refused with STOPPED. Idempotent; afterwards
   * nothing of it keeps the process alive.
   * @param options drainMs: how long handlers may take to finish. @default 5,000
   */
  shutdown(options: { readonly drainMs?: number } = {}): Promise<void> {
    try {
      const { drainMs = DRAIN_MS } = checkOptions('shutdown', options, ['drainMs']);
      this.#stopping ??= this.#stop(checkMs(drainMs, 'drainMs'));
      return this.#stopping;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  async #stop(drainMs: number): Promise<void> {
    const error = new CoordinationError('STOPPED', 'The message router is stopped');
    this.#stopped = error;
    this.#pump.pause();
    this.#requests.close(error);
    for (const end of this.#streams.keys()) end();
    for (const owned of this.#owned) owned[Symbol.dispose]();
    const consumers = [...this.#pump.consumers()];
    for (const consumer of consumers) consumer.releaseHand();
    if (drainMs > 0) await this.#atMost(drainMs, Promise.all(consumers.map((consumer) => consumer.onIdle())));
    for (const consumer of consumers) consumer.abort(error, true);
    await this.#atMost(STORE_MS, this.#tellStore());
    this.#outbox.close(error);
  }

  /** What became of messages, and that nobody listens here any more; after what was sent before, which waits in the same line. */
  async #tellStore(): Promise<void> {
    await this.#pump.outcomes.flush();
    // The store may be gone already: then there is nobody to tell.
    await Promise.allSettled([this.#subscriptions.close(), this.#requests.leave()]);
  }

  /** @param work never rejects */
  async #atMost(ms: number, work: Promise<unknown>): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(ms, resolve, true);
      void work.then(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  #join(parts: RouterParts, shared: boolean): void {
    if (parts.waits !== undefined) {
      const runsOf = parts.runsOf ?? (() => []);
      const waits = new ReplyWaits(this.#requests.replies, (agentId) => this.#pump.consumer(agentId), runsOf);
      this.#owned.push(parts.waits.addSource(waits));
      this.#requests.waits = parts.waits;
    }
    if (!shared) return;
    this.#requests.listen(this.#pump);
    const interest = [{ about: 'messages', address: '*' } as const, { about: 'reconnected' } as const];
    const hints = parts.onHint?.(interest, (hint) => {
      if (hint.about === 'messages') this.#pump.wakeAddress(hint.address);
      else this.#pump.wakeAll();
    });
    if (hints !== undefined) this.#owned.push(hints);
  }

  #check(from?: string, to?: string): void {
    if (this.#stopped !== undefined) throw this.#stopped;
    if (from !== undefined) this.#subscriptions.refuseRemoved(from);
    if (to !== undefined) this.#subscriptions.refuseRemoved(to);
  }

  /** Reports what became of a message and wakes who may take it. @throws MAILBOX_FULL */
  #published(message: NewMessage, result: PublishResult): void {
    const { id, from, to, topic } = message;
    if (result.status === 'full') {
      throw new CoordinationError('MAILBOX_FULL', `The mailbox of ${to} is full`, {
        retryAfterMs: 1_000,
        hint: 'Slow the sender down, or choose another overflow policy.',
      });
    }
    if (result.status === 'duplicate') return;
    const name = to === EVERYBODY ? '*' : to;
    if (this.#events.wants('message:sent'))
      this.#events.emit('message:sent', { messageId: id, from, to: name });
    if (result.status === 'no-receiver') {
      this.#pump.reportLost([{ from, address: name, count: 1, reason: 'no-receiver' }]);
      return;
    }
    if (result.lost !== undefined) this.#pump.reportLost(result.lost);
    this.#pump.chores.keepSweeping();
    if (!topic) this.#pump.wakeAddress(to);
    else for (const consumer of this.#subscriptions.ofTopic(to)) this.#pump.wake(consumer);
  }
}

/** Where the router sits: what the manager gives, or a memory backend of its own. */
function seat(
  parts: RouterParts,
  logger: Logger,
): Required<Pick<RouterParts, 'runtime' | 'transport' | 'operations'>> {
  const { runtime, transport, operations } = parts;
  if (transport !== undefined && operations !== undefined && runtime !== undefined)
    return { runtime, transport, operations };
  if (transport !== undefined || operations !== undefined)
    throw invalid('Expected runtime, transport and operations to be given together');
  const own = standalone({ logger, runtime });
  return {
    runtime: own.runtime,
    operations: own.operations,
    transport: new MemoryMessageTransport(own.core),
  };
}
