import type { Hint } from './ports/backend.ts';

/** Stands for every name of a kind. */
const ALL = '*';

interface Listener {
  readonly interest: readonly Hint[];
  readonly keys: ReadonlySet<string>;
  readonly tell: (hint: Hint) => void;
}

/** Who wants to hear what. A hint about `*` reaches everyone who has an interest of its kind, with the name that he asked for. */
export class HintListeners {
  readonly #listeners = new Set<Listener>();

  /** Whether nobody would hear anything. */
  get idle(): boolean {
    return this.#listeners.size === 0;
  }

  /** `tell` hears hints equal to one of `interest`; an interest in queue, resource, address or prefix `*` hears all of its kind. */
  on(interest: readonly Hint[], tell: (hint: Hint) => void): Disposable {
    const listener = { interest, keys: new Set(interest.map(subjectOf)), tell };
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  tell(hints: Iterable<Hint>): void {
    for (const hint of hints) {
      const key = subjectOf(hint);
      const every = nameOf(hint) === ALL;
      for (const { interest, keys, tell } of this.#listeners) {
        if (keys.has(`${hint.about} ${ALL}`) || keys.has(key)) tell(hint);
        else if (every) for (const own of interest) if (own.about === hint.about) tell(own);
      }
    }
  }
}

/** Equal for hints that say the same. */
export function hintKey(hint: Hint): string {
  const { request } = hint as Hint & { readonly about: 'locks' };
  return request === undefined ? subjectOf(hint) : `${hint.about}:${request} ${nameOf(hint)}`;
}

/** What it is about, as listeners say it. */
function subjectOf(hint: Hint): string {
  const name = nameOf(hint);
  return name === undefined ? hint.about : `${hint.about} ${name}`;
}

export function nameOf(hint: Hint): string | undefined {
  switch (hint.about) {
    case 'tasks':
      return hint.queue;
    case 'locks':
      return hint.resource;
    case 'messages':
      return hint.address;
    case 'state':
      return hint.prefix;
    default:
      return undefined;
  }
}

/** The hint of a kind about a name; `undefined` for kinds that this build doesn't know. */
export function hintAbout(about: string, name: string, request?: string): Hint | undefined {
  switch (about) {
    case 'tasks':
      return { about, queue: name };
    case 'locks':
      return request === undefined ? { about, resource: name } : { about, resource: name, request };
    case 'messages':
      return { about, address: name };
    case 'state':
      return { about, prefix: name };
    case 'orders':
      return { about };
    default:
      return undefined;
  }
}
