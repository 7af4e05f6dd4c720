import { handled, isPromise } from '../core/awaitable.ts';
import { CoordinationError } from '../core/errors.ts';
import type { MessageSettlement } from '../core/ports/messages.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';
import { Ring } from '../core/ring.ts';
import { EVERYBODY } from './addresses.ts';
import { HandledMessage, type Handling } from './handling.ts';
import { decidePrefetch } from './prefetch.ts';
import type { Redelivery } from './redelivery.ts';
import type { MessageHandler } from './types.ts';

/** One subscription as its consumer sees it. */
export interface Subscriber {
  readonly id: string;
  readonly handler: MessageHandler;
  readonly topics: ReadonlySet<string> | undefined;
  /** Shares those topics' messages with others of this name. */
  readonly group: string | undefined;
  readonly concurrency: number;
  readonly node: string | undefined;
}

/** What a consumer needs from the pump that feeds it. */
export interface ConsumerHost {
  readonly clock: Clock;
  /** Longest handling, and longest stay in hand before it, ms. */
  readonly ackWithinMs: number;
  settle(settlement: MessageSettlement): void;
  /** There is room again. */
  wake(consumer: Consumer): void;
  /** A handler is about to be called. */
  received(handling: Handling): void;
  /** A handler failed. */
  decide(handling: Handling, error: unknown): Redelivery;
  buried(handling: Handling, reason: string): void;
  /** A handling ended without a failure. */
  finished(handling: Handling): void;
}

/** Thrown into a handling to give its message back: no failure. */
export const GIVE_BACK: Error = new Error('The message was given back');

const REMEMBER_PARTIAL = 1_000;
const SLOW_MS = 0.05;

/** Handles the messages of one address: as many at once as its subscriptions allow, one at a time of each order key, in order. */
export class Consumer {
  readonly address: string;
  readonly #host: ConsumerHost;
  #subscribers: readonly Subscriber[] = [];
  #concurrency = 1;
  /** Taken and not begun. */
  readonly #hand = new Ring<Handling>();
  /** Asynchronous ones under way. */
  readonly #running = new Set<Handling>();
  /** Order keys under way, and what came behind. */
  readonly #busy = new Map<string, Handling[]>();
  #behind = 0;
  /** The one whose handler is on the stack. */
  #current: Handling | undefined;
  /** Messages that some of several handlers have done, by id. */
  readonly #partial = new Map<string, Set<Subscriber>>();
  /** `undefined` until one was handled: then no more is taken than may be begun. */
  #meanMs: number | undefined;
  #idle: (() => void)[] = [];
  /** In the pump's list of those to ask for. */
  awake = false;
  /** Takes part in deliveries: the store knows it. */
  ready = false;
  /** Wakes it when a delayed message is due. */
  timer: Timer | undefined;
  /** Deliveries of the answer that is being handed out. */
  taken = 0;

  constructor(address: string, host: ConsumerHost) {
    this.address = address;
    this.#host = host;
  }

  get subscribers(): readonly Subscriber[] {
    return this.#subscribers;
  }
  set subscribers(subscribers: readonly Subscriber[]) {
    this.#subscribers = subscribers;
    this.#concurrency = Math.max(1, ...subscribers.map(({ concurrency }) => concurrency));
    if (subscribers.length === 0) this.releaseHand();
  }

