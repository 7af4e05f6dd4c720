import type { SessionNumber } from '../../../core/ports/words.ts';
import { type Holder, RowList } from './row.ts';

/** The sessions that hold claims. */
export class Holders {
  readonly #isOpen: (session: SessionNumber) => boolean;
  readonly #bySession = new Map<SessionNumber, Holder>();
  /** Those whose session has ended. */
  readonly dead: Set<Holder> = new Set();

  constructor(isOpen: (session: SessionNumber) => boolean) {
    this.#isOpen = isOpen;
  }

  get size(): number {
    return this.#bySession.size;
  }

  all(): Iterable<Holder> {
    return this.#bySession.values();
  }

  get(session: SessionNumber): Holder | undefined {
    return this.#bySession.get(session);
  }

  /** The one of a session, made now if it held nothing yet. */
  of(session: SessionNumber): Holder {
    let holder = this.#bySession.get(session);
    if (holder === undefined) {
      holder = { session, claims: new RowList(), dead: !this.#isOpen(session) };
      this.#bySession.set(session, holder);
      if (holder.dead) this.dead.add(holder);
    }
    return holder;
  }

  /** Its session has ended. */
  bury(holder: Holder): void {
    holder.dead = true;
    this.dead.add(holder);
    this.release(holder);
  }

  /** It holds less: a dead one without claims is of no interest any more. */
  release(holder: Holder): void {
    if (!holder.dead || holder.claims.size > 0) return;
    this.dead.delete(holder);
    this.#bySession.delete(holder.session);
  }
}
