import type { Random } from './ports/runtime.ts';

/** The share of a rest that is left to chance: processes that were started together must not ask together for ever. */
const JITTER = 0.05;

/** How long to rest between two looks: twice as long after each that found nothing, up to a bound that is never passed. */
export class Rest {
  readonly #firstMs: number;
  readonly #mostMs: number;
  readonly #random: Random;
  #ms: number;

  constructor(parts: { readonly firstMs: number; readonly mostMs: number; readonly random: Random }) {
    this.#firstMs = parts.firstMs;
    this.#mostMs = parts.mostMs;
    this.#random = parts.random;
    this.#ms = parts.firstMs;
  }

  /** Until the next look, ms; the one after that comes later. */
  next(): number {
    const ms = this.#ms * (1 - this.#random.next() * JITTER);
    this.#ms = Math.min(2 * this.#ms, this.#mostMs);
    return ms;
  }

  /** Something was found, or happens here: more may come. */
  reset(): void {
    this.#ms = this.#firstMs;
  }
}
