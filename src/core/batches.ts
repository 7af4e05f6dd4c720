import type { Clock } from './ports/runtime.ts';

export interface BatchesOptions<I> {
  readonly clock: Clock;
  /** Most items of one call. */
  readonly maxBatch: number;
  /** Most calls under way. With one, items arrive in the order in which they were added. */
  readonly maxFlights: number;
  /** Sends one batch and tells whoever added its items. Never rejects. */
  readonly send: (items: readonly I[]) => Promise<void>;
}

/**
 * Turns single calls to a store across a network into batches: what is added in one turn of the loop shares a call, and while calls are
 * under way the next batch gathers. So nothing waits when the store is idle, and batches grow as it gets busy.
 */
export class Batches<I> {
  readonly #options: BatchesOptions<I>;
  #waiting: I[] = [];
  #flights = 0;
  #isDue = false;
  #idleWaiters: (() => void)[] = [];

  constructor(options: BatchesOptions<I>) {
    this.#options = options;
  }

  /** Items that were added and not sent. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Resolves when nothing waits and nothing is under way. */
  untilIdle(): Promise<void> {
    if (this.#isIdle) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  add(item: I): void {
    this.#waiting.push(item);
    if (this.#isDue || this.#flights >= this.#options.maxFlights) return;
    this.#isDue = true;
    this.#options.clock.soon(this.#turn);
  }

  /** Sends now what waits, as far as calls may be under way. */
  flush(): void {
    const { maxBatch, maxFlights } = this.#options;
    while (this.#waiting.length > 0 && this.#flights < maxFlights) {
      const items = this.#waiting.length <= maxBatch ? this.#waiting : this.#waiting.slice(0, maxBatch);
      this.#waiting = items === this.#waiting ? [] : this.#waiting.slice(maxBatch);
      this.#flights += 1;
      void this.#send(items);
    }
  }

  readonly #turn = (): void => {
    this.#isDue = false;
    this.flush();
  };

  async #send(items: readonly I[]): Promise<void> {
    await this.#options.send(items);
    this.#flights -= 1;
    this.flush();
    if (this.#isIdle) for (const wake of this.#idleWaiters.splice(0)) wake();
  }

  get #isIdle(): boolean {
    return this.#flights === 0 && this.#waiting.length === 0;
  }
}
