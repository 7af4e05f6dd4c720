import type { SessionNumber } from '../../core/ports/words.ts';
import type { Flight, Home, Stored } from './message-lane.ts';

/** Everything that is handed out and not settled, by the call that took it: one record a batch, not one a message. */
export class Flights {
  readonly #open = new Set<Flight>();
  /** Never above the soonest deadline. */
  #soonest = Number.POSITIVE_INFINITY;

  /** µs; `Infinity` when nothing is out. */
  get soonest(): number {
    return this.#open.size === 0 ? Number.POSITIVE_INFINITY : this.#soonest;
  }

  add(flight: Flight): void {
    this.#soonest = this.#open.size === 0 ? flight.deadline : Math.min(this.#soonest, flight.deadline);
    this.#open.add(flight);
  }

  /** One of its deliveries is settled. */
  settled(flight: Flight): void {
    flight.open -= 1;
    if (flight.open > 0) return;
    flight.items = [];
    this.#open.delete(flight);
  }

  /** Deliveries whose time is up. */
  overdue(at: number): Stored[] {
    if (this.soonest > at) return [];
    const due = this.#held((flight) => flight.deadline <= at);
    let soonest = Number.POSITIVE_INFINITY;
    for (const flight of this.#open) if (flight.deadline > at) soonest = Math.min(soonest, flight.deadline);
    this.#soonest = soonest;
    return due;
  }

  /** Deliveries in the hand of a session. */
  of(session: SessionNumber): Stored[] {
    return this.#held((flight) => flight.session === session);
  }

  /** Deliveries of a mailbox, whoever holds them. */
  from(mailbox: Home): Stored[] {
    return this.#held(() => true).filter((item) => item.mailbox === mailbox);
  }

  /** Deliveries of one address, for a settlement that comes as plain data. */
  find(address: string, receipt: string): Stored | undefined {
    for (const flight of this.#open) {
      const found = flight.items.find(
        (item) => item.address === address && item.state === 'held' && item.receipt === receipt,
      );
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #held(matches: (flight: Flight) => boolean): Stored[] {
    const held: Stored[] = [];
    for (const flight of this.#open) {
      if (matches(flight)) held.push(...flight.items.filter((item) => item.state === 'held'));
    }
    return held;
  }
}
