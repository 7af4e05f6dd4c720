import type { Hint } from '../../core/ports/backend.ts';

/** Hands hints to those interested, in a microtask, so that no store is called from inside another call of it. */
export class HintHub {
  readonly #listeners = new Set<{
    readonly keys: ReadonlySet<string>;
    readonly listener: (hint: Hint) => void;
  }>();
  #pending = new Map<string, Hint>();

  /** Whether anybody would see this hint; ask before building one on a hot path. */
  get idle(): boolean {
    return this.#listeners.size === 0;
  }

  send(hint: Hint): void {
    if (this.#listeners.size === 0) return;
    if (this.#pending.size === 0) queueMicrotask(() => this.#flush());
    this.#pending.set(keyOf(hint), hint);
  }

  /** `listener` sees hints equal to one of `interest`; an interest in queue, resource, address or prefix `*` sees all of its kind. */
  on(interest: readonly Hint[], listener: (hint: Hint) => void): Disposable {
    const entry = { keys: new Set(interest.map(keyOf)), listener };
    this.#listeners.add(entry);
    return { [Symbol.dispose]: () => void this.#listeners.delete(entry) };
  }

  #flush(): void {
    const hints = this.#pending;
    this.#pending = new Map();
    for (const [key, hint] of hints) {
      for (const { keys, listener } of this.#listeners) {
        if (keys.has(key) || keys.has(`${hint.about} *`)) listener(hint);
      }
    }
  }
}

function keyOf(hint: Hint): string {
  switch (hint.about) {
    case 'tasks':
      return `tasks ${hint.queue}`;
    case 'locks':
      return `locks ${hint.resource}`;
    case 'messages':
      return `messages ${hint.address}`;
    case 'state':
      return `state ${hint.prefix}`;
    default:
      return hint.about;
  }
}
