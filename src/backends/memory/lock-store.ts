import type {
  CycleEdge,
  LiveLocks,
  LockAnswer,
  LockRelease,
  LockRequest,
  LockRow,
  LockStore,
  QuickLocks,
  WaitRef,
  WaitSnapshot,
} from '../../core/ports/locks.ts';
import type {
  BackendTime,
  Operation,
  Page,
  PageRequest,
  SessionNumber,
  Stamped,
  Token,
} from '../../core/ports/words.ts';
import { grantOf, holdersOf, stateOf, waitingOf } from './lock-answer.ts';
import type { LockTicket } from './lock-entry.ts';
import { liveLocks } from './lock-live.ts';
import { type LockFilter, listLocks, snapshotLocks } from './lock-pictures.ts';
import { LOST } from './lock-refusal.ts';
import { LockTable } from './lock-table.ts';
import { Ticket, type Waiting } from './lock-ticket.ts';
import type { MemoryCore } from './memory-core.ts';
import type { SessionFollower } from './sessions.ts';

const MAX_ABORTED = 1_000;

/** Locks in memory: the port over the lock table, with operations, sessions and ids, and the narrow ways for clients in this process. */
export class MemoryLockStore implements LockStore, SessionFollower {
  readonly quick: QuickLocks;
  readonly live: LiveLocks;
  readonly #core: MemoryCore;
  readonly #table: LockTable;
  readonly #published = new Map<SessionNumber, readonly CycleEdge[]>();
  /** Victims that nobody could tell: they learn by `keep`. The newest thousand. */
  readonly #aborted = new Map<
    string,
    { readonly session: SessionNumber; readonly cycle: readonly CycleEdge[] }
  >();
  /** The session that called last, if it is open: asking about it is most of what a quick call would cost. */
  #open: SessionNumber | undefined;

