import type { Offer } from '../core/ports/tasks.ts';

/** Most slots one offer speaks of: agents without a limit offer this many. */
export const MOST_SLOTS: number = 2 ** 31 - 1;

/** Agents of the same capabilities. */
export interface SlotClass {
  readonly key: string;
  readonly capabilities: readonly string[];
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

  /** The class of these capabilities, sorted, with one member more. */
  join(capabilities: readonly string[]): SlotClass {
    // Names hold no control characters, so the keys of different sets differ.
    const key = capabilities.join('\u0000');
    let found = this.#classes.get(key);
    if (found === undefined) {
      found = { key, capabilities, members: 0, slots: 0, unlimited: 0, offer: undefined };
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
      group.offer ??= { capabilities: group.capabilities, slots };
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
