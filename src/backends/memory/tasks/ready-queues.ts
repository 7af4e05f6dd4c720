import type { QueueOwner, TaskQueue } from './task-queue.ts';

/** The queues that have something to claim, and whose turn it is. */
export class ReadyQueues implements QueueOwner {
  readonly #queues: TaskQueue[] = [];
  #turn = 0;

  filled(queue: TaskQueue): void {
    queue.slot = this.#queues.length;
    this.#queues.push(queue);
  }

  emptied(queue: TaskQueue): void {
    const last = this.#queues.pop() as TaskQueue;
    if (last !== queue) {
      last.slot = queue.slot;
      this.#queues[queue.slot] = last;
    }
    queue.slot = -1;
  }

  get all(): readonly TaskQueue[] {
    return this.#queues;
  }

  /** Where the next round over `count` queues begins. */
  begin(count: number): number {
    this.#turn = (this.#turn + 1) % 1_073_741_824;
    return count === 0 ? 0 : this.#turn % count;
  }
}
