import type { Hint } from '../../../core/ports/backend.ts';
import type {
  CycleEdge,
  LockAnswer,
  LockRelease,
  LockRequest,
  LockRow,
  LockStore,
  WaitRef,
  WaitSnapshot,
} from '../../../core/ports/locks.ts';
import type {
  BackendTime,
  Operation,
  Page,
  PageRequest,
  SessionNumber,
  Stamped,
  Token,
} from '../../../core/ports/words.ts';
import type { Database } from '../database.ts';
import { type AnswerText, answerOf } from './lock-answer.ts';
import { LIST, type ListFilter, listValues, pageOf, type RowText } from './lock-list.ts';
import { snapshotOf, SNAPSHOT, type SnapshotText } from './lock-snapshot.ts';
import { requestColumns } from './request-columns.ts';

const REQUEST = `select agentmesh.lock_request_v1(${places(22)}) as answer`;
const KEEP = `select agentmesh.lock_keep_v1(${places(3)}) as answer`;
const RELEASE = `select agentmesh.lock_release_v1(${places(7)}) as answer`;
const ABORT = `select agentmesh.lock_abort_v1(${places(7)}) as answer`;
const PUBLISH = `select agentmesh.lock_publish_v1(${places(6)}) as at`;

/** What the functions answer, as JSON text. `hints`: where those wait who were granted or lost something, and which request it was, if it is known. */
interface Answered {
  readonly at: BackendTime;
  readonly hints: readonly (readonly [resource: string, request: string | null])[];
}

/** Locks in PostgreSQL: every call is one function of the server, which locks the rows of its resources and hands on before it returns. */
export class PostgresLockStore implements LockStore {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  async request(
    op: Operation,
    requests: readonly LockRequest[],
  ): Promise<Stamped & { readonly answers: readonly LockAnswer[] }> {
    if (requests.length === 0) return { at: await this.#db.now(), answers: [] };
    const { at, answers } = await this.#call<{ readonly answers: readonly AnswerText[] }>(REQUEST, [
      op.session,
      op.sequence,
      ...requestColumns(requests),
    ]);
    return { at, answers: answers.map(answerOf) };
  }

  async keep(
    session: SessionNumber,
    refs: readonly { readonly id: string; readonly token?: Token | undefined }[],
  ): Promise<Stamped & { readonly answers: readonly LockAnswer[] }> {
    if (refs.length === 0) return { at: await this.#db.now(), answers: [] };
    const { at, answers } = await this.#call<{ readonly answers: readonly AnswerText[] }>(KEEP, [
      session,
      refs.map(({ id }) => id),
      refs.map(({ token }) => token ?? null),
    ]);
    return { at, answers: answers.map(answerOf) };
  }

  async release(
    op: Operation,
    items: readonly LockRelease[],
  ): Promise<Stamped & { readonly ended: readonly boolean[]; readonly granted: readonly string[] }> {
    const { at, ended, granted } = await this.#call<{
      readonly ended: readonly boolean[];
      readonly granted: readonly string[];
    }>(RELEASE, [
      op.session,
      op.sequence,
      items.map(({ id }) => id),
      items.map(({ token }) => token ?? null),
      items.map(({ downgradeTo }) => downgradeTo !== undefined),
      items.map(({ revoke }) => revoke?.graceMs ?? null),
      items.map(({ revoke }) => revoke?.reason ?? null),
    ]);
    return { at, ended, granted };
  }

  async publish(session: SessionNumber, edges: readonly CycleEdge[]): Promise<Stamped> {
    const [row] = await this.#db.write<Stamped>(PUBLISH, [
      session,
      edges.map(({ waiter }) => waiter),
      edges.map(({ holder }) => holder),
      edges.map(({ by }) => by),
      edges.map(({ what }) => what),
      edges.map(({ agent }) => agent ?? null),
    ]);
    return { at: (row as Stamped).at };
  }

  async snapshot(around?: string): Promise<WaitSnapshot> {
    const [row] = await this.#db.read<SnapshotText>(SNAPSHOT, [around ?? null]);
    return snapshotOf(row as SnapshotText);
  }

  async abort(
    op: Operation,
    wait: WaitRef,
    cycle: readonly CycleEdge[],
    witnesses: readonly WaitRef[],
  ): Promise<Stamped & { readonly aborted: boolean }> {
    const { at, aborted } = await this.#call<{ readonly aborted: boolean }>(ABORT, [
      op.session,
      op.sequence,
      wait.id,
      wait.version,
      JSON.stringify(cycle),
      witnesses.map(({ id }) => id),
      witnesses.map(({ version }) => version),
    ]);
    return { at, aborted };
  }

  async list(filter: ListFilter, page: PageRequest): Promise<Page<LockRow>> {
    const [row] = await this.#db.read<RowText>(LIST, listValues(filter, page));
    return pageOf(row as RowText, page);
  }

  /** Calls a function that answers with a JSON text, and wakes whom it says. */
  async #call<A>(text: string, values: readonly unknown[]): Promise<A & Answered> {
    const [row] = await this.#db.write<{ readonly answer: string }>(text, values);
    const answer = JSON.parse((row as NonNullable<typeof row>).answer) as A & Answered;
    if (answer.hints.length > 0) this.#db.hint(answer.hints.map(hintOf));
    return answer;
  }
}

function hintOf([resource, request]: Answered['hints'][number]): Hint {
  return request === null ? { about: 'locks', resource } : { about: 'locks', resource, request };
}

/** `$1, $2, …` */
function places(count: number): string {
  return Array.from({ length: count }, (_, i) => `$${i + 1}`).join(', ');
}
