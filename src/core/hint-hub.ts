import { hintKey, HintListeners } from './hint-listeners.ts';
import type { Hint } from './ports/backend.ts';

/**
 * Hands hints to those interested, in a microtask: no store is called from inside another call of it, and equal ones that come together
 * are handed on once.
 */
export class HintHub {
  readonly #listeners = new HintListeners();
  #pending = new Map<string, Hint>();

  /** Whether anybody would see a hint; ask before building one on a hot path. */
  get idle(): boolean {
    return this.#listeners.idle;
  }

  send(hint: Hint): void {
    if (this.#listeners.idle) return;
    if (this.#pending.size === 0) queueMicrotask(() => this.#flush());
    this.#pending.set(hintKey(hint), hint);
  }

  /** See {@link HintListeners.on}. */
  on(interest: readonly Hint[], listener: (hint: Hint) => void): Disposable {
    return this.#listeners.on(interest, listener);
  }

  #flush(): void {
    const hints = this.#pending;
    this.#pending = new Map();
    this.#listeners.tell(hints.values());
  }
}
