import type { Claim, ClaimRef, TaskBody } from '../../../core/ports/tasks.ts';
import type { BackendTime, Encoded, SessionNumber, Token } from '../../../core/ports/words.ts';
import { type Holder, type TaskRow } from './row.ts';

/** A claim as the memory store hands it out: plain data, and a private pointer to its row that saves the look-up when it is settled. */
export class MemoryClaim implements Claim {
  readonly session: SessionNumber;
  readonly task: string;
  readonly token: Token;
  readonly body: TaskBody;
  readonly attempt: number;
  readonly crashes: number;
  readonly moves: number;
  readonly enqueuedAt: BackendTime;
  readonly readyAt: BackendTime;
  readonly started: boolean;
  readonly local?: object;
  readonly lastError?: Encoded;
  readonly deadlineAt?: BackendTime;
  readonly poison?: true;
  readonly #row: TaskRow;

  /** @param taken by a takeover, which says when the task has crashed too often */
  constructor(row: TaskRow, started: boolean, taken: boolean) {
    const { task, rare } = row;
    this.session = (row.holder as Holder).session;
    this.task = task.id;
    this.token = row.token as Token;
    this.body = task;
    this.attempt = row.attempt;
    this.crashes = rare === undefined ? 0 : rare.crashes;
    this.moves = rare === undefined ? 0 : rare.moves;
    this.enqueuedAt = row.enqueued.at;
    this.readyAt = (row.readied ?? row.enqueued).at;
    this.started = started;
    if (task.local !== undefined) this.local = task.local;
    if (rare !== undefined) {
      if (rare.lastError !== undefined) this.lastError = rare.lastError;
      if (taken && rare.crashes > task.limits.maxCrashes) this.poison = true;
    }
    const deadlineAt = deadlineOf(row);
    if (deadlineAt !== undefined) this.deadlineAt = deadlineAt;
    this.#row = row;
  }

  /** The row behind a claim that this store made; `undefined` for a plain reference. */
  static rowOf(ref: ClaimRef): TaskRow | undefined {
    return #row in ref ? ref.#row : undefined;
  }
}

/** When a task ends `dead` unless it is claimed or has ended. */
export function deadlineOf(row: TaskRow): BackendTime | undefined {
  const { deadlineMs } = row.task.limits;
  if (deadlineMs === undefined) return undefined;
  return ((row.rare?.redriven ?? row.enqueued).at + Math.ceil(deadlineMs * 1_000)) as BackendTime;
}
