import { fitting } from './call-size.ts';
import type { Clock } from './ports/runtime.ts';

export interface BatchesOptions<I> {
  readonly clock: Clock;
  /** Most items of one call. */
  readonly maxBatch: number;
  /** About how much text of an item goes over the network, for {@link fitting}. Absent: little. */
  readonly bytesOf?: (item: I) => number;
  /** Most calls under way. With more than one, items arrive in the order in which they were added only where the store keeps it. */
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
  /** How many were left waiting by the call that was sent last. */
  #behind = 0;
  #isDue = false;
  #idleWaiters: (() => void)[] = [];

  constructor(options: BatchesOptions<I>) {
    this.#options = options;
  }

  /** Items that were added and not sent. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Takes out what was waiting already when the last call was sent, and didn't fit into it. */
  takeBehind(): readonly I[] {
    const items = this.#waiting.splice(0, this.#behind);
    this.#behind = 0;
    return items;
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
    const { maxBatch, bytesOf, maxFlights } = this.#options;
    while (this.#waiting.length > 0 && this.#flights < maxFlights) {
      const count = fitting(this.#waiting, maxBatch, bytesOf);
      const items = count === this.#waiting.length ? this.#waiting : this.#waiting.slice(0, count);
      this.#waiting = items === this.#waiting ? [] : this.#waiting.slice(count);
      this.#behind = this.#waiting.length;
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
