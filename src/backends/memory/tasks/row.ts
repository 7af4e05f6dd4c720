import type { NewTask, QueueSettings, TaskState, Transition } from '../../../core/ports/tasks.ts';
import { TASK_STATES } from '../../../core/task-states.ts';
import type { BackendTime, Encoded, SessionNumber, Token } from '../../../core/ports/words.ts';

/** States as small integers: counters are arrays, and a comparison is one instruction. */
export const WAITING = 0;
export const SCHEDULED = 1;
export const READY = 2;
export const CLAIMED = 3;
export const COMPLETED = 4;
export const DEAD = 5;
export const CANCELLED = 6;
export const SKIPPED = 7;
/** Only as `from` of a first transition. */
export const NEW = 8;

export type StateCode =
  | typeof WAITING
  | typeof SCHEDULED
  | typeof READY
  | typeof CLAIMED
  | typeof COMPLETED
  | typeof DEAD
  | typeof CANCELLED
  | typeof SKIPPED;
/** By code. */
export const STATE_NAMES = TASK_STATES;
export const TRANSITION_NAMES = [...STATE_NAMES, 'new'] as const satisfies readonly Transition['from'][];

export function stateName(code: StateCode): TaskState {
  return STATE_NAMES[code];
}

/** The claim's handler was called. */
export const STARTED = 1;
/** Started in a session that died, taken over and not yet settled: another death is no second crash. */
export const ADOPTED = 2;
/** Lies in the ring of its lane. */
export const IN_RING = 4;
/** A dead entry for it lies in some ring, so it may not be put into one again until that is gone. */
export const TOMB = 8;
/** Forgotten by the store; only old claims still point at it. */
export const PRUNED = 16;
/** Ended while it waited for parents. */
export const UNMET = 32;
/** Ended, and promised to be kept for its time. */
export const KEEP_FIRM = 64;
/** Ended, was promised to be kept for its time, and no longer is. */
export const SHEDDABLE = 128;

/** A time shared by all rows that one call touched: a reference costs a third of a number of its own. */
export interface Moment {
  readonly at: BackendTime;
}

/** An entry of a heap of rows. `row` is taken out when the entry no longer counts. */
export interface HeapEntry {
  readonly at: number;
  readonly order: number;
  row: TaskRow | undefined;
}

/** An edge that still matters: `child` waits for the owner of `down`. In two singly linked lists, the parent's and the child's. */
export interface Link {
  readonly down: Dependents;
  readonly child: TaskRow;
  readonly onFailure: NewTask['dependsOn'][number]['onFailure'];
  open: boolean;
  /** In the parent's list. */
  next: Link | undefined;
  /** In the child's list. */
  readonly nextUp: Link | undefined;
}

/** Who waits for one task, which may not have been enqueued yet. */
export interface Dependents {
  readonly id: string;
  first: Link | undefined;
  last: Link | undefined;
  open: number;
  closed: number;
}

export interface Dependencies {
  /** Parents that are not done. */
  pending: number;
  up: Link | undefined;
  down: Dependents | undefined;
}

/** What most rows never need. */
export interface Rare {
  crashes: number;
  moves: number;
  lastError: Encoded;
  cancelRequested: string | undefined;
  reason: string | undefined;
  signature: string | undefined;
  /** Changes to the body that wait until the claim ends. */
  deferred: Partial<Pick<NewTask, 'priority' | 'payload'>> | undefined;
  deadline: HeapEntry | undefined;
  /** How much longer it is to have waited once it is ready, ms. */
  agedMs: number;
  /** When it was redriven or replaced: its deadline counts from there. */
  redriven: Moment | undefined;
}

/** Where a ready row lies. */
export interface ReadyPlace {
  /** Takes a row out, wherever it lies in it. */
  remove(row: TaskRow): void;
}

