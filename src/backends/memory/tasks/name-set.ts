const MAX_KNOWN = 4_096;

/** A set of names (capabilities, types), made once and compared by identity. */
export class NameSet {
  readonly key: string;
  readonly names: readonly string[];
  readonly #set: ReadonlySet<string>;
  readonly #covers = new Map<NameSet, boolean>();

  constructor(key: string, names: readonly string[]) {
    this.key = key;
    this.names = names;
    this.#set = new Set(names);
  }

  has(name: string): boolean {
    return this.#set.has(name);
  }

  /** Whether all of `needed` are here. Remembered. */
  covers(needed: NameSet): boolean {
    if (needed === this || needed.names.length === 0) return true;
    let known = this.#covers.get(needed);
    if (known === undefined) {
      known = needed.names.every((name) => this.#set.has(name));
      if (this.#covers.size >= MAX_KNOWN) this.#covers.clear();
      this.#covers.set(needed, known);
    }
    return known;
  }
}

/** Finds the set of a list of names: by the list's identity when it was seen before and is as it was, else by what is in it. */
export class NameSets {
  readonly none: NameSet = new NameSet('', []);
  readonly #byList = new WeakMap<readonly string[], NameSet>();
  readonly #byKey = new Map<string, NameSet>();

  of(names: readonly string[]): NameSet {
    if (names.length === 0) return this.none;
    const known = this.#byList.get(names);
    if (known !== undefined && isSame(known.names, names)) return known;
    const key = names.length === 1 ? `1${names[0]}` : JSON.stringify(names);
    let set = this.#byKey.get(key);
    if (set === undefined) {
      if (this.#byKey.size >= MAX_KNOWN) this.#byKey.clear();
      set = new NameSet(key, [...names]);
      this.#byKey.set(key, set);
    }
    this.#byList.set(names, set);
    return set;
  }
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