  /** How many more messages to take. */
  get room(): number {
    if (this.#subscribers.length === 0 || !this.ready) return 0;
    const most = decidePrefetch(this.#concurrency - this.#running.size, this.#meanMs);
    return most - this.#hand.length - this.#behind;
  }

  /** Whether to take one message of an order key at a time: slow ones of one sender must not fill the places of the others. */
  get onePerKey(): boolean {
    return this.#concurrency > 1 && (this.#meanMs === undefined || this.#meanMs > SLOW_MS);
  }

  accept(handling: Handling): void {
    this.taken += 1;
    // Unsubscribed while the answer was on its way.
    if (this.#subscribers.length === 0) this.#release(handling);
    else this.#hand.push(handling);
  }

  /** Begins what may be begun. Handlers that answer without a promise are through when this returns. */
  drain(): void {
    if (this.#hand.length === 0) return;
    const { clock } = this.#host;
    const started = clock.mono();
    let count = 0;
    while (this.#running.size < this.#concurrency) {
      const next = this.#hand.shift();
      if (next === undefined) break;
      const behind = this.#busy.size === 0 ? undefined : this.#busy.get(next.delivery.message.orderKey);
      if (behind !== undefined) {
        behind.push(next);
        this.#behind += 1;
      } else if (started - next.receivedAt > this.#host.ackWithinMs) this.#release(next);
      else {
        count += 1;
        this.#begin(next, started);
      }
    }
    if (count > this.#running.size) this.#learn((clock.mono() - started) / count);
  }

  /** Gives back what wasn't begun. */
  releaseHand(): void {
    for (let next = this.#hand.shift(); next !== undefined; next = this.#hand.shift()) this.#release(next);
    for (const behind of this.#busy.values()) for (const next of behind.splice(0)) this.#release(next);
    this.#behind = 0;
  }

  /** Aborts what is under way. `giveBack`: their messages are delivered again, else they are the store's business. */
  abort(reason: Error, giveBack: boolean): void {
    this.timer?.cancel();
    this.#current?.abort(reason);
    for (const handling of this.#running) {
      handling.abort(reason);
      if (giveBack) this.#settleUnlessDone(handling, { as: 'retry', delayMs: 0 });
    }
    this.#running.clear();
    if (giveBack) this.releaseHand();
    else this.#forgetHand();
    this.#busy.clear();
    this.#wakeIdle();
  }

  /** Resolves when nothing is under way. */
  onIdle(): Promise<void> {
    if (this.#running.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** The handlings that must end before a message of this order key is begun; empty when it may begin at once. */
  inTheWayOf(id: string, orderKey: string): readonly Handling[] {
    const running = this.#current === undefined ? [...this.#running] : [...this.#running, this.#current];
    const own = running.filter(({ delivery }) => delivery.message.id === id);
    if (own.length > 0) return own;
    const before = running.filter(({ delivery }) => delivery.message.orderKey === orderKey);
    if (before.length > 0) return before;
    return running.length >= this.#concurrency ? running : [];
  }

  #begin(handling: Handling, now: number): void {
    const wanted = this.#wanting(handling);
    if (wanted.length === 0) {
      this.#settleUnlessDone(handling, { as: 'drop' });
      return;
    }
    handling.ownNode = wanted[0]?.node;
    this.#host.received(handling);
    let outcome: unknown;
    this.#current = handling;
    try {
      const message = new HandledMessage(handling);
      outcome = wanted.length === 1 ? wanted[0]?.handler(message) : this.#callAll(wanted, message);
    } catch (error) {
      if (!handling.over) this.#failed(handling, error);
      return;
    } finally {
      this.#current = undefined;
    }
    if (handling.over) {
      if (isPromise(outcome)) handled(Promise.resolve(outcome));
      return;
    }
    // A thenable of another kind is adopted: its `then` may throw or answer anything.
    if (outcome !== undefined && isPromise(outcome)) this.#await(handling, Promise.resolve(outcome), now);
    else this.#succeeded(handling);
  }

  /** Subscribers that this message is for and that haven't done it in an earlier delivery. */
  #wanting({ delivery }: Handling): readonly Subscriber[] {
    const { message } = delivery;
    let wanted = this.#subscribers;
    if (message.topic && message.to !== EVERYBODY)
      wanted = wanted.filter(({ topics }) => topics?.has(message.to) === true);
    if (delivery.delivery === 1 || this.#partial.size === 0) return wanted;
    const done = this.#partial.get(message.id);
    return done === undefined ? wanted : wanted.filter((subscriber) => !done.has(subscriber));
  }

  /** Every subscriber gets it; those that did it are remembered when another one failed. */
  async #callAll(wanted: readonly Subscriber[], message: HandledMessage): Promise<void> {
    const outcomes = await Promise.allSettled(wanted.map(async ({ handler }) => handler(message)));
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure === undefined) {
      this.#partial.delete(message.id);
      return;
    }
    const done = this.#partial.get(message.id) ?? new Set<Subscriber>();
    wanted.forEach((subscriber, index) => {
      if (outcomes[index]?.status === 'fulfilled') done.add(subscriber);
    });
    this.#partial.set(message.id, done);
    if (this.#partial.size > REMEMBER_PARTIAL) {
      for (const [oldest] of this.#partial) {
        this.#partial.delete(oldest);
        break;
      }
    }
    throw failure.reason;
  }

  #await(handling: Handling, outcome: Promise<unknown>, now: number): void {
    const { clock, ackWithinMs } = this.#host;
    handling.startedAt = now;
    this.#running.add(handling);
    this.#busy.set(handling.delivery.message.orderKey, []);
    if (ackWithinMs !== Number.POSITIVE_INFINITY) {
      handling.timer = clock.after(ackWithinMs, () => this.#overrun(handling));
    }
    outcome.then(
      () => this.#ended(handling, undefined),
      (error: unknown) => this.#ended(handling, { error }),
    );
  }

  #overrun(handling: Handling): void {
    if (handling.over) return;
    const error = new CoordinationError(
      'TIMEOUT',
      `Handling message ${handling.delivery.message.id} took longer than ${this.#host.ackWithinMs} ms`,
    );
    handling.signalAbort(error);
    this.#ended(handling, { error });
  }

  #ended(handling: Handling, failure: { readonly error: unknown } | undefined): void {
    if (handling.over) return;
    handling.timer?.cancel();
    this.#running.delete(handling);
    this.#learn(this.#host.clock.mono() - handling.startedAt);
    const { orderKey } = handling.delivery.message;
    const behind = this.#busy.get(orderKey) ?? [];
    this.#busy.delete(orderKey);
    this.#behind -= behind.length;
    for (let i = behind.length - 1; i >= 0; i--) this.#hand.unshift(behind[i] as Handling);
    if (failure === undefined) this.#succeeded(handling);
    else this.#failed(handling, failure.error);
    this.drain();
    if (this.#hand.length === 0 && this.room > 0) this.#host.wake(this);
    this.#wakeIdle();
  }

  #succeeded(handling: Handling): void {
    this.#settleUnlessDone(handling, { as: 'ack' });
    this.#host.finished(handling);
  }

  #failed(handling: Handling, error: unknown): void {
    const decision: Redelivery =
      error === GIVE_BACK ? { as: 'retry', delayMs: 0 } : this.#host.decide(handling, error);
    if (decision.as === 'bury') {
      this.#partial.delete(handling.delivery.message.id);
      if (this.#settleUnlessDone(handling, decision)) this.#host.buried(handling, decision.reason);
      return;
    }
    if (this.#settleUnlessDone(handling, decision)) this.#releaseKey(handling.delivery.message.orderKey);
  }

  /** @returns false when there was nothing left to settle. */
  #settleUnlessDone(
    handling: Handling,
    how:
      | { readonly as: 'ack' | 'drop' | 'release' }
      | { readonly as: 'retry'; readonly delayMs: number }
      | { readonly as: 'bury'; readonly reason: string },
  ): boolean {
    handling.over = true;
    if (handling.acked || handling.delivery.message.class === 'm0') return false;
    this.#host.settle({ delivery: handling.delivery, ...how });
    return true;
  }

  #release(handling: Handling): void {
    this.#settleUnlessDone(handling, { as: 'release' });
  }

  /** A message goes back: those of its order key that are in hand go back too, else they would overtake it. */
  #releaseKey(orderKey: string): void {
    for (let left = this.#hand.length; left > 0; left--) {
      const next = this.#hand.shift() as Handling;
      if (next.delivery.message.orderKey === orderKey) this.#release(next);
      else this.#hand.push(next);
    }
  }

  #forgetHand(): void {
    for (let next = this.#hand.shift(); next !== undefined; next = this.#hand.shift()) next.over = true;
    this.#behind = 0;
  }

  #learn(ms: number): void {
    this.#meanMs = this.#meanMs === undefined ? ms : this.#meanMs + (ms - this.#meanMs) * 0.2;
  }

  #wakeIdle(): void {
    if (this.#running.size > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
