import type {
  Claim,
  ClaimAnswer,
  ClaimRef,
  ClaimRequest,
  Consequences,
  EnqueueAnswer,
  ListRequest,
  NewTask,
  QueueCounts,
  QueueSettings,
  Revision,
  SettleAnswer,
  Settlement,
  TaskFilter,
  TaskRecord,
  TaskState,
  TaskStore,
  Transition,
} from '../../../core/ports/tasks.ts';
import type { Cursor, Operation, Page, PageRequest, Stamped } from '../../../core/ports/words.ts';
import type { Database } from '../database.ts';
import type { PostgresClient } from '../driver.ts';
import {
  consequencesOf,
  type EffectsAnswer,
  nothingSince,
  parseAnswer,
  queueHints,
  readiedQueues,
} from './answers.ts';
import { Claiming, type TakeoverRequest } from './claiming.ts';
import { ENQUEUE, type EnqueueOwn, enqueueResults, enqueueValues, filledQueues } from './enqueueing.ts';
import { LaneBook } from './lane-book.ts';
import { cursorOf, filterText, placeOf, Reading } from './reading.ts';
import { revisionValues } from './revising.ts';
import {
  refilledQueues,
  SETTLE,
  type SettleOwn,
  settleResults,
  settleValues,
  START,
  startValues,
} from './settling.ts';
import { TextLists } from './text-lists.ts';

const CANCEL = 'select agentmesh.task_cancel_v1($1,$2,$3,$4,$5,$6,$7) as answer';
const REVISE = 'select agentmesh.task_revise_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12) as answer';
const CONFIGURE = 'select agentmesh.task_configure_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13) as answer';
const SWEEP = 'select agentmesh.task_sweep_v1($1,$2,$3,$4) as answer';

const DAY_US = 24 * 3_600_000_000;
/** Beyond 23 days a priority point a rank would lose its µs; by then order is strict anyway. */
const MAX_STEP_US = 2e12;

interface CancelRequest {
  readonly task: string;
  readonly reason: string;
  readonly tree: boolean;
  readonly revoke: boolean;
}

type CancelStatus = 'cancelled' | 'requested' | 'ended' | 'unknown';

interface Swept {
  readonly pruned: number;
  readonly deadSessions: number;
  /** null: never. */
  readonly nextInMs: number | null;
}

/** Tasks in PostgreSQL. Each method is one statement, which calls one function; texts and their packing are in the files beside this. */
export class PostgresTaskStore implements TaskStore {
  readonly #db: Database;
  readonly #historyUs: number;
  readonly #lanes: LaneBook;
  readonly #claiming: Claiming;
  readonly #reading: Reading;

  /** @param historyDays how long the audit trail is kept */
  constructor(db: Database, historyDays: number) {
    this.#db = db;
    this.#historyUs = historyDays * DAY_US;
    this.#lanes = new LaneBook(db);
    this.#claiming = new Claiming(db, this.#lanes);
    this.#reading = new Reading(db);
  }

  enqueue(op: Operation, tasks: readonly NewTask[]): Promise<EnqueueAnswer> {
    return this.#enqueue(this.#db, op, tasks);
  }

  claim(op: Operation, request: ClaimRequest): Promise<ClaimAnswer> {
    return this.#claiming.claim(op, request);
  }

