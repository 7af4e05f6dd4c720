import { handled } from '../core/awaitable.ts';
import { isCoordinationError } from '../core/errors.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { TaskRecord, TaskStore } from '../core/ports/tasks.ts';
import type { Outcome } from './outcome.ts';
import { outcomeOf } from './task-view.ts';
import type { LocalHandle } from './task-handle.ts';

/** After something was found or somebody came, then twice that, and so on, ms. */
const FIRST_MS = 25;
const LONGEST_MS = 1_000;
/** Ids of one call, and of one look. */
const BATCH = 250;
const MOST = 5_000;

export interface OutcomePollDeps {
  readonly clock: Clock;
  readonly store: Pick<TaskStore, 'get'>;
  /** What is known of a task that the store doesn't know any more. */
  readonly forgotten: (taskId: string) => Outcome;
}

/**
 * Learns how tasks have ended that somebody here waits for and other processes run: no hint tells of an end. Those that run here are told by
 * their run, so that they are never asked for.
 */
export class OutcomePoll {
  readonly #deps: OutcomePollDeps;
  /** In the order in which they are asked for next. */
  readonly #awaited = new Set<LocalHandle>();
  #timer: Timer | undefined;
  #inMs = FIRST_MS;
  #isLooking = false;

  constructor(deps: OutcomePollDeps) {
    this.#deps = deps;
  }

  add(handle: LocalHandle): void {
    this.#awaited.add(handle);
    if (this.#inMs > FIRST_MS || this.#timer === undefined) this.#lookIn(FIRST_MS);
  }

  remove(handle: LocalHandle): void {
    if (!this.#awaited.delete(handle) || this.#awaited.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #lookIn(ms: number): void {
    this.#inMs = ms;
    if (this.#isLooking) return;
    this.#timer?.cancel();
    this.#timer = this.#deps.clock.after(ms, () => this.#look(), true);
  }

  #look(): void {
    this.#timer = undefined;
    this.#isLooking = true;
    handled(
      this.#ask()
        // A store that is away has told of nothing either.
        .catch(() => 0)
        .then((found) => {
          this.#inMs = found > 0 ? FIRST_MS : Math.min(2 * this.#inMs, LONGEST_MS);
        })
        .finally(() => {
          this.#isLooking = false;
          if (this.#awaited.size > 0) this.#lookIn(this.#inMs);
        }),
    );
  }

  async #ask(): Promise<number> {
    const asked: LocalHandle[] = [];
    for (const handle of this.#awaited) {
      if (asked.length >= MOST) break;
      if (handle.run === undefined) asked.push(handle);
    }
    let found = 0;
    for (let i = 0; i < asked.length; i += BATCH) found += await this.#askFor(asked.slice(i, i + BATCH));
    return found;
  }

  async #askFor(handles: readonly LocalHandle[]): Promise<number> {
    const records = await this.#recordsOf(handles);
    let found = 0;
    handles.forEach((handle, i) => {
      if (!this.#awaited.has(handle)) return;
      const record = records[i];
      const outcome = record === undefined ? this.#deps.forgotten(handle.id) : outcomeOf(record);
      // Claimed here meanwhile: its run will tell.
      if (outcome === undefined || handle.run !== undefined) return this.#toTheEnd(handle);
      found += 1;
      handle.settle(outcome);
    });
    return found;
  }

  async #recordsOf(handles: readonly LocalHandle[]): Promise<readonly (TaskRecord | undefined)[]> {
    try {
      return await this.#deps.store.get(handles.map(({ id }) => id));
    } catch (error) {
      // A store that is away comes back. One whose schema is gone, or too new, never tells.
      if (isCoordinationError(error, 'SCHEMA_MISMATCH'))
        for (const handle of handles)
          if (this.#awaited.has(handle) && handle.run === undefined)
            handle.settle({ state: 'cancelled', error });
      throw error;
    }
  }

  /** The others come first the next time. */
  #toTheEnd(handle: LocalHandle): void {
    this.#awaited.delete(handle);
    this.#awaited.add(handle);
  }
}
