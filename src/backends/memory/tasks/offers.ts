import type { Offer } from '../../../core/ports/tasks.ts';
import type { NameSet, NameSets } from './name-set.ts';

/** What all tasks of one pool ask of whoever runs them. */
export interface Need {
  readonly type: string;
  readonly capabilities: NameSet;
}

/** What offers of the same capabilities and types can serve; made once and compared by identity. */
export class OfferKind {
  readonly #capabilities: NameSet;
  /** `undefined`: all. */
  readonly #types: NameSet | undefined;

  constructor(capabilities: NameSet, types: NameSet | undefined) {
    this.#capabilities = capabilities;
    this.#types = types;
  }

  serves({ type, capabilities }: Need): boolean {
    return this.#capabilities.covers(capabilities) && (this.#types === undefined || this.#types.has(type));
  }
}

/** Finds the kind of an offer. */
export class OfferKinds {
  readonly #sets: NameSets;
  readonly #ofAllTypes = new WeakMap<NameSet, OfferKind>();
  readonly #ofTypes = new WeakMap<NameSet, WeakMap<NameSet, OfferKind>>();

  constructor(sets: NameSets) {
    this.#sets = sets;
  }

  of({ capabilities: names, types: typeNames }: Pick<Offer, 'capabilities' | 'types'>): OfferKind {
    const capabilities = this.#sets.of(names);
    if (typeNames === undefined) {
      let kind = this.#ofAllTypes.get(capabilities);
      if (kind === undefined) {
        kind = new OfferKind(capabilities, undefined);
        this.#ofAllTypes.set(capabilities, kind);
      }
      return kind;
    }
    const types = this.#sets.of(typeNames);
    let byTypes = this.#ofTypes.get(capabilities);
    if (byTypes === undefined) {
      byTypes = new WeakMap();
      this.#ofTypes.set(capabilities, byTypes);
    }
    let kind = byTypes.get(types);
    if (kind === undefined) {
      kind = new OfferKind(capabilities, types);
      byTypes.set(types, kind);
    }
    return kind;
  }
}

/** The offers of one call, their slots counted down. */
export class Offers {
  readonly kinds: OfferKind[] = [];
  readonly #slots: number[] = [];
  /** Slots left over all offers. */
  left = 0;

  constructor(kinds: OfferKinds, offers: readonly Offer[]) {
    for (const offer of offers) {
      if (offer.slots <= 0) continue;
      this.kinds.push(kinds.of(offer));
      this.#slots.push(offer.slots);
      this.left += offer.slots;
    }
  }

  /** Takes a slot of the first offer that serves this need and has one; false when there is none. */
  take(need: Need): boolean {
    const i = this.#find(need);
    if (i < 0) return false;
    this.#slots[i] = (this.#slots[i] as number) - 1;
    this.left -= 1;
    return true;
  }

  hasFor(need: Need): boolean {
    return this.#find(need) >= 0;
  }

  #find(need: Need): number {
    for (let i = 0; i < this.kinds.length; i++) {
      if ((this.#slots[i] as number) > 0 && (this.kinds[i] as OfferKind).serves(need)) return i;
    }
    return -1;
  }
}
