import { isPromise } from '../core/awaitable.ts';
import type { EventSink } from '../core/events.ts';
import { toStoredError } from '../core/errors.ts';
import type { Operations } from '../core/operations.ts';
import type { Delivery, Lost, MessageSettlement, MessageTransport, Wanted } from '../core/ports/messages.ts';
import type { Logger, Random, Runtime } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { isCoreAddress } from './addresses.ts';
import { Consumer, type ConsumerHost } from './consumer.ts';
import { Handling, type HandlingHost } from './handling.ts';
import { Outcomes } from './outcomes.ts';
import { decideRedelivery, type Redelivery } from './redelivery.ts';
import { StoreChores } from './store-chores.ts';

export interface PumpSettings {
  readonly ackWithinMs: number;
  readonly maxDeliveries: number;
  readonly redeliveryDelayMs: number;
}

/** What the pump hands to the requests' side. */
export interface PumpHost extends Pick<HandlingHost, 'reply' | 'request'> {
  /** The handler of a request is about to be called. */
  requestReceived(handling: Handling): void;
  /** The handling of a request ended without an answer. */
  requestHandled(handling: Handling): void;
  /** A request went to the dead letters. */
  requestBuried(handling: Handling, reason: string): void;
  failed(): void;
}

interface ReceiveAnswer {
  readonly at: number;
  readonly deliveries: readonly Delivery[];
  readonly missed: readonly Lost[];
  readonly nextInMs: number;
}

/** A turn of the loop in which messages are handed out. */
interface Turn {
  readonly started: number;
  steps: number;
  over: boolean;
}

const YIELD_MS = 5;
const YIELD_STEPS = 4_096;
const AGAIN_MS = 1_000;

/**
 * Moves deliveries from the store to the consumers of this process and their outcomes back. One call to the store at a time; outcomes
 * go before the next `receive`, so that what was given back is never overtaken. Sleeps when nobody is woken.
 */
export class DeliveryPump implements ConsumerHost, HandlingHost {
  readonly clock: Runtime['clock'];
  readonly outcomes: Outcomes;
  readonly chores: StoreChores;
  readonly #transport: MessageTransport;
  readonly #operations: Operations;
  readonly #settings: PumpSettings;
  readonly #events: EventSink;
  readonly #logger: Logger;
  readonly #random: Random;
  readonly #host: PumpHost;
  readonly #maxBatch: number;
  readonly #consumers = new Map<string, Consumer>();
  #awake: Consumer[] = [];
  #scheduled = false;
  #running = false;
  #turn: Turn | undefined;
  #nextTurn: PromiseWithResolvers<void> | undefined;
  /** A call whose answer must come before the next. */
  #calling = false;
  #stopped = false;
  /** Calls of the store that aren't answered, the oldest first. */
  readonly #unanswered = new Set<{ readonly since: number }>();
  /** Backend time of the answer being handed out, µs. */
  #at = 0;

  constructor(parts: {
    readonly runtime: Runtime;
    readonly transport: MessageTransport;
    readonly operations: Operations;
    readonly settings: PumpSettings;
    readonly events: EventSink;
    readonly logger: Logger;
    readonly host: PumpHost;
    /** Others use the store too. */
    readonly shared: boolean;
    /** It is across a network. */
    readonly far: boolean;
    /** Most items of one call to it. */
    readonly maxBatch: number;
  }) {
    this.clock = parts.runtime.clock;
    this.#random = parts.runtime.random.fork('messaging');
    this.#transport = parts.transport;
    this.#operations = parts.operations;
    this.#settings = parts.settings;
    this.#events = parts.events;
    this.#logger = parts.logger;
    this.#host = parts.host;
    const { transport, operations, shared, far, maxBatch } = parts;
    this.#maxBatch = maxBatch;
    const store = { clock: this.clock, transport, operations, maxBatch };
    const wakeAddress = (address: string): void => this.wakeAddress(address);
    this.outcomes = new Outcomes({
      ...store,
      wakeAddress,
      failed: (error) => this.#failed('settled', error),
    });
    this.chores = new StoreChores({
      ...store,
      shared,
      far,
      random: parts.runtime.random.fork('chores'),
      wakeAddress,
      wakeAll: () => this.wakeAll(),
      reportLost: (lost) => this.reportLost(lost),
      timed: (answer) => this.#timed(answer),
      failed: (error) => this.#failed('swept', error),
    });
  }

  get ackWithinMs(): number {
    return this.#settings.ackWithinMs;
  }

