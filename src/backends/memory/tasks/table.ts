import type { NewTask } from '../../../core/ports/tasks.ts';
import type { BackendTime, Token } from '../../../core/ports/words.ts';
import type { MemoryCore } from '../memory-core.ts';
import { Cascade, type CascadeTarget } from './cascade.ts';
import { Deadlines } from './deadlines.ts';
import { DependencyGraph } from './dependency-graph.ts';
import type { Effects } from './effects.ts';
import { Forgotten } from './forgotten.ts';
import { Holders } from './holders.ts';
import { NameSets } from './name-set.ts';
import { OfferKinds } from './offers.ts';
import { ReadyQueues } from './ready-queues.ts';
import { Retention } from './retention.ts';
import {
  ADOPTED,
  CANCELLED,
  CLAIMED,
  type Holder,
  isEnded,
  type Link,
  type Moment,
  NEW,
  PRUNED,
  rareOf,
  READY,
  SCHEDULED,
  type SKIPPED,
  STARTED,
  type StateCode,
  stateName,
  TaskRow,
  UNMET,
  WAITING,
} from './row.ts';
import { RowHeap } from './row-heap.ts';
import { RowIndex } from './row-index.ts';
import { RowNames } from './row-names.ts';
import { SessionOrders } from './session-orders.ts';
import { SubTasks } from './sub-tasks.ts';
import { TaskQueue } from './task-queue.ts';
import { TransitionLog } from './transition-log.ts';

/** Rows that one call forgets at most because their time is over. */
const MOST_PRUNED = 1_000;

export interface MemoryTaskStoreOptions {
  /**
   * Ended tasks kept at most, over all queues; the oldest are pruned first. Dead letters, tasks with an idempotency key and tasks that
   * state their own `keepMs` stay for their time and don't count. @default 10,000
   */
  readonly keepEnded?: number;
  /**
   * Forgotten tasks whose end is remembered all the same, so that dependencies on them are met: at least so many, at most twice as many,
   * about 50 bytes each and 100 once one is looked for, beside long ids of your own. @default 50,000
   */
  readonly rememberEnded?: number;
  /** Newest transitions kept for `history`. @default 10,000 */
  readonly history?: number;
  /** How long state and key of tasks with `keepMs: 0` stay, ms. @default 60,000 */
  readonly tombstoneMs?: number;
}

/** All tasks, and the transitions between their states: each keeps the counters, the indexes and the audit trail in step. */
export class TaskTable implements CascadeTarget {
  readonly core: MemoryCore;
  readonly index: RowIndex = new RowIndex();
  readonly rows: RowNames = new RowNames(this.index);
  readonly keys: Map<string, TaskRow> = new Map();
  readonly queues: Map<string, TaskQueue> = new Map();
  readonly sets: NameSets = new NameSets();
  readonly kinds: OfferKinds = new OfferKinds(this.sets);
  readonly ready: ReadyQueues = new ReadyQueues();
  readonly graph: DependencyGraph;
  readonly cascade: Cascade = new Cascade(this);
  readonly delays: RowHeap = new RowHeap();
  readonly deadlines: Deadlines = new Deadlines();
  readonly retention: Retention;
  readonly log: TransitionLog;
  readonly holders: Holders;
  readonly orders: SessionOrders;
  readonly #keepEnded: number;
  readonly #forgotten: Forgotten;
  readonly #subTasks = new SubTasks();
  #now: Moment = { at: 0 as BackendTime };
  #sequence = 0;
  #arrivals = 0;
  #lastQueue: TaskQueue | undefined = undefined;
  #opened = false;
  /** The queue this call hinted at last. */
  #hinted: TaskQueue | undefined = undefined;

