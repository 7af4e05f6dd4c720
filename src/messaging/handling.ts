import { backendMs } from '../core/backend-ms.ts';
import { invalid } from '../core/check.ts';
import type { Delivery } from '../core/ports/messages.ts';
import type { Timer } from '../core/ports/runtime.ts';
import { EVERYBODY } from './addresses.ts';
import type { Envelope, RequestOptions } from './types.ts';

/** What a handling does beyond its own consumer. */
export interface HandlingHost {
  reply(handling: Handling, payload: unknown): Promise<boolean>;
  request<R>(from: string, to: string, payload: unknown, options: RequestOptions): Promise<R>;
  ack(delivery: Delivery): void;
}

/** One delivery in the hand of this process. */
export class Handling {
  readonly delivery: Delivery;
  /** Local mono ms. */
  readonly receivedAt: number;
  readonly host: HandlingHost;
  startedAt = 0;
  /** Already acknowledged, by the handler itself. */
  acked = false;
  /** Its end was decided: what the handler still does changes nothing. */
  over = false;
  replied = false;
  timer: Timer | undefined;
  ownNode: string | undefined;
  #controller: AbortController | undefined;
  #abortedWith: unknown;

  constructor(delivery: Delivery, receivedAt: number, host: HandlingHost) {
    this.delivery = delivery;
    this.receivedAt = receivedAt;
    this.host = host;
  }

  get node(): string {
    return this.ownNode ?? `message ${this.delivery.message.id} for ${this.delivery.address}`;
  }

  /** Made when it is asked for: most handlers never do. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortedWith !== undefined) this.#controller.abort(this.#abortedWith);
    }
    return this.#controller.signal;
  }

  /** Asks the handler to stop. */
  signalAbort(reason: Error): void {
    this.#abortedWith ??= reason;
    this.#controller?.abort(reason);
  }

  /** Ends it from outside. */
  abort(reason: Error): void {
    this.over = true;
    this.timer?.cancel();
    this.signalAbort(reason);
  }

  ack(): void {
    if (this.acked || this.over || this.delivery.message.class === 'm0') return;
    this.acked = true;
    this.host.ack(this.delivery);
  }
}

/** What the handler sees of a {@link Handling}. */
export class HandledMessage implements Envelope {
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly topic: string | undefined;
  readonly payload: unknown;
  readonly redelivered: boolean;
  readonly delivery: number;
  readonly sentAt: number;
  readonly #handling: Handling;

  constructor(handling: Handling) {
    const { delivery } = handling;
    const { message } = delivery;
    this.id = message.id;
    this.from = message.from;
    this.to = delivery.address;
    this.topic = message.topic && message.to !== EVERYBODY ? message.to : undefined;
    this.payload = message.payload;
    this.redelivered = delivery.delivery > 1;
    this.delivery = delivery.delivery;
    this.sentAt = backendMs(delivery.sentAt);
    this.#handling = handling;
  }

  get type(): string | undefined {
    const { payload } = this;
    if (typeof payload !== 'object' || payload === null) return undefined;
    const { type } = payload as { readonly type?: unknown };
    return typeof type === 'string' ? type : undefined;
  }

  get node(): string {
    return this.#handling.node;
  }

  get signal(): AbortSignal {
    return this.#handling.signal;
  }

  reply(payload: unknown): Promise<boolean> {
    if (this.#handling.delivery.message.replyTo === undefined) {
      return Promise.reject(invalid(`Message ${this.id} is not a request: nobody waits for a reply`));
    }
    return this.#handling.host.reply(this.#handling, payload);
  }

  request<R>(to: string, payload: unknown, options: Omit<RequestOptions, 'node'> = {}): Promise<R> {
    return this.#handling.host.request<R>(this.to, to, payload, { ...options, node: this.node });
  }

  ack(): void {
    this.#handling.ack();
  }
}