  /** Enough was handed out in this turn of the loop: agents that answer each other at once must not keep timers waiting. */
  get isTurnOver(): boolean {
    return this.#turn?.over === true;
  }

  /** Resolves in the next turn, when messages have been handed out there. Only while {@link isTurnOver}. */
  nextTurn(): Promise<void> {
    this.#nextTurn ??= Promise.withResolvers<void>();
    return this.#nextTurn.promise;
  }

  consumer(address: string): Consumer | undefined {
    return this.#consumers.get(address);
  }

  consumers(): Iterable<Consumer> {
    return this.#consumers.values();
  }

  /** The consumer of an address, made when there is none. */
  open(address: string): Consumer {
    let consumer = this.#consumers.get(address);
    if (consumer === undefined) {
      consumer = new Consumer(address, this);
      this.#consumers.set(address, consumer);
    }
    return consumer;
  }

  forget(consumer: Consumer): void {
    if (this.#consumers.get(consumer.address) === consumer) this.#consumers.delete(consumer.address);
  }

  /** Something may have come for an address: asks for it soon, if it is listened at here. */
  wakeAddress(address: string): void {
    const consumer = this.#consumers.get(address);
    if (consumer !== undefined) this.wake(consumer);
  }

  wakeAll(): void {
    for (const consumer of this.#consumers.values()) this.wake(consumer);
  }

  wake(consumer: Consumer): void {
    if (consumer.awake) return;
    consumer.awake = true;
    this.#awake.push(consumer);
    this.#schedule();
  }

  /** For how long the store has been silent, or its chores are overdue, ms; 0 when neither is. */
  overdueMs(): number {
    if (this.#stopped) return 0;
    const [oldest] = this.#unanswered;
    const since = Math.min(oldest?.since ?? Number.POSITIVE_INFINITY, this.chores.dueAt);
    return Math.max(0, this.clock.mono() - since);
  }

  settle(outcome: MessageSettlement): void {
    this.outcomes.add(outcome);
  }

  ack(delivery: Delivery): void {
    this.outcomes.add({ delivery, as: 'ack' });
  }

  received(handling: Handling): void {
    const { delivery } = handling;
    const { message } = delivery;
    if (message.replyTo !== undefined) this.#host.requestReceived(handling);
    if (isCoreAddress(delivery.address) || !this.#events.wants('message:received')) return;
    this.#events.emit('message:received', {
      messageId: message.id,
      from: message.from,
      to: delivery.address,
      delivery: delivery.delivery,
      latencyMs: Math.max(0, (this.#at - delivery.sentAt) / 1_000),
    });
  }

  decide({ delivery, acked }: Handling, error: unknown): Redelivery {
    this.#host.failed();
    const { message, code } = toStoredError(error);
    this.#report(
      code,
      `The handler of ${delivery.address} failed on message ${delivery.message.id}: ${message}`,
    );
    const { maxDeliveries, redeliveryDelayMs } = this.#settings;
    return decideRedelivery({
      delivery: acked ? 1 : delivery.delivery,
      maxDeliveries,
      delayMs: redeliveryDelayMs,
      chance: this.#random.next(),
      reason: message,
    });
  }

  finished(handling: Handling): void {
    if (handling.delivery.message.replyTo !== undefined && !handling.replied)
      this.#host.requestHandled(handling);
  }

  buried(handling: Handling, reason: string): void {
    const { delivery } = handling;
    if (this.#events.wants('message:buried'))
      this.#events.emit('message:buried', { messageId: delivery.message.id, to: delivery.address, reason });
    if (delivery.message.replyTo !== undefined && !handling.replied)
      this.#host.requestBuried(handling, reason);
  }

  reply(handling: Handling, payload: unknown): Promise<boolean> {
    return this.#host.reply(handling, payload);
  }

  request<R>(from: string, to: string, payload: unknown, options: object): Promise<R> {
    return this.#host.request<R>(from, to, payload, options);
  }

  reportLost(lost: readonly Lost[]): void {
    for (const { from, address, count, reason } of lost) {
      if (this.#events.wants('message:dropped'))
        this.#events.emit('message:dropped', { from, to: address, count, reason });
    }
  }

  /** Takes no more messages. */
  pause(): void {
    this.#stopped = true;
    this.chores.stop();
  }

  #schedule(): void {
    if (this.#scheduled || this.#running || this.#calling || this.#stopped || this.isTurnOver) return;
    this.#scheduled = true;
    queueMicrotask(this.#run);
  }

  readonly #run = (): void => {
    this.#scheduled = false;
    this.#running = true;
    while (this.#awake.length > 0 && !this.#calling && !this.#stopped && !this.isTurnOver) {
      this.#step();
      this.#turn ??= this.#beginTurn();
      this.#turn.steps += 1;
      this.#turn.over = this.#turn.steps > YIELD_STEPS || this.clock.mono() - this.#turn.started > YIELD_MS;
    }
    this.#running = false;
  };

  #beginTurn(): Turn {
    this.clock.soon(() => {
      this.#turn = undefined;
      this.#run();
      const next = this.#nextTurn;
      this.#nextTurn = undefined;
      next?.resolve();
    });
    return { started: this.clock.mono(), steps: 0, over: false };
  }

  #step(): void {
    const flushed = this.outcomes.flush();
    if (flushed !== undefined) return this.#waitFor(flushed);
    const addresses = this.#wanted();
    if (addresses.length === 0) return;
    // Half of the time for waiting in hand, half for being handled.
    const request = { addresses, ackWithinMs: 2 * this.#settings.ackWithinMs };
    try {
      const answer = this.#operations.run((op) => this.#transport.receive(op, request));
      if (!isPromise(answer)) this.#handOut(answer, addresses);
      else
        this.#waitFor(
          answer.then((answer) => this.#handOut(answer, addresses)),
          addresses,
        );
    } catch (error) {
      this.#failed('received', error, addresses);
    }
  }

  /** What those who were woken have room for, as far as it goes into one call. */
  #wanted(): readonly Wanted[] {
    const asked = this.#awake;
    this.#awake = [];
    const addresses: Wanted[] = [];
    let left = this.#maxBatch;
    for (const consumer of asked) {
      if (left === 0) {
        this.#awake.push(consumer);
        continue;
      }
      consumer.awake = false;
      const { room, address, onePerKey } = consumer;
      const limit = Math.min(room, left);
      if (limit > 0) addresses.push({ address, limit, onePerKey });
      left -= Math.max(0, limit);
    }
    return addresses;
  }

  /** A store that never answers is told by {@link overdueMs}. */
  #timed<T>(answer: Awaitable<T>): Awaitable<T> {
    if (!isPromise(answer)) return answer;
    const call = { since: this.clock.mono() };
    this.#unanswered.add(call);
    return answer.finally(() => this.#unanswered.delete(call));
  }

  #waitFor(call: Promise<unknown>, addresses: readonly Wanted[] = []): void {
    this.#calling = true;
    const done = (): void => {
      this.#calling = false;
      if (this.#awake.length > 0) this.#schedule();
    };
    (this.#timed(call) as Promise<unknown>).then(done, (error: unknown) => {
      done();
      this.#failed('received', error, addresses);
    });
  }

  #handOut(answer: ReceiveAnswer, asked: readonly Wanted[]): void {
    const { deliveries, missed, nextInMs } = answer;
    const now = this.clock.mono();
    this.#at = answer.at;
    let consumer: Consumer | undefined;
    for (const delivery of deliveries) {
      if (consumer?.address !== delivery.address) consumer = this.#consumers.get(delivery.address);
      if (consumer === undefined || this.#stopped) this.outcomes.add({ delivery, as: 'release' });
      else consumer.accept(new Handling(delivery, now, this));
    }
    if (deliveries.length > 0) this.chores.keepSweeping();
    this.outcomes.held = true;
    for (const { address, limit } of asked) this.#served(address, limit, nextInMs);
    this.outcomes.held = false;
    if (missed.length > 0) this.reportLost(missed);
    void this.outcomes.flush();
  }

  #served(address: string, limit: number, nextInMs: number): void {
    const consumer = this.#consumers.get(address);
    if (consumer === undefined) return;
    const { taken } = consumer;
    consumer.taken = 0;
    consumer.drain();
    if (taken >= limit && consumer.room > 0) this.wake(consumer);
    consumer.timer?.cancel();
    if (nextInMs !== Number.POSITIVE_INFINITY)
      consumer.timer = this.clock.after(nextInMs, () => this.wake(consumer), true);
  }

  #failed(what: 'settled' | 'swept' | 'received', error: unknown, addresses: readonly Wanted[] = []): void {
    if (this.#stopped) return;
    const { code, message } = toStoredError(error);
    this.#report(code, `Messages could not be ${what}: ${message}`);
    if (addresses.length === 0) return;
    this.clock.after(AGAIN_MS, () => {
      for (const { address } of addresses) this.wakeAddress(address);
    });
  }

  #report(code: string, message: string): void {
    this.#logger.warn(message, { code });
    if (this.#events.wants('system:error'))
      this.#events.emit('system:error', { part: 'messaging', code, message });
  }
}