  constructor(core: MemoryCore) {
    this.#core = core;
    const table = new LockTable(core);
    this.#table = table;
    core.sessions.follow(this);
    this.quick = {
      one: (session, resource, mode, wish) => {
        if (session !== this.#open && !this.#isOpen(session)) return LOST;
        const answer = table.one(session, resource, mode, wish);
        table.notices.tell();
        return answer;
      },
      ask: (session, request) => {
        if (session !== this.#open && !this.#isOpen(session)) return LOST;
        const answer = table.ask(session, request, true);
        table.notices.tell();
        return answer;
      },
      give: (grant) => table.give(grant as LockTicket),
      holders: (grant) => holdersOf(grant as LockTicket),
      ageMs: (grant) => Math.max(0, (table.now() - (grant as LockTicket).grantedAt) / 1_000),
      expose: (grant) => table.expose(grant as LockTicket),
      *listeners() {
        for (const { listener } of table.directory.tickets()) if (listener !== undefined) yield listener;
      },
    };
    this.live = liveLocks(table);
  }

  request(
    op: Operation,
    requests: readonly LockRequest[],
  ): Stamped & { readonly answers: readonly LockAnswer[] } {
    this.#core.sessions.expireDue();
    const answer = this.#core.log.once(op, () => {
      const at = this.#table.now();
      return { at, answers: requests.map((request) => this.#request(op.session, request, at)) };
    });
    this.#table.notices.tell();
    return answer;
  }

  keep(
    session: SessionNumber,
    refs: readonly { readonly id: string; readonly token?: Token | undefined }[],
  ): Stamped & { readonly answers: readonly LockAnswer[] } {
    this.#core.sessions.expireDue();
    const at = this.#table.now();
    const answers = refs.map((ref) => this.#keep(session, ref, at));
    this.#table.notices.tell();
    return { at, answers };
  }

  release(
    op: Operation,
    items: readonly LockRelease[],
  ): Stamped & { readonly ended: readonly boolean[]; readonly granted: readonly string[] } {
    const answer = this.#core.log.once(op, () => {
      const at = this.#table.now();
      const opened: LockTicket[] = [];
      const ended = items.map((item) => this.#release(op.session, item, at, opened));
      return { at, ended, granted: this.#table.grantAll(opened, at).map(({ id }) => id) };
    });
    this.#table.notices.tell();
    return answer;
  }

  publish(session: SessionNumber, edges: readonly CycleEdge[]): Stamped {
    if (edges.length === 0 || !this.#core.sessions.isAlive(session)) this.#published.delete(session);
    else this.#published.set(session, edges);
    return { at: this.#table.now() };
  }

  snapshot(around?: string): WaitSnapshot {
    this.#core.sessions.expireDue();
    const published = [...this.#published.values()].flat();
    return snapshotLocks(this.#table, published, this.#table.now(), around);
  }

  abort(
    op: Operation,
    wait: WaitRef,
    cycle: readonly CycleEdge[],
    witnesses: readonly WaitRef[],
  ): Stamped & { readonly aborted: boolean } {
    const answer = this.#core.log.once(op, () => {
      const at = this.#table.now();
      const ticket = this.#standing(wait);
      const aborted = ticket !== undefined && witnesses.every((ref) => this.#standing(ref) !== undefined);
      if (aborted) {
        if (ticket.listener === undefined) this.#remember(ticket, cycle);
        this.#table.endWait(ticket, { status: 'aborted', cycle }, at);
      }
      return { at, aborted };
    });
    this.#table.notices.tell();
    return answer;
  }

  list(filter: LockFilter, page: PageRequest): Page<LockRow> {
    return listLocks(this.#table, filter, page, this.#table.now());
  }

  sessionEnded(session: SessionNumber): void {
    if (this.#open === session) this.#open = undefined;
    this.#published.delete(session);
    const table = this.#table;
    const at = table.now();
    const tickets = [...table.directory.tickets()].filter((ticket) => ticket.session === session);
    const opened: LockTicket[] = [];
    // Waits first: no lock that is given back here may go to one of them.
    for (const ticket of tickets) if (ticket.state === 'waiting') table.end(ticket, opened);
    for (const ticket of tickets) if (ticket.state === 'held') table.end(ticket, opened);
    for (const ticket of tickets) table.notices.add(ticket, LOST);
    table.grantAll(opened, at);
    table.notices.tell();
  }

  #isOpen(session: SessionNumber): boolean {
    if (!this.#core.sessions.isAlive(session)) return false;
    this.#open = session;
    return true;
  }

  #request(session: SessionNumber, request: LockRequest, at: BackendTime): LockAnswer {
    const known = this.#table.directory.index.byId.get(request.id);
    if (known !== undefined) return stateOf(known, at);
    const answer = this.#table.ask(session, request);
    if (!(answer instanceof Ticket)) return answer;
    answer.nameIt(request.id);
    if (answer.state === 'ended') return grantOf(answer.upgrade as LockTicket, at, answer);
    if (answer.state === 'held') return grantOf(answer, at);
    const { ahead, suspect } = answer.wait as Waiting;
    return { ...waitingOf(answer), ahead, suspect };
  }

  #keep(
    session: SessionNumber,
    ref: { readonly id: string; readonly token?: Token | undefined },
    at: BackendTime,
  ): LockAnswer {
    const ticket = this.#table.directory.index.byId.get(ref.id);
    if (ticket === undefined) {
      const known = this.#aborted.get(ref.id);
      return known?.session === session ? { status: 'aborted', cycle: known.cycle } : LOST;
    }
    if (ticket.session !== session) return LOST;
    if (ticket.state !== 'held') return stateOf(ticket, at);
    if (ref.token !== undefined && ref.token !== ticket.token) return { status: 'lost' };
    if (this.#table.leases.hasExpired(ticket)) {
      this.#table.expire(ticket, at);
      return { status: 'lost' };
    }
    const { lease } = ticket;
    if (lease !== undefined && lease.revoked === undefined) lease.expiresAt = at + lease.leaseMs * 1_000;
    return grantOf(ticket, at);
  }

  #release(session: SessionNumber, item: LockRelease, at: BackendTime, opened: LockTicket[]): boolean {
    const table = this.#table;
    const ticket = table.directory.index.byId.get(item.id);
    if (ticket === undefined) return false;
    if (ticket.state === 'ended')
      return ticket.session === session && item.token === undefined && table.revert(ticket, opened);
    if (item.token !== undefined && (ticket.state !== 'held' || ticket.token !== item.token)) return false;
    if (table.leases.hasExpired(ticket)) {
      table.expire(ticket, at);
      return false;
    }
    const { revoke, downgradeTo } = item;
    if (revoke !== undefined) {
      if (ticket.state !== 'held') return false;
      table.revoke(ticket, revoke.graceMs, revoke.reason, at, opened);
      return true;
    }
    if (ticket.session !== session) return false;
    if (downgradeTo === undefined) table.end(ticket, opened);
    else if (ticket.state === 'held') table.downgrade(ticket, opened);
    return true;
  }

  #remember(ticket: LockTicket, cycle: readonly CycleEdge[]): void {
    this.#aborted.set(ticket.id, { session: ticket.session, cycle });
    if (this.#aborted.size <= MAX_ABORTED) return;
    const [oldest] = this.#aborted.keys();
    this.#aborted.delete(oldest as string);
  }

  /** A wait that is still as it was. */
  #standing(ref: WaitRef): LockTicket | undefined {
    const ticket = this.#table.directory.index.byId.get(ref.id);
    return ticket?.state === 'waiting' && ticket.version === ref.version ? ticket : undefined;
  }
}
