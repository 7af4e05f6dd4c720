import { isPromise } from '../core/awaitable.ts';
import type { Operations } from '../core/operations.ts';
import type { MessageSettlement, MessageTransport } from '../core/ports/messages.ts';
import type { Clock } from '../core/ports/runtime.ts';

interface SettleAnswer {
  readonly settled: readonly boolean[];
  readonly readied: readonly string[];
}

export interface OutcomesParts {
  readonly clock: Clock;
  readonly transport: MessageTransport;
  readonly operations: Operations;
  /** Most items of one call. */
  readonly maxBatch: number;
  /** Something may have come for an address. */
  readonly wakeAddress: (address: string) => void;
  readonly failed: (error: unknown) => void;
}

const FLUSH_AT = 256;

/** Gathers what became of deliveries and tells the store, in order, one call at a time. */
export class Outcomes {
  readonly #parts: OutcomesParts;
  #gathered: MessageSettlement[] = [];
  #flushing: Promise<void> | undefined;
  #scheduled = false;
  /** While deliveries are handed out: theirs are sent when all are. */
  held = false;
  /** How many the store didn't accept: their receipt had run out. */
  stale = 0;

  constructor(parts: OutcomesParts) {
    this.#parts = parts;
  }

  add(outcome: MessageSettlement): void {
    this.#gathered.push(outcome);
    const { wakeAddress, clock, maxBatch } = this.#parts;
    if (outcome.as === 'retry' || outcome.as === 'release') wakeAddress(outcome.delivery.address);
    if (this.held || this.#scheduled) return;
    if (this.#gathered.length >= Math.min(FLUSH_AT, maxBatch)) {
      void this.flush();
      return;
    }
    this.#scheduled = true;
    clock.soon(() => {
      this.#scheduled = false;
      void this.flush();
    });
  }

  /** Sends all. @returns a promise until the store has them; it never rejects */
  flush(): Promise<void> | undefined {
    if (this.#flushing !== undefined) return this.#flushing;
    const { operations, transport, failed } = this.#parts;
    while (this.#gathered.length > 0) {
      const outcomes = this.#next();
      try {
        const answer = operations.run((op) => transport.settle(op, outcomes));
        if (isPromise(answer)) return this.#await(answer);
        this.#settled(answer);
      } catch (error) {
        failed(error);
      }
    }
    return undefined;
  }

  /** What goes in one call, the oldest first. */
  #next(): MessageSettlement[] {
    const { maxBatch } = this.#parts;
    if (this.#gathered.length > maxBatch) return this.#gathered.splice(0, maxBatch);
    const all = this.#gathered;
    this.#gathered = [];
    return all;
  }

  #await(answer: Promise<SettleAnswer>): Promise<void> {
    this.#flushing = answer
      .then(
        (answer) => this.#settled(answer),
        (error: unknown) => this.#parts.failed(error),
      )
      .then(() => {
        this.#flushing = undefined;
        return this.flush();
      });
    return this.#flushing;
  }

  #settled({ settled, readied }: SettleAnswer): void {
    for (let i = 0; i < settled.length; i++) if (settled[i] === false) this.stale += 1;
    for (const address of readied) this.#parts.wakeAddress(address);
  }
}
