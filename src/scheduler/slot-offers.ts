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
  /** Made when asked for, by number of slots. */
  readonly offers: Offer[];
  /** The same as lists of one, for when there is no other class. */
  readonly lists: (readonly Offer[])[];
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
      found = { key, capabilities, types, members: 0, slots: 0, unlimited: 0, offers: [], lists: [] };
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
    this.#offers = undefined;
  }

  /** An agent without a limit came (1) or went (−1). */
  unlimited(group: SlotClass, change: number): void {
    this.#unlimited += change;
    group.unlimited += change;
    this.#offers = undefined;
  }

  /** Of all classes; `Infinity` with an agent without a limit. */
  total(): number {
    return this.#unlimited > 0 ? Number.POSITIVE_INFINITY : this.#slots;
  }

  /** Whether all agents are of one class. */
  get areAlike(): boolean {
    return this.#classes.size === 1;
  }

  /** With so many slots more; of several classes none can be said to have them. */
  allAnd(more: number): readonly Offer[] {
    if (this.#classes.size !== 1) return this.all();
    const [only] = this.#classes.values();
    const { capabilities, types, slots, unlimited } = only as SlotClass;
    const free = unlimited > 0 ? MOST_SLOTS : Math.min(slots + more, MOST_SLOTS);
    return [{ capabilities, slots: free, ...(types === undefined ? {} : { types }) }];
  }

  /** The same array until something changes; never changed afterwards. */
  all(): readonly Offer[] {
    if (this.#offers !== undefined) return this.#offers;
    if (this.#classes.size === 1) for (const group of this.#classes.values()) this.#offers = listOf(group);
    this.#offers ??= [...this.#classes.values()].flatMap((group) => offerOf(group) ?? []);
    return this.#offers;
  }
}

/** Most numbers of slots for which an offer is kept. */
const KEPT = 1_024;

function offerOf(group: SlotClass): Offer | undefined {
  const slots = group.unlimited > 0 ? MOST_SLOTS : Math.min(group.slots, MOST_SLOTS);
  if (slots === 0) return undefined;
  const kept = group.offers[slots];
  if (kept !== undefined) return kept;
  const { capabilities, types } = group;
  const offer = { capabilities, slots, ...(types === undefined ? {} : { types }) };
  if (slots < KEPT) group.offers[slots] = offer;
  return offer;
}

function listOf(group: SlotClass): readonly Offer[] {
  const offer = offerOf(group);
  if (offer === undefined) return NOTHING;
  const kept = group.lists[offer.slots];
  if (kept !== undefined) return kept;
  const list = [offer];
  if (offer.slots < KEPT) group.lists[offer.slots] = list;
  return list;
}

const NOTHING: readonly Offer[] = Object.freeze([]);
