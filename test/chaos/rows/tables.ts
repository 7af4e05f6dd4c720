import pg from 'pg';
import type { TaskState, Transition } from '../../../src/core/ports/tasks.ts';
import type { Held, Reading, RestRows } from '../checks/evidence.ts';
import { PATIENT_MS, type World } from '../world.ts';
import { type Rows, transition } from './rows.ts';

/** By their numbers; see docs/design/postgres-tables.md. */
const STATES: readonly TaskState[] = [
  'waiting',
  'scheduled',
  'ready',
  'claimed',
  'completed',
  'dead',
  'cancelled',
  'skipped',
];
const NEW = 8;

/** A row of the audit trail: each list has an element a task, or one for all of them. */
interface JournalRow {
  readonly at: string;
  readonly number: number;
  readonly seqs: readonly string[];
  readonly moves: readonly number[];
  readonly attempts: readonly string[] | null;
  readonly tokens: readonly string[] | null;
  readonly sessions: readonly (string | null)[] | null;
  readonly reasons: readonly (string | null)[] | null;
}

/** The tables of a mesh, by SQL that calls none of its functions but those for the time and for who lives. */
export class TableRows implements Rows {
  readonly #pool: pg.Pool;
  readonly #name: string;

  constructor({ direct, name }: World) {
    this.#pool = new pg.Pool({ connectionString: direct, max: 2, connectionTimeoutMillis: PATIENT_MS });
    this.#pool.on('error', () => undefined);
    this.#name = name;
  }

  async held(): Promise<Held[]> {
    return this.#query<Held>(
      `select h.resource, count(*) filter (where h.mode = 4)::int as exclusive, count(*) filter (where h.mode = 2)::int as shared,
         coalesce(sum(h.units) filter (where h.mode = 5), 0)::int as units, max(r.capacity)::int as of
       from ${this.#name}.lock_holders h join ${this.#name}.lock_resources r on r.name = h.resource group by h.resource`,
    );
  }

  async rest(): Promise<RestRows> {
    const alive = `(select t.id from ${this.#name}.lock_tickets t where ${this.#name}.session_alive_v1(t.session)
      and (t.expires_at is null or t.expires_at > ${this.#name}.now_us()))`;
    const [row] = await this.#query<RestRows>(
      `select (select count(*)::int from ${this.#name}.lock_holders where ticket in ${alive}) as holders,
        (select count(*)::int from ${this.#name}.lock_waiters where ticket in ${alive}) as waiters,
        (select count(*)::int from ${this.#name}.tasks) + (select count(*)::int from ${this.#name}.task_ends) as rows,
        (select coalesce(sum(waiting + handling), 0)::int from (
          select distinct on (box) waiting, handling from ${this.#name}.message_counts order by box, version desc
        ) boxes) as letters`,
    );
    return row as RestRows;
  }

  async read(): Promise<Reading> {
    const bodies = await this.#query<{ seq: string; id: string }>(
      `select seq, id from ${this.#name}.task_bodies where enqueued_at is not null`,
    );
    const ids = new Map(bodies.map(({ seq, id }) => [Number(seq), id]));
    const tasks = await this.#query<{ seq: string; state: number; attempt: number; crashes: number }>(
      `select seq, state, attempt, crashes from ${this.#name}.tasks
       union all select seq, state, attempt, crashes from ${this.#name}.task_ends`,
    );
    const journal = await this.#query<JournalRow>(
      `select at, number, seqs, moves, attempts, tokens, sessions, reasons from ${this.#name}.task_journal
       where number > 0 order by pos`,
    );
    const sessions = await this.#query<{ number: string; pid: number; ends: string }>(
      `select number, (report::json ->> 'pid')::int as pid, expires_at as ends from ${this.#name}.sessions`,
    );
    return {
      tasks: new Map(
        tasks.map(({ seq, state, attempt, crashes }) => [
          ids.get(Number(seq)) ?? `row ${seq}`,
          { state: STATES[state] as TaskState, attempt, crashes },
        ]),
      ),
      history: journal.flatMap((row) => stepsOf(row, ids)),
      sessions: new Map(
        sessions.map(({ number, pid, ends }) => [Number(number), { pid, endsAt: Number(ends) }]),
      ),
    };
  }

  close(): Promise<void> {
    return this.#pool.end();
  }

  async #query<R extends pg.QueryResultRow>(text: string): Promise<R[]> {
    return (await this.#pool.query<R>(text)).rows;
  }
}

function stepsOf(row: JournalRow, ids: ReadonlyMap<number, string>): Transition[] {
  const { at, number, seqs, moves, attempts, tokens, sessions, reasons } = row;
  /** Of one element that stands for all. */
  const same = <T>(list: readonly T[] | null, i: number): T | undefined =>
    list?.[list.length === number ? i : 0];
  /** Of one from which they go on. */
  const next = (list: readonly string[] | null, i: number): number => {
    const isWhole = list?.length === number;
    return Number(list?.[isWhole ? i : 0] ?? 0) + (isWhole || list === null ? 0 : i);
  };
  return Array.from({ length: number }, (_, i) => {
    const move = same(moves, i) ?? 0;
    const session = same(sessions, i) ?? undefined;
    const from = move >> 4;
    const seq = next(seqs, i);
    return transition({
      task: ids.get(seq) ?? `row ${seq}`,
      at: Number(at),
      from: from === NEW ? 'new' : (STATES[from] as TaskState),
      to: STATES[move & 15] as TaskState,
      attempt: Number(same(attempts, i) ?? 0),
      token: next(tokens, i),
      session: session === undefined ? undefined : Number(session),
      reason: same(reasons, i) ?? undefined,
    });
  });
}
