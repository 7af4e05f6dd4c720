import type { Order, SessionReport, Sessions } from '../../core/ports/sessions.ts';
import type {
  BackendTime,
  Cursor,
  Page,
  PageRequest,
  SessionNumber,
  Stamped,
} from '../../core/ports/words.ts';
import type { MemoryClock } from './memory-clock.ts';
import { type OperationLog, stopped } from './operation-log.ts';

interface Session {
  readonly session: SessionNumber;
  readonly boot: string;
  readonly leaseMs: number;
  readonly writer: number;
  report: SessionReport;
  expiresAt: BackendTime;
  closed: boolean;
}

const DAY_US = 24 * 3_600_000_000;

/** What the other stores of the backend do when a session ends, and what they have to say to a live one. */
export interface SessionFollower {
  /** `close`: given back in good order. `expire`: the process is taken for dead. */
  sessionEnded(session: SessionNumber, how: 'close' | 'expire'): void;
  orders?(session: SessionNumber): readonly Order[];
}

/** Sessions in memory. A lease of a process on itself makes sense only with several managers on one backend, and in tests of what a crash does. */
export class MemorySessions implements Sessions {
  readonly #clock: MemoryClock;
  readonly #log: OperationLog;
  readonly #followers: SessionFollower[] = [];
  readonly #sessions = new Map<SessionNumber, Session>();
  #last = 0;
  /** µs; nothing ends or is forgotten before: asked by every call of every store. */
  #nextDue = Number.POSITIVE_INFINITY;

  constructor(clock: MemoryClock, log: OperationLog) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Adds a store that must hear of ended sessions. */
  follow(follower: SessionFollower): void {
    this.#followers.push(follower);
  }

  open(request: {
    readonly boot: string;
    readonly leaseMs: number;
    readonly writer: number;
    readonly report: SessionReport;
  }): Stamped & { readonly session: SessionNumber; readonly expiresAt: BackendTime } {
    if (this.#log.stopped) throw stopped();
    const at = this.expireDue();
    for (const known of this.#sessions.values()) {
      if (known.boot === request.boot && !known.closed)
        return { at, session: known.session, expiresAt: known.expiresAt };
    }
    const session = ++this.#last as SessionNumber;
    const expiresAt = (at + request.leaseMs * 1_000) as BackendTime;
    this.#sessions.set(session, { ...request, session, expiresAt, closed: false });
    this.#nextDue = Math.min(this.#nextDue, expiresAt);
    this.#log.open(session);
    return { at, session, expiresAt };
  }

  beat(
    session: SessionNumber,
    report: SessionReport,
  ): Stamped &
    (
      | { readonly status: 'alive'; readonly expiresAt: BackendTime; readonly orders: readonly Order[] }
      | { readonly status: 'expired' }
    ) {
    if (this.#log.stopped) throw stopped();
    const at = this.expireDue();
    const known = this.#sessions.get(session);
    if (known === undefined || known.closed) return { at, status: 'expired' };
    known.report = report;
    known.expiresAt = (at + known.leaseMs * 1_000) as BackendTime;
    const orders = this.#followers.flatMap((follower) => follower.orders?.(session) ?? []);
    return { at, status: 'alive', expiresAt: known.expiresAt, orders };
  }

  close(session: SessionNumber): Stamped {
    const at = this.expireDue();
    const known = this.#sessions.get(session);
    if (known !== undefined && !known.closed) this.#end(known, 'close', at);
    return { at };
  }

  list(page: PageRequest & { readonly state?: 'alive' | 'suspect' | 'expired' }): Page<{
    readonly session: SessionNumber;
    readonly boot: string;
    readonly expiresAt: BackendTime;
    readonly writer: number;
    readonly report: SessionReport;
  }> {
    const at = this.expireDue();
    const stateOf = (known: Session): 'alive' | 'suspect' | 'expired' => {
      if (known.closed) return 'expired';
      return known.expiresAt - at < (known.leaseMs * 1_000) / 3 ? 'suspect' : 'alive';
    };
    const all = [...this.#sessions.values()]
      .filter((known) => page.state === undefined || stateOf(known) === page.state)
      .toSorted((a, b) => Number(a.closed) - Number(b.closed) || a.session - b.session);
    const from = page.after === undefined ? 0 : Number(page.after);
    const items = all
      .slice(from, from + page.limit)
      .map(({ session, boot, expiresAt, writer, report }) => ({ session, boot, expiresAt, writer, report }));
    const next = from + page.limit < all.length ? (String(from + page.limit) as Cursor) : undefined;
    return { at, items, next, scanned: items.length };
  }

  /** Whether the session may mutate: open and within its lease. */
  isAlive(session: SessionNumber): boolean {
    this.expireDue();
    return this.#sessions.get(session)?.closed === false;
  }

  /** Ends sessions whose lease has run out, forgets those ended a day ago. Returns the time it used. */
  expireDue(): BackendTime {
    const at = this.#clock.now();
    if (at < this.#nextDue) return at;
    this.#nextDue = Number.POSITIVE_INFINITY;
    for (const known of this.#sessions.values()) {
      if (!known.closed && known.expiresAt <= at) this.#end(known, 'expire', at);
      else if (known.closed && known.expiresAt + DAY_US < at) this.#sessions.delete(known.session);
      this.#nextDue = Math.min(this.#nextDue, known.closed ? known.expiresAt + DAY_US : known.expiresAt);
    }
    return at;
  }

  #end(known: Session, how: 'close' | 'expire', at: BackendTime): void {
    known.closed = true;
    known.expiresAt = Math.min(known.expiresAt, at) as BackendTime;
    this.#nextDue = Math.min(this.#nextDue, known.expiresAt + DAY_US);
    this.#log.close(known.session);
    for (const follower of this.#followers) follower.sessionEnded(known.session, how);
  }
}
