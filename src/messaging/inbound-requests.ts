import type { Clock } from '../core/ports/runtime.ts';
import type { Handling } from './handling.ts';

/** A request that came from elsewhere and may still be answered by its id. */
export interface InboundRequest {
  readonly id: string;
  readonly replyTo: string;
  /** Who was asked: the reply comes from there. */
  readonly to: string;
}

const MOST = 10_000;
const DEFAULT_KEEP_MS = 60_000;

/** Requests of other routers that were received here, until they are answered or their time is over; the newest 10,000. */
export class InboundRequests {
  readonly #clock: Clock;
  readonly #open = new Map<string, InboundRequest & { readonly until: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add({ delivery }: Handling): void {
    const { id, replyTo, expiresInMs = DEFAULT_KEEP_MS } = delivery.message;
    if (replyTo === undefined) return;
    const now = this.#clock.mono();
    this.#open.set(id, { id, replyTo, to: delivery.address, until: now + expiresInMs });
    for (const [oldest, { until }] of this.#open) {
      if (this.#open.size <= MOST && until > now) break;
      this.#open.delete(oldest);
    }
  }

  /** The request of this id, which is answered with that. */
  take(id: string): InboundRequest | undefined {
    const request = this.#open.get(id);
    this.#open.delete(id);
    return request === undefined || request.until <= this.#clock.mono() ? undefined : request;
  }
}