/** What a row needs of its queue. */
export interface RowQueue {
  readonly name: string;
  readonly settings: QueueSettings;
  /** Rows by state code. */
  readonly states: Float64Array;
  readonly totals: Record<'enqueued' | 'pruned' | 'attempts' | 'staleSettles' | 'duplicates', number>;
  /** Puts a row among the ready ones, at the place its age gives it. */
  add(row: TaskRow): void;
  /** Takes a ready row out. */
  remove(row: TaskRow): void;
  /** A claim of this row ends, which still counts. True when something ready may be claimed now that a limit kept back. */
  unclaimed(row: TaskRow): boolean;
}

/** A session that holds claims. */
export interface Holder {
  readonly session: SessionNumber;
  readonly claims: RowList;
  /** Closed or expired: what it holds may be taken. */
  dead: boolean;
}

/** What a row has once it was claimed or has ended. */
class Later {
  holder: Holder | undefined = undefined;
  token: Token | undefined = undefined;
  /** Neighbours in its holder's claims, or among the ended. */
  previous: TaskRow | undefined = undefined;
  next: TaskRow | undefined = undefined;
  ended: Moment | undefined = undefined;
  result: Encoded = undefined;
}

/**
 * One task. A reference costs 8 bytes in each of a million, so what a waiting row doesn't need yet lies in {@link Later}, and what few
 * rows need in {@link Rare} and {@link Dependencies}.
 */
export class TaskRow {
  task: NewTask;
  readonly queue: RowQueue;
  state: StateCode | typeof NEW = NEW;
  flags = 0;
  /** Order of enqueue. */
  readonly seq: number;
  /** Order of arrival among the ready; 0: never was ready, or starts afresh. Kept by a release, so that it returns to its place. */
  order = 0;
  readonly enqueued: Moment;
  /** From when it ages. */
  ranked: Moment | undefined = undefined;
  /** When it became ready; of a scheduled or waiting task, when it is due. */
  readied: Moment | undefined = undefined;
  lane: ReadyPlace | undefined = undefined;
  /** In a lane's side heap (ready), or in the heap of delays (scheduled). */
  entry: HeapEntry | undefined = undefined;
  attempt = 0;
  #later: Later | undefined = undefined;
  deps: Dependencies | undefined = undefined;
  rare: Rare | undefined = undefined;

  constructor(task: NewTask, queue: RowQueue, seq: number, enqueued: Moment) {
    this.task = task;
    this.queue = queue;
    this.seq = seq;
    this.enqueued = enqueued;
  }

  /** To be written; to be read, its fields are there as the row's own. */
  get later(): Later {
    this.#later ??= new Later();
    return this.#later;
  }

  get holder(): Holder | undefined {
    return this.#later?.holder;
  }
  get token(): Token | undefined {
    return this.#later?.token;
  }
  get ended(): Moment | undefined {
    return this.#later?.ended;
  }
  get result(): Encoded {
    return this.#later?.result;
  }
  /** The next in its holder's claims, or among the ended. */
  get next(): TaskRow | undefined {
    return this.#later?.next;
  }
}

export function isEnded(row: TaskRow): boolean {
  return row.state >= COMPLETED;
}

/** The row's rare part, made now if it had none. */
export function rareOf(row: TaskRow): Rare {
  row.rare ??= {
    crashes: 0,
    moves: 0,
    lastError: undefined,
    cancelRequested: undefined,
    reason: undefined,
    signature: undefined,
    deferred: undefined,
    deadline: undefined,
    agedMs: 0,
    redriven: undefined,
  };
  return row.rare;
}

/** A doubly linked list through `previous` and `next` of its rows: a row is in one at most. */
export class RowList {
  first: TaskRow | undefined = undefined;
  last: TaskRow | undefined = undefined;
  size = 0;

  push(row: TaskRow): void {
    const { later } = row;
    later.previous = this.last;
    later.next = undefined;
    if (this.last === undefined) this.first = row;
    else this.last.later.next = row;
    this.last = row;
    this.size += 1;
  }

  remove(row: TaskRow): void {
    const { later } = row;
    const { previous, next } = later;
    if (previous === undefined) this.first = next;
    else previous.later.next = next;
    if (next === undefined) this.last = previous;
    else next.later.previous = previous;
    later.previous = undefined;
    later.next = undefined;
    this.size -= 1;
  }
}
