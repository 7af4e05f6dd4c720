import type { Hint } from '../../core/ports/backend.ts';

/** Hands hints from the one channel of a mesh to those interested. */
export class Hints {
  readonly #listeners = new Set<{
    readonly keys: ReadonlySet<string>;
    readonly listener: (hint: Hint) => void;
  }>();
  readonly #isOwn: (session: number) => boolean;
  #pending = new Map<string, Hint>();

  /** @param isOwn whether orders for a session concern this process */
  constructor(isOwn: (session: number) => boolean) {
    this.#isOwn = isOwn;
  }

  on(interest: readonly Hint[], listener: (hint: Hint) => void): Disposable {
    const entry = { keys: new Set(interest.map(keyOf)), listener };
    this.#listeners.add(entry);
    return { [Symbol.dispose]: () => void this.#listeners.delete(entry) };
  }

  /** A text of the channel: `kind name`. What isn't understood is of a newer build. */
  received(text: string): void {
    const space = text.indexOf(' ');
    const hint = hintOf(text.slice(0, space), text.slice(space + 1));
    if (hint === undefined) return;
    if (hint.about === 'orders' && !this.#isOwn(Number(text.slice(space + 1)))) return;
    this.send(hint);
  }

  /** Equal ones that come together, as many texts of one packet do, are handed on once. */
  send(hint: Hint): void {
    if (this.#listeners.size === 0) return;
    if (this.#pending.size === 0) queueMicrotask(() => this.#flush());
    this.#pending.set(keyOf(hint), hint);
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

function hintOf(kind: string, name: string): Hint | undefined {
  switch (kind) {
    case 'tasks':
      return { about: 'tasks', queue: name };
    case 'locks':
      return { about: 'locks', resource: name };
    case 'messages':
      return { about: 'messages', address: name };
    case 'state':
      return { about: 'state', prefix: name };
    case 'orders':
      return { about: 'orders' };
    default:
      return undefined;
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
