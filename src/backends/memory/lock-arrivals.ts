import type { LockRequest } from '../../core/ports/locks.ts';
import type { BackendTime } from '../../core/ports/words.ts';
import { ageStepUs } from './lock-order.ts';
import type { Waiting } from './lock-ticket.ts';

/** Before everybody. */
const FIRST = Number.NEGATIVE_INFINITY;
/** Less urgent than any priority. */
const PASSAGES = -1_000_000;

/** Gives each wait its place in the order of all. */
export class LockArrivals {
  /** Ranks count from the first wait: small numbers, exact to the µs and below. */
  #origin: number | undefined;
  #last = 0;
  #lastPassage = PASSAGES;

  /** The wait of a request that comes now, if it must wait. Upgrades go before everybody. */
  waitOf(
    { order, priority }: Pick<LockRequest, 'priority' | 'order'>,
    isUpgrade: boolean,
    at: BackendTime,
  ): Waiting {
    this.#origin ??= at;
    const arrival = Math.max(this.#last + 1, at - this.#origin);
    return {
      order,
      since: at,
      arrival,
      rank: isUpgrade ? FIRST : arrival - priority * ageStepUs(order),
      urgency: priority,
      overtaken: 0,
      blocked: 0,
      ahead: 0,
      suspect: false,
    };
  }

  /** It was not refused: later ones come after it. */
  queued({ arrival }: Waiting): void {
    this.#last = arrival;
  }

  /** Goes to another rank, behind others that went there before. */
  moved(wait: Waiting, rank: number): void {
    this.#lastPassage -= 1;
    wait.rank = rank;
    wait.urgency = this.#lastPassage;
    wait.blocked = 0;
  }
}
