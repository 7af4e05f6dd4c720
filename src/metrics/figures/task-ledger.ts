import { MAX_FOLLOWED } from './figures.ts';

/** Follows unended tasks by their events, for a collector without gauges. */
export class TaskLedger {
  /** By task id: whether it is assigned or runs. */
  readonly #tasks = new Map<string, boolean>();
  #active = 0;

  get active(): number {
    return this.#active;
  }
  get queued(): number {
    return this.#tasks.size - this.#active;
  }

  note(taskId: string, active: boolean): void {
    const before = this.#tasks.get(taskId);
    if (before === active || (before === undefined && this.#tasks.size >= MAX_FOLLOWED)) return;
    this.#tasks.set(taskId, active);
    if (active) this.#active += 1;
    else if (before === true) this.#active -= 1;
  }

  end(taskId: string): void {
    if (this.#tasks.get(taskId) === true) this.#active -= 1;
    this.#tasks.delete(taskId);
  }
}
