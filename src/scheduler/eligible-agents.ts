import { countSeats, hasBit, nextSeat } from './agent-index.ts';
import type { Seats } from './seats.ts';
import type { Candidate, CandidatePool } from './strategy.ts';

/** The agents that may take a task, as a strategy sees them. Good for one decision. */
export class EligibleAgents implements CandidatePool {
  readonly #seats: Seats;
  readonly #needs: { readonly set: Uint32Array };
  readonly #full: boolean;

  /** @param full whether agents without a free slot count too */
  constructor(seats: Seats, needs: { readonly set: Uint32Array }, full: boolean) {
    this.#seats = seats;
    this.#needs = needs;
    this.#full = full;
  }

  /** Cheaper than `size === 0`. */
  get isEmpty(): boolean {
    return nextSeat(this.#present(), this.#needs.set, 0) < 0;
  }

  get size(): number {
    return countSeats(this.#present(), this.#needs.set);
  }

  get(id: string): Candidate | undefined {
    const seat = this.#seats.seatOf(id);
    if (seat === undefined || !hasBit(this.#present(), seat) || !hasBit(this.#needs.set, seat))
      return undefined;
    return this.#seats.members[seat]?.view;
  }

  leastLoaded(after?: string): Candidate | undefined {
    const seat = this.#seats.index.lowest(this.#needs.set, this.#after(after), this.#full);
    return seat < 0 ? undefined : this.#seats.members[seat]?.view;
  }

  next(id: string | undefined): Candidate | undefined {
    const seat = nextSeat(this.#present(), this.#needs.set, this.#after(id));
    return seat < 0 ? undefined : this.#seats.members[seat]?.view;
  }

  *[Symbol.iterator](): IterableIterator<Candidate> {
    const { set } = this.#needs;
    for (let last = -1; ; ) {
      const seat = nextSeat(this.#present(), set, last + 1);
      if (seat <= last) return;
      last = seat;
      yield this.#seats.members[seat]?.view as Candidate;
    }
  }

  #present(): Uint32Array {
    return this.#full ? this.#seats.index.open : this.#seats.index.free;
  }

  /** An agent that is gone counts as none. */
  #after(id: string | undefined): number {
    if (id === undefined) return 0;
    const seat = this.#seats.seatOf(id);
    return seat === undefined ? 0 : seat + 1;
  }
}