  async start(
    op: Operation,
    claims: readonly ClaimRef[],
  ): Promise<Stamped & { readonly started: readonly boolean[] }> {
    if (claims.length === 0) return { at: await this.#db.now(), started: [] };
    const rows = await this.#db.write<{ readonly answer: string }>(START, startValues(op, claims));
    const { at, codes } = parseAnswer(rows) as Stamped & { readonly codes: string };
    return { at, started: [...codes].map((code) => code === '1') };
  }

  settle(op: Operation, settlements: readonly Settlement[]): Promise<SettleAnswer> {
    return this.#settle(this.#db, op, settlements);
  }

  async takeover(
    op: Operation,
    request: TakeoverRequest,
  ): Promise<Stamped & { readonly claims: readonly Claim[] }> {
    const answer = await this.#claiming.takeover(op, request);
    if (request.from !== 'dead' && answer.claims.length > 0) this.#db.hint([{ about: 'orders' }]);
    return answer;
  }

  async cancel(
    op: Operation,
    requests: readonly CancelRequest[],
  ): Promise<
    Consequences & {
      readonly results: readonly {
        readonly status: CancelStatus;
        readonly state?: TaskState;
        readonly affected: number;
      }[];
      readonly requested: readonly { readonly task: string; readonly reason: string }[];
    }
  > {
    if (requests.length === 0) return { ...nothingSince(await this.#db.now()), results: [], requested: [] };
    const ids = requests.map(({ task }) => task);
    const reasons = requests.map(({ reason }) => reason);
    const lists = new TextLists([...ids, ...reasons]);
    const answer = await this.#change<readonly (readonly [CancelStatus, TaskState | null, number])[]>(
      CANCEL,
      [
        op.session,
        op.sequence,
        lists.separator,
        lists.all(ids),
        lists.all(reasons),
        requests.map(({ tree }) => tree),
        requests.map(({ revoke }) => revoke),
      ],
    );
    if (answer.requested.length > 0 || answer.ended.length > 0) this.#db.hint([{ about: 'orders' }]);
    return {
      ...consequencesOf(answer),
      results: answer.own.map(([status, state, affected]) => ({
        status,
        ...(state === null ? {} : { state }),
        affected,
      })),
      requested: answer.requested,
    };
  }

  async revise(
    op: Operation,
    request: {
      readonly filter: TaskFilter;
      readonly revision: Revision;
      readonly limit: number;
      readonly after?: Cursor;
    },
  ): Promise<
    Consequences & { readonly changed: number; readonly deferred: number; readonly next: Cursor | undefined }
  > {
    const { filter, revision, limit, after } = request;
    const answer = await this.#change<{
      readonly changed: number;
      readonly deferred: number;
      readonly next: number | null;
    }>(REVISE, [
      op.session,
      op.sequence,
      filterText(filter),
      placeOf(after)[0],
      limit,
      ...revisionValues(revision),
    ]);
    const { changed, deferred, next } = answer.own;
    if (changed > 0 && filter.queue !== undefined) this.#claiming.readied([filter.queue]);
    else if (changed > 0) this.#claiming.forget();
    return { ...consequencesOf(answer), changed, deferred, next: cursorOf(next) };
  }

  async configure(
    op: Operation,
    queue: string,
    revision: number | undefined,
    settings: QueueSettings,
  ): Promise<Stamped & { readonly status: 'set' | 'changed-meanwhile'; readonly revision: number }> {
    const { paused, maxLength, maxRunning, maxRunningPerGroup, groupWeights = {}, ageStepMs } = settings;
    const shares = Object.entries(groupWeights);
    const rows = await this.#db.write<{ readonly answer: string }>(CONFIGURE, [
      op.session,
      op.sequence,
      queue,
      revision ?? null,
      JSON.stringify(settings),
      paused,
      finite(maxLength),
      finite(maxRunning),
      finite(maxRunningPerGroup),
      Math.round(Math.min(ageStepMs * 1_000, MAX_STEP_US)),
      shares.length > 0,
      shares.map(([group]) => group),
      shares.map(([, share]) => Math.max(share, 1e-9)),
    ]);
    const answer = parseAnswer(rows) as Stamped & {
      readonly status: 'set' | 'changed-meanwhile';
      readonly revision: number;
    };
    if (answer.status === 'set' && !paused) this.#tell([queue]);
    return answer;
  }

  async sweep(
    op: Operation,
    limit: number,
  ): Promise<
    Consequences & { readonly pruned: number; readonly deadSessions: number; readonly nextInMs: number }
  > {
    const answer = await this.#change<Swept>(SWEEP, [
      op.session,
      op.sequence,
      Math.min(limit, 1_000),
      this.#historyUs,
    ]);
    const { pruned, deadSessions, nextInMs } = answer.own;
    return {
      ...consequencesOf(answer),
      pruned,
      deadSessions,
      nextInMs: nextInMs ?? Number.POSITIVE_INFINITY,
    };
  }

  get(ids: readonly string[]): Promise<readonly (TaskRecord | undefined)[]> {
    return this.#reading.get(ids);
  }

  list(filter: TaskFilter, page: ListRequest): Promise<Page<TaskRecord>> {
    return this.#reading.list(filter, page);
  }

  history(
    filter: { readonly task?: string; readonly queue?: string },
    page: PageRequest,
  ): Promise<Page<Transition>> {
    return this.#reading.history(filter, page);
  }

  counts(queues?: readonly string[]): Promise<Stamped & { readonly queues: readonly QueueCounts[] }> {
    return this.#reading.counts(queues);
  }

  /** @param transaction a client of `pg`, or of its shape, inside a READ COMMITTED transaction */
  within(transaction: unknown): Pick<TaskStore, 'enqueue' | 'settle'> {
    const db = this.#db.within(transaction as PostgresClient);
    return {
      enqueue: (op, tasks) => this.#enqueue(db, op, tasks),
      settle: (op, settlements) => this.#settle(db, op, settlements),
    };
  }

  /** Lanes are made outside of the caller's transaction: others must not wait for it to end. */
  async #enqueue(db: Database, op: Operation, tasks: readonly NewTask[]): Promise<EnqueueAnswer> {
    if (tasks.length === 0) return { ...nothingSince(await db.now()), results: [] };
    for (;;) {
      const lanes = await this.#lanes.of(tasks);
      const rows = await db.write<{ readonly answer: string }>(ENQUEUE, enqueueValues(op, tasks, lanes));
      const answer = parseAnswer(rows) as EffectsAnswer<EnqueueOwn> & { readonly lanes?: true };
      if (answer.lanes === true) {
        await this.#lanes.renew();
        continue;
      }
      const results = enqueueResults(tasks, answer);
      const replaced = results.some((result) => result.status === 'duplicate' && result.replaced);
      const queues = replaced ? tasks.map(({ queue }) => queue) : filledQueues(tasks, answer.own.codes);
      this.#tell([...queues, ...readiedQueues(answer)], db);
      return { ...consequencesOf(answer), results };
    }
  }

  async #settle(db: Database, op: Operation, settlements: readonly Settlement[]): Promise<SettleAnswer> {
    if (settlements.length === 0) return { ...nothingSince(await db.now()), results: [] };
    const rows = await db.write<{ readonly answer: string }>(SETTLE, settleValues(op, settlements));
    const answer = parseAnswer(rows) as EffectsAnswer<SettleOwn>;
    this.#tell([...refilledQueues(settlements, answer.own.codes), ...readiedQueues(answer)], db);
    return { ...consequencesOf(answer), results: settleResults(answer) };
  }

  async #change<Own>(text: string, values: readonly unknown[]): Promise<EffectsAnswer<Own>> {
    const answer = parseAnswer(await this.#db.write(text, values)) as EffectsAnswer<Own>;
    this.#tell(readiedQueues(answer));
    return answer;
  }

  /** In these queues something may be claimed. */
  #tell(queues: readonly string[], db: Database = this.#db): void {
    if (queues.length === 0) return;
    this.#claiming.readied(queues);
    db.hint(queueHints(queues));
  }
}

function finite(limit: number | undefined): number | null {
  return limit === undefined || !Number.isFinite(limit)
    ? null
    : Math.min(Math.floor(limit), Number.MAX_SAFE_INTEGER);
}
