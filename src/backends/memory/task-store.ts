import type { Order } from '../../core/ports/sessions.ts';
import type {
  Claim,
  ClaimAnswer,
  ClaimRef,
  ClaimRequest,
  Consequences,
  EnqueueResult,
  ListRequest,
  NewTask,
  QueueCounts,
  QueueSettings,
  QuickTasks,
  SettleResult,
  Settlement,
  TaskFilter,
  TaskRecord,
  TaskStore,
  Transition,
} from '../../core/ports/tasks.ts';
import type {
  BackendTime,
  Cursor,
  Operation,
  Page,
  PageRequest,
  SessionNumber,
  Stamped,
} from '../../core/ports/words.ts';
import type { MemoryCore } from './memory-core.ts';
import type { SessionFollower } from './sessions.ts';
import { type CancelRequest, type CancelResult, cancel } from './tasks/cancelling.ts';
import { Claiming } from './tasks/claiming.ts';
import { countsOf } from './tasks/counting.ts';
import type { Effects } from './tasks/effects.ts';
import { enqueue, enqueueAlone } from './tasks/enqueue.ts';
import { recordOf } from './tasks/record.ts';
import { type ReviseRequest, revise } from './tasks/revising.ts';
import { type RowList, STARTED, type TaskRow } from './tasks/row.ts';
import { list } from './tasks/selection.ts';
import { settle, start } from './tasks/settling.ts';
import { type Swept, sweep } from './tasks/sweeping.ts';
import { type MemoryTaskStoreOptions, TaskTable } from './tasks/table.ts';
import { type TakeoverRequest, takeover } from './tasks/takeover.ts';

export type { MemoryTaskStoreOptions } from './tasks/table.ts';

/**
 * Tasks in memory: every answer comes without a promise, and what a call sets in motion has happened when it returns. Keeps the newest
 * ended tasks and transitions only, so that it doesn't grow with what has passed through it.
 */
export class MemoryTaskStore implements TaskStore, SessionFollower {
  readonly quick: QuickTasks;
  readonly #core: MemoryCore;
  readonly #table: TaskTable;

  /** @param isShared several processes store here: an id that one of them made may be another's too */
  constructor(core: MemoryCore, options: MemoryTaskStoreOptions = {}, isShared = false) {
    this.#core = core;
    this.#table = new TaskTable(core, options);
    this.quick = {
      enqueue: (session, task, isNew) => {
        return core.log.admits(session) ? enqueueAlone(this.#table, task, isNew && !isShared) : undefined;
      },
      claim: (session, request) => {
        const at = core.sessions.expireDue();
        return core.log.admits(session) ? this.#claim(session, request, at) : undefined;
      },
      settle: (settlements) => {
        core.log.refuseIfStopped();
        return settle(this.#table, settlements);
      },
    };
    core.sessions.follow(this);
  }

  enqueue(
    op: Operation,
    tasks: readonly NewTask[],
  ): Consequences & { readonly results: readonly EnqueueResult[] } {
    return this.#core.log.once(op, () => enqueue(this.#table, tasks));
  }

  claim(op: Operation, request: ClaimRequest): ClaimAnswer {
    const at = this.#core.sessions.expireDue();
    return this.#core.log.once(op, () => this.#claim(op.session, request, at));
  }

  #claim(session: SessionNumber, request: ClaimRequest, at: BackendTime): ClaimAnswer {
    const claiming = new Claiming(this.#table, session, request, this.#table.now(at));
    claiming.run();
    return { at, claims: claiming.claims ?? NO_CLAIMS, more: claiming.more };
  }

  start(op: Operation, claims: readonly ClaimRef[]): Stamped & { readonly started: readonly boolean[] } {
    const at = this.#core.sessions.expireDue();
    return this.#core.log.once(op, () => {
      this.#table.now(at);
      return { at, started: start(this.#table, claims) };
    });
  }

  settle(
    op: Operation,
    settlements: readonly Settlement[],
  ): Consequences & { readonly results: readonly SettleResult[] } {
    return this.#core.log.once(op, () => settle(this.#table, settlements), true);
  }

  takeover(op: Operation, request: TakeoverRequest): Stamped & { readonly claims: readonly Claim[] } {
    const at = this.#core.sessions.expireDue();
    return this.#core.log.once(op, () => {
      const now = this.#table.now(at);
      return { at, claims: takeover(this.#table, op.session, request, now) };
    });
  }

  cancel(
    op: Operation,
    requests: readonly CancelRequest[],
  ): Consequences & {
    readonly results: readonly CancelResult[];
    readonly requested: Effects['requested'];
  } {
    return this.#core.log.once(op, () => cancel(this.#table, requests));
  }

  revise(
    op: Operation,
    request: ReviseRequest,
  ): Consequences & {
    readonly changed: number;
    readonly deferred: number;
    readonly next: Cursor | undefined;
  } {
    return this.#core.log.once(op, () => revise(this.#table, request));
  }

  configure(
    op: Operation,
    queue: string,
    revision: number | undefined,
    settings: QueueSettings,
  ): Stamped & { readonly status: 'set' | 'changed-meanwhile'; readonly revision: number } {
    return this.#core.log.once(op, () => {
      const { at } = this.#table.now();
      const known = this.#table.queue(queue);
      if (revision !== undefined && revision !== known.revision) {
        return { at, status: 'changed-meanwhile' as const, revision: known.revision };
      }
      known.configure(settings);
      if (!settings.paused) this.#core.hint({ about: 'tasks', queue });
      return { at, status: 'set' as const, revision: known.revision };
    });
  }

  sweep(op: Operation, limit: number): Swept {
    return this.#core.log.once(op, () => sweep(this.#table, limit));
  }

  get(ids: readonly string[]): readonly (TaskRecord | undefined)[] {
    return ids.map((id) => {
      const row = this.#table.rows.get(id);
      return row === undefined ? undefined : recordOf(row, true);
    });
  }

  list(filter: TaskFilter, page: ListRequest): Page<TaskRecord> {
    return list(this.#table, filter, page);
  }

  history(filter: { readonly task?: string; readonly queue?: string }, page: PageRequest): Page<Transition> {
    return this.#table.log.page(this.#table.now().at, filter, page);
  }

  counts(queues?: readonly string[]): Stamped & { readonly queues: readonly QueueCounts[] } {
    return { at: this.#table.now().at, queues: countsOf(this.#table, queues) };
  }

  /** Unstarted claims of a closed session go back, their attempt refunded; all that is left may be taken over at once. */
  sessionEnded(session: SessionNumber, how: 'close' | 'expire'): void {
    const table = this.#table;
    table.orders.forget(session);
    const holder = table.holders.get(session);
    if (holder === undefined) return;
    if (how === 'close') {
      const now = table.now();
      for (const row of unstarted(holder.claims)) {
        row.attempt -= 1;
        table.giveBack(row, now, 0, 'SESSION_CLOSED');
      }
    }
    table.holders.bury(holder);
  }

  orders(session: SessionNumber): readonly Order[] {
    return this.#table.orders.of(session);
  }
}

const NO_CLAIMS: readonly never[] = Object.freeze([]);

function unstarted({ first }: RowList): readonly TaskRow[] {
  const rows: TaskRow[] = [];
  for (let row = first; row !== undefined; row = row.next) if ((row.flags & STARTED) === 0) rows.push(row);
  return rows;
}
