import type { CoordinationEvent } from './events.ts';
import { Ring } from './ring.ts';

export interface EventStream extends AsyncIterable<CoordinationEvent> {
  /** Events that a slow reader lost so far. */
  readonly dropped: number;
}

/** Events kept for one reader until it takes them; the oldest are dropped when there are more than it may be behind. */
export class EventBuffer implements EventStream {
  readonly #capacity: number;
  readonly #events = new Ring<CoordinationEvent>();
  /** The reader has left its loop, or nothing will come any more. */
  readonly #ended: () => void;
  #woken: (() => void)[] = [];
  #isEnded = false;
  dropped = 0;

  /** @param ended called once, when nothing is to be added any more */
  constructor(capacity: number, ended: () => void) {
    this.#capacity = capacity;
    this.#ended = ended;
  }

  add(event: CoordinationEvent): void {
    if (this.#events.length >= this.#capacity) {
      this.#events.shift();
      this.dropped += 1;
    }
    this.#events.push(event);
    if (this.#woken.length > 0) this.#wake();
  }

  /** What has been kept can still be read. */
  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#ended();
    this.#wake();
  }

  [Symbol.asyncIterator](): AsyncIterator<CoordinationEvent> {
    return {
      next: () => this.#next(),
      return: () => {
        this.end();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  async #next(): Promise<IteratorResult<CoordinationEvent>> {
    while (this.#events.length === 0 && !this.#isEnded) {
      await new Promise<void>((resolve) => this.#woken.push(resolve));
    }
    const value = this.#events.shift();
    return value === undefined ? { done: true, value: undefined } : { done: false, value };
  }

  #wake(): void {
    const readers = this.#woken;
    this.#woken = [];
    for (const reader of readers) reader();
  }
}
