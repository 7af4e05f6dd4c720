import type { Offer } from '../core/ports/tasks.ts';

/** Most slots one offer speaks of: agents without a limit offer this many. */
export const MOST_SLOTS: number = 2 ** 31 - 1;

/** Agents of the same capabilities and types. */
export interface SlotClass {
  readonly key: string;
  readonly capabilities: readonly string[];
  readonly types: readonly string[] | undefined;
  members: number;
  /** Free slots of agents with a limit. */
  slots: number;
  /** Agents without a limit that take work. */
  unlimited: number;
  /** Made when asked for, dropped when the numbers change. */
  offer: Offer | undefined;
}

/** Free slots by set of capabilities, kept up to date by each change. */
export class SlotOffers {
  readonly #classes = new Map<string, SlotClass>();
  #slots = 0;
  #unlimited = 0;
  #offers: readonly Offer[] | undefined;

  /** The class of these capabilities and types, sorted, with one member more. */
  join(capabilities: readonly string[], types: readonly string[] | undefined): SlotClass {
    // Names hold no control characters, so the keys of different sets differ.
    const names = capabilities.join('\u0000');
    const key = types === undefined ? names : `${names}\u0001${types.join('\u0000')}`;
    let found = this.#classes.get(key);
    if (found === undefined) {
      found = { key, capabilities, types, members: 0, slots: 0, unlimited: 0, offer: undefined };
      this.#classes.set(key, found);
    }
    found.members += 1;
    return found;
  }

  leave(group: SlotClass): void {
    group.members -= 1;
    if (group.members === 0) this.#classes.delete(group.key);
    this.#offers = undefined;
  }

  /** This many slots became free, or were taken. */
  freed(group: SlotClass, slots: number): void {
    this.#slots += slots;
    group.slots += slots;
    this.#changed(group);
  }

  /** An agent without a limit came (1) or went (−1). */
  unlimited(group: SlotClass, change: number): void {
    this.#unlimited += change;
    group.unlimited += change;
    this.#changed(group);
  }

  /** Of all classes; `Infinity` with an agent without a limit. */
  total(): number {
    return this.#unlimited > 0 ? Number.POSITIVE_INFINITY : this.#slots;
  }

  /** The same array until something changes; never changed afterwards. */
  all(): readonly Offer[] {
    if (this.#offers !== undefined) return this.#offers;
    const offers: Offer[] = [];
    for (const group of this.#classes.values()) {
      const slots = group.unlimited > 0 ? MOST_SLOTS : Math.min(group.slots, MOST_SLOTS);
      if (slots === 0) continue;
      const { capabilities, types } = group;
      group.offer ??= { capabilities, slots, ...(types === undefined ? {} : { types }) };
      offers.push(group.offer);
    }
    this.#offers = offers;
    return offers;
  }

  #changed(group: SlotClass): void {
    group.offer = undefined;
    this.#offers = undefined;
  }
}
