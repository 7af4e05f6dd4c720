import type { Owner } from '../../core/ports/locks.ts';

/** A ticket as its owner's lists see it. */
interface Listed<Ticket> {
  previousOwn: Ticket | undefined;
  nextOwn: Ticket | undefined;
  readonly entry: object;
  readonly mode: number;
  readonly units: number;
  readonly more: readonly Ticket[] | undefined;
  places(): readonly Ticket[];
}

/** Who holds and wants what: one for each owner id in use. Tickets are linked, not kept in a Set: sets that are filled and emptied all the time leave chains of dead tables behind. */
export class Holder<Ticket extends Listed<Ticket>> {
  owner: Owner;
  /** Held tickets. */
  first: Ticket | undefined;
  held = 0;
  /** Waiting tickets. */
  firstWait: Ticket | undefined;
  waiting = 0;

  constructor(owner: Owner) {
    this.owner = owner;
    this.first = undefined;
    this.firstWait = undefined;
  }

  get idle(): boolean {
    return this.held === 0 && this.waiting === 0;
  }

  add(ticket: Ticket): void {
    link(ticket, this.first);
    this.first = ticket;
    this.held += 1;
  }

  remove(ticket: Ticket): void {
    if (this.first === ticket) this.first = ticket.nextOwn;
    unlink(ticket);
    this.held -= 1;
  }

  addWait(ticket: Ticket): void {
    link(ticket, this.firstWait);
    this.firstWait = ticket;
    this.waiting += 1;
  }

  removeWait(ticket: Ticket): void {
    if (this.firstWait === ticket) this.firstWait = ticket.nextOwn;
    unlink(ticket);
    this.waiting -= 1;
  }

  /** Whether a waiting ticket is in the list of this owner, not only in its queues. */
  lists(ticket: Ticket): boolean {
    return this.firstWait === ticket || ticket.previousOwn !== undefined;
  }

  waits(): Ticket[] {
    const found: Ticket[] = [];
    for (let ticket = this.firstWait; ticket !== undefined; ticket = ticket.nextOwn) found.push(ticket);
    return found;
  }

  /** This owner's held place at a resource, one with units or of a mode in `modes`. */
  placeAt(entry: object, modes = -1): Ticket | undefined {
    for (let ticket = this.first; ticket !== undefined; ticket = ticket.nextOwn) {
      if (ticket.entry === entry && (modes & (1 << ticket.mode)) !== 0) return ticket;
      if (ticket.more === undefined) continue;
      for (const place of ticket.more) {
        if (place.entry === entry && (modes & (1 << place.mode)) !== 0) return place;
      }
    }
    return undefined;
  }

  /** How often this owner holds a resource in one mode. */
  countAt(entry: object, mode: number): number {
    return this.#placesAt(entry).filter((place) => place.mode === mode).length;
  }

  unitsAt(entry: object): number {
    return this.#placesAt(entry).reduce((units, place) => units + place.units, 0);
  }

  #placesAt(entry: object): Ticket[] {
    const found: Ticket[] = [];
    for (let ticket = this.first; ticket !== undefined; ticket = ticket.nextOwn) {
      for (const place of ticket.places()) if (place.entry === entry) found.push(place);
    }
    return found;
  }
}

function link<Ticket extends Listed<Ticket>>(ticket: Ticket, first: Ticket | undefined): void {
  ticket.nextOwn = first;
  if (first !== undefined) first.previousOwn = ticket;
}

function unlink<Ticket extends Listed<Ticket>>(ticket: Ticket): void {
  if (ticket.previousOwn !== undefined) ticket.previousOwn.nextOwn = ticket.nextOwn;
  if (ticket.nextOwn !== undefined) ticket.nextOwn.previousOwn = ticket.previousOwn;
  ticket.previousOwn = undefined;
  ticket.nextOwn = undefined;
}