  constructor(core: MemoryCore, options: MemoryTaskStoreOptions) {
    this.core = core;
    this.holders = new Holders((session) => core.log.isOpen(session));
    this.orders = new SessionOrders(core);
    this.#keepEnded = options.keepEnded ?? 10_000;
    this.#forgotten = new Forgotten(options.rememberEnded ?? 50_000);
    this.graph = new DependencyGraph(this.rows, this.#forgotten);
    this.retention = new Retention(options.tombstoneMs ?? 60_000);
    this.log = new TransitionLog(options.history ?? 10_000);
  }

  /** The time of a call; asked once at its beginning. */
  now(at: BackendTime = this.core.clock.now()): Moment {
    this.#hinted = undefined;
    if (at !== this.#now.at) this.#now = { at };
    return this.#now;
  }

  queue(name: string): TaskQueue {
    if (this.#lastQueue?.name === name) return this.#lastQueue;
    let queue = this.queues.get(name);
    if (queue === undefined) {
      queue = new TaskQueue(name, this.ready, this.sets);
      this.queues.set(name, queue);
    }
    this.#lastQueue = queue;
    return queue;
  }

  /** A new row in the indexes, not yet in a state. @param isNew no other task can have its id */
  insert(task: NewTask, queue: TaskQueue, now: Moment, isNew = false): TaskRow {
    this.#sequence += 1;
    const row = new TaskRow(task, queue, this.#sequence, now);
    this.index.add(row);
    this.rows.add(row, isNew);
    if (task.key !== undefined) this.#giveKey(task.key, row);
    if (task.parent !== undefined) this.#subTasks.add(row);
    queue.totals.enqueued += 1;
    if (task.limits.deadlineMs !== undefined) this.deadlines.arm(row);
    return row;
  }

  /** Waits for its parents, whose links are there. */
  wait(row: TaskRow, now: Moment): void {
    this.#move(row, WAITING, now, undefined);
  }

  /** Waits for nobody: ready, or scheduled for when it is due. */
  place(row: TaskRow, now: Moment, reason?: string): void {
    const { readied } = row;
    if (readied !== undefined && readied.at > now.at) {
      this.#move(row, SCHEDULED, now, reason);
      row.entry = this.delays.push(row, readied.at, row.seq);
      return;
    }
    row.readied = readied ?? now;
    if (row.order === 0) {
      this.#arrivals += 1;
      row.order = this.#arrivals;
      row.ranked = row.rare === undefined ? row.readied : agedBy(row.readied, row.rare.agedMs);
    }
    this.#move(row, READY, now, reason);
    row.queue.add(row);
    if (!this.core.hints.idle) this.#hintReady(row.queue as TaskQueue);
  }

  /** Whether a limit has room again since this was asked last. */
  takeOpened(): boolean {
    const opened = this.#opened;
    this.#opened = false;
    return opened;
  }

  /** When it is due, were it placed now: after this delay, at once without. */
  due(now: Moment, delayMs: number): Moment {
    return delayMs > 0 ? { at: (now.at + Math.ceil(delayMs * 1_000)) as BackendTime } : now;
  }

  /** Changes which agent the task is for; `null`: any. The caller sees to its place. */
  pin(row: TaskRow, agent: string | null): void {
    const { agent: _agent, ...anybody } = row.task;
    row.task = agent === null ? anybody : { ...anybody, agent };
  }

  /** Its body was changed in a way that moves it: takes it out, changes it, puts it back where it then belongs. */
  relocate(row: TaskRow, change: () => void): void {
    if (row.state === READY) {
      row.queue.remove(row);
      change();
      row.queue.add(row);
      if (!this.core.hints.idle) this.#hintReady(row.queue as TaskQueue);
    } else change();
  }

  /** Gives an unclaimed live row another body, which keeps its place in time. Its deadline counts from now. */
  replace(row: TaskRow, task: NewTask, now: Moment): void {
    this.deadlines.drop(row);
    if (row.task.parent !== task.parent) this.#subTasks.move(row, task.parent);
    this.relocate(row, () => {
      row.task = task;
    });
    if (task.limits.deadlineMs === undefined) return;
    rareOf(row).redriven = now;
    this.deadlines.arm(row);
  }

  /** An unclaimed live row comes earlier among the ready ones, as if it had waited longer. */
  age(row: TaskRow, ageMs: number): void {
    rareOf(row).agedMs += ageMs;
    this.relocate(row, () => {
      if (row.ranked !== undefined) row.ranked = agedBy(row.ranked, ageMs);
    });
  }

  /** Gives an unclaimed row another due time, as if it were new. */
  reschedule(row: TaskRow, now: Moment, delayMs: number): void {
    const due = this.due(now, delayMs);
    if (row.state === WAITING) {
      row.readied = due;
      return;
    }
    this.#leave(row);
    row.readied = due;
    row.order = 0;
    this.place(row, now);
  }

  /** Gives a ready row to a session. The queue has taken it out of its pool. */
  claim(row: TaskRow, holder: Holder, started: boolean, now: Moment): void {
    row.later.token = this.core.clock.token(now.at);
    row.attempt += 1;
    row.later.holder = holder;
    row.flags = started ? row.flags | STARTED : row.flags & ~STARTED;
    holder.claims.push(row);
    row.queue.totals.attempts += 1;
    this.#move(row, CLAIMED, now, undefined);
  }

  /** Gives a claim to another session: the former token is worth nothing any more. */
  reclaim(row: TaskRow, holder: Holder, steal: string, now: Moment): void {
    const former = row.holder as Holder;
    former.claims.remove(row);
    this.orders.drop(former.session, row.token as Token);
    if (!former.dead && former !== holder) this.orders.tellTaken(former.session, row);
    row.later.token = this.core.clock.token(now.at);
    row.later.holder = holder;
    holder.claims.push(row);
    this.log.add(row, CLAIMED, CLAIMED, now.at, steal);
    const reason = row.rare?.cancelRequested;
    if (reason !== undefined) this.orders.askToCancel(holder.session, row, reason);
    this.holders.release(former);
  }

  /** Ends a claim without ending the task. */
  giveBack(row: TaskRow, now: Moment, delayMs: number, reason: string | undefined): void {
    const holder = this.#leaveHolder(row);
    const { deferred } = row.rare ?? {};
    if (deferred !== undefined) {
      row.task = { ...row.task, ...deferred };
      rareOf(row).deferred = undefined;
    }
    row.readied = this.due(now, delayMs);
    this.place(row, now, reason);
    row.later.holder = undefined;
    row.flags &= ~(STARTED | ADOPTED);
    this.holders.release(holder);
    this.deadlines.arm(row);
  }

  /** The session shall stop this attempt. */
  requestCancel(row: TaskRow, reason: string): void {
    const rare = rareOf(row);
    if (rare.cancelRequested !== undefined) return;
    rare.cancelRequested = reason;
    this.orders.askToCancel((row.holder as Holder).session, row, reason);
  }

  /** Takes the claim from its session, which will be told. The caller ends the task. */
  revoke(row: TaskRow, now: Moment): void {
    const { session, dead } = row.holder as Holder;
    this.orders.drop(session, row.token as Token);
    if (!dead) this.orders.tellTaken(session, row);
    row.later.token = this.core.clock.token(now.at);
  }

  /** Ends a task, whatever it is doing. */
  end(row: TaskRow, as: StateCode, now: Moment, reason?: string): void {
    const holder = row.state === CLAIMED ? this.#leaveHolder(row) : undefined;
    if (holder === undefined) this.#leave(row);
    this.#move(row, as, now, reason);
    if (holder !== undefined) {
      row.later.holder = undefined;
      row.flags &= ~(STARTED | ADOPTED);
      this.holders.release(holder);
    }
    row.later.ended = now;
    if (row.rare !== undefined || reason !== undefined) this.#endRare(row, reason);
    this.#strip(row);
    this.retention.add(row);
    if (row.deps !== undefined) this.cascade.ended(row);
  }

  /**
   * At the end of each call that ends tasks: prunes what is more than may be kept, the oldest first and nothing that was promised to stay.
   * What was goes with the next sweep once its time is over; with more than may be kept, now: sweeps may not keep up with what comes.
   */
  trim(now: Moment): void {
    if (this.retention.size > this.#keepEnded) this.#pruneDue(now);
    for (let surplus = this.retention.sheddable - this.#keepEnded; surplus > 0; surplus--) {
      this.prune(this.retention.oldest() as TaskRow);
    }
  }

  #pruneDue(now: Moment): void {
    for (let pruned = 0; pruned < MOST_PRUNED; pruned++) {
      const row = this.retention.due(now.at);
      if (row === undefined) return;
      this.prune(row);
    }
  }

  /** Makes an ended row begin again. The caller places it or lets it wait. */
  revive(row: TaskRow): void {
    this.retention.remove(row);
    row.later.ended = undefined;
    row.order = 0;
    row.later.result = undefined;
    row.flags &= ~UNMET;
  }

  /** Forgets an ended row. */
  prune(row: TaskRow): void {
    const { task, queue } = row;
    this.#forgotten.add(row);
    this.retention.remove(row);
    this.rows.delete(row);
    if (task.key !== undefined && this.keys.get(task.key) === row) this.keys.delete(task.key);
    this.index.delete(row);
    this.#subTasks.forget(row);
    if (row.deps !== undefined) this.graph.disown(row);
    queue.states[row.state] = (queue.states[row.state] as number) - 1;
    queue.totals.pruned += 1;
    row.flags |= PRUNED;
    row.later.result = undefined;
  }

  // What a cascade does.

  endChild(child: TaskRow, as: typeof CANCELLED | typeof SKIPPED, parent: TaskRow, effects: Effects): void {
    const { local } = child.task;
    const reason = parentReason(parent.state as StateCode);
    this.end(child, as, effects.moment, reason);
    effects.ended(child, reason, parent.task.id, local);
  }

  satisfy(link: Link, effects: Effects): void {
    const { child } = link;
    this.graph.close(link);
    if (child.deps === undefined) return;
    child.deps.pending -= 1;
    if (child.deps.pending > 0) return;
    child.deps.up = undefined;
    this.#leaveWaiting(child, effects.moment);
    effects.readied(child);
  }

  cancelSubTask(row: TaskRow, reason: string, revoke: boolean, effects: Effects): void {
    if (isEnded(row)) return;
    const { local } = row.task;
    if (this.cancel(row, reason, revoke, effects.moment)) effects.ended(row, reason, undefined, local);
    else effects.asked(row, reason);
  }

  subTasks(id: string): Iterable<TaskRow> {
    return this.#subTasks.of(id);
  }

  /** Cancels a live task now, or asks its session to; true when it has ended. */
  cancel(row: TaskRow, reason: string, revoke: boolean, now: Moment): boolean {
    if (row.state === CLAIMED) {
      if (!revoke && (row.flags & STARTED) !== 0) {
        this.requestCancel(row, reason);
        return false;
      }
      this.revoke(row, now);
    }
    this.end(row, CANCELLED, now, reason);
    return true;
  }

  /** The key is this row's from now on, and nobody else's. */
  #giveKey(key: string, row: TaskRow): void {
    const former = this.keys.get(key);
    if (former !== undefined) {
      const { key: _key, ...keyless } = former.task;
      former.task = keyless;
      if (isEnded(former)) this.retention.loosen(former);
    }
    this.keys.set(key, row);
  }

  #leaveWaiting(row: TaskRow, now: Moment): void {
    if (row.readied === undefined || row.readied.at <= now.at) row.readied = now;
    this.place(row, now);
  }

  /** Takes an unclaimed live row out of where its state put it. */
  #leave(row: TaskRow): void {
    if (row.state === READY) row.queue.remove(row);
    else if (row.state === WAITING) {
      this.graph.detach(row);
      row.flags |= UNMET;
    } else if (row.state === SCHEDULED && row.entry !== undefined) {
      this.delays.remove(row.entry);
      row.entry = undefined;
    }
  }

  /** Takes a claimed row out of its session's claims; `row.holder` stays for the audit trail of the transition that follows. */
  #leaveHolder(row: TaskRow): Holder {
    const holder = row.holder as Holder;
    holder.claims.remove(row);
    if (row.queue.unclaimed(row)) {
      this.#opened = true;
      if (!this.core.hints.idle) this.#hintReady(row.queue as TaskQueue);
    }
    if (row.rare?.cancelRequested !== undefined) {
      this.orders.drop(holder.session, row.token as Token);
      row.rare.cancelRequested = undefined;
    }
    return holder;
  }

