import type { Order, SessionReport, Sessions } from '../../core/ports/sessions.ts';
import type {
  BackendTime,
  Cursor,
  Page,
  PageRequest,
  SessionNumber,
  Stamped,
} from '../../core/ports/words.ts';
import type { Database } from './database.ts';

interface SessionRow {
  readonly number: number;
  readonly boot: string;
  readonly expires_at: number;
  readonly writer: number;
  readonly report: string;
  readonly over: boolean;
  readonly at: number;
}

/** Ended ones come after the live ones; a cursor says which kind its session was, and its number. */
const LIST = `
  with now as materialized (select agentmesh.now_us() as at),
  known as (
    select s.number, s.boot, s.expires_at, s.writer, s.report, now.at,
      s.closed_at is not null or s.expires_at <= now.at as over,
      s.lease_ms * 1000 / 3 as margin
    from agentmesh.sessions s, now where s.expires_at >= now.at - 86400000000
  )
  select number, boot, expires_at, writer, report, over, at from known
  where (over, number) > ($1, $2)
    and ($3::text is null or $3 = case when over then 'expired' when expires_at - at < margin then 'suspect' else 'alive' end)
  order by over, number limit $4`;

/** Sessions in PostgreSQL: a row each, one statement a beat. */
export class PostgresSessions implements Sessions {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  async open(request: {
    readonly boot: string;
    readonly leaseMs: number;
    readonly writer: number;
    readonly report: SessionReport;
  }): Promise<Stamped & { readonly session: SessionNumber; readonly expiresAt: BackendTime }> {
    const { boot, leaseMs, writer, report } = request;
    const [row] = await this.#db.write<{
      readonly session: SessionNumber;
      readonly expires_at: BackendTime;
      readonly at: BackendTime;
    }>('select session, expires_at, at from agentmesh.session_open_v1($1, $2, $3, $4)', [
      boot,
      leaseMs,
      writer,
      JSON.stringify(report),
    ]);
    const { session, expires_at, at } = row as NonNullable<typeof row>;
    return { at, session, expiresAt: expires_at };
  }

  async beat(
    session: SessionNumber,
    report: SessionReport,
  ): Promise<
    Stamped &
      (
        | { readonly status: 'alive'; readonly expiresAt: BackendTime; readonly orders: readonly Order[] }
        | { readonly status: 'expired' }
      )
  > {
    const [row] = await this.#db.write<{
      readonly expires_at: BackendTime | null;
      readonly at: BackendTime;
      readonly orders: readonly string[];
    }>('select expires_at, at, orders from agentmesh.session_beat_v1($1, $2)', [
      session,
      JSON.stringify(report),
    ]);
    const { expires_at, at, orders } = row as NonNullable<typeof row>;
    if (expires_at === null) return { at, status: 'expired' };
    return {
      at,
      status: 'alive',
      expiresAt: expires_at,
      orders: orders.map((order) => JSON.parse(order) as Order),
    };
  }

  /** Extends the lease, and nothing else: what the thread does while the event loop is blocked. False: the session is over. */
  async pulse(session: SessionNumber): Promise<boolean> {
    const [row] = await this.#db.write<{ readonly alive: boolean }>(
      'select agentmesh.session_pulse_v1($1) as alive',
      [session],
    );
    return row?.alive === true;
  }

  async close(session: SessionNumber): Promise<Stamped> {
    const [row] = await this.#db.write<{ readonly at: BackendTime }>(
      'select agentmesh.session_close_v1($1) as at',
      [session],
    );
    // What it gave back may be what others wait for; it happens once in the life of a process.
    this.#db.hint([
      { about: 'tasks', queue: '*' },
      { about: 'locks', resource: '*' },
      { about: 'messages', address: '*' },
      { about: 'state', prefix: '*' },
    ]);
    const { at } = row as NonNullable<typeof row>;
    return { at };
  }

  async list(page: PageRequest & { readonly state?: 'alive' | 'suspect' | 'expired' }): Promise<
    Page<{
      readonly session: SessionNumber;
      readonly boot: string;
      readonly expiresAt: BackendTime;
      readonly writer: number;
      readonly report: SessionReport;
    }>
  > {
    const [over, number] = page.after === undefined ? [false, -1] : readCursor(page.after);
    const rows = await this.#db.read<SessionRow>(LIST, [over, number, page.state ?? null, page.limit + 1]);
    const items = rows.slice(0, page.limit);
    const last = items.at(-1);
    const next =
      rows.length > page.limit && last !== undefined
        ? (`${last.over ? 1 : 0}:${last.number}` as Cursor)
        : undefined;
    return {
      at: (rows[0]?.at ?? (await this.#now())) as BackendTime,
      items: items.map(({ number, boot, expires_at, writer, report }) => ({
        session: number as SessionNumber,
        boot,
        expiresAt: expires_at as BackendTime,
        writer,
        report: JSON.parse(report) as SessionReport,
      })),
      next,
      scanned: items.length,
    };
  }

  async #now(): Promise<number> {
    const [row] = await this.#db.read<{ readonly at: number }>('select agentmesh.now_us() as at');
    return row?.at ?? 0;
  }
}

function readCursor(cursor: Cursor): readonly [boolean, number] {
  const [over, number] = cursor.split(':');
  return [over === '1', Number(number)];
}
