import type { Ended } from '../../../core/ports/tasks.ts';
import { DEAD, type Moment, READY, SCHEDULED, SKIPPED, STATE_NAMES, type TaskRow } from './row.ts';

/** Most tasks that one call reports beside its own items. */
export const MAX_LISTED = 1_000;
/** Most edges a call looks at: many of them may lead to nothing that would be listed. */
const MAX_EDGES = 16_000;

const NONE: readonly never[] = Object.freeze([]);

/** What one call sets in motion beside its own items, and how much more of it may do. */
export class Effects {
  readonly moment: Moment;
  #readied: { readonly task: string; readonly queue: string }[] | undefined = undefined;
  #ended: Ended[] | undefined = undefined;
  #requested: { readonly task: string; readonly reason: string; readonly local?: object }[] | undefined =
    undefined;
  #left: number;
  #edges = MAX_EDGES;
  /** Tasks ended or asked to end, those of the call itself included. */
  affected = 0;
  /** A task is due later that wasn't before: `sweep` knows when. */
  scheduled = false;

  constructor(moment: Moment, limit: number = MAX_LISTED) {
    this.moment = moment;
    this.#left = Math.min(limit, MAX_LISTED);
  }

  /** Whether more may be done in this call. */
  get hasRoom(): boolean {
    return this.#left > 0 && this.#edges > 0;
  }

  get requested(): readonly { readonly task: string; readonly reason: string; readonly local?: object }[] {
    return this.#requested ?? NONE;
  }

  /** An edge or sub-task was looked at. */
  looked(): void {
    this.#edges -= 1;
  }

  readied(row: TaskRow): void {
    if (row.state === SCHEDULED) this.scheduled = true;
    if (row.state !== READY) return;
    this.#left -= 1;
    this.#readied ??= [];
    this.#readied.push({ task: row.task.id, queue: row.queue.name });
  }

  /** @param local of the task, which the row has given up by now. @param isOwn an item of the call, which counts for nothing */
  ended(
    row: TaskRow,
    reason: string,
    parent: string | undefined,
    local: object | undefined,
    isOwn = false,
  ): void {
    if (!isOwn) this.#left -= 1;
    this.affected += 1;
    this.#ended ??= [];
    this.#ended.push({
      task: row.task.id,
      queue: row.queue.name,
      state: STATE_NAMES[row.state as typeof DEAD | typeof SKIPPED],
      reason,
      ...(parent === undefined ? {} : { parent }),
      ...(local === undefined ? {} : { local }),
    });
  }

  asked(row: TaskRow, reason: string, isOwn = false): void {
    if (!isOwn) this.#left -= 1;
    this.affected += 1;
    this.#requested ??= [];
    const { id, local } = row.task;
    this.#requested.push({ task: id, reason, ...(local === undefined ? {} : { local }) });
  }

  get readiedList(): readonly { readonly task: string; readonly queue: string }[] {
    return this.#readied ?? NONE;
  }

  get endedList(): readonly Ended[] {
    return this.#ended ?? NONE;
  }
}