  #endRare(row: TaskRow, reason: string | undefined): void {
    const rare = rareOf(row);
    rare.reason = reason;
    rare.deferred = undefined;
    this.deadlines.drop(row);
  }

  /**
   * With `keepMs: 0` lets go of all but state and key. Otherwise the submitter's local object stays too: it is smaller than a copy of the
   * body without it.
   */
  #strip(row: TaskRow): void {
    const { task } = row;
    if (task.limits.keepMs > 0) return;
    // The payload of a keyed task stays: a second submission under the key is compared with it (T2).
    const payload = task.key === undefined ? undefined : task.payload;
    row.task = { ...task, payload, headers: undefined, local: undefined } as unknown as NewTask;
    row.later.result = undefined;
    if (row.rare !== undefined) row.rare.lastError = undefined;
  }

  #hintReady(queue: TaskQueue): void {
    if (this.#hinted === queue) return;
    this.#hinted = queue;
    this.core.hint({ about: 'tasks', queue: queue.name });
  }

  #move(row: TaskRow, to: StateCode, now: Moment, reason: string | undefined): void {
    const { states } = row.queue;
    const from = row.state;
    if (from !== NEW) states[from] = (states[from] as number) - 1;
    states[to] = (states[to] as number) + 1;
    row.state = to;
    this.log.add(row, from, to, now.at, reason);
  }
}

/** Why a child ended when a parent ended so. */
export function parentReason(parent: StateCode): string {
  return `PARENT_${stateName(parent).toUpperCase()}`;
}

function agedBy(moment: Moment, ageMs: number): Moment {
  return ageMs === 0 ? moment : { at: (moment.at - ageMs * 1_000) as BackendTime };
}
