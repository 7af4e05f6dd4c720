import { OPTIONS } from '../core/options.ts';
import type { NormalisedAgent } from './normalise.ts';
import type { Run } from './run.ts';
import type { TaskHandler } from './types.ts';

const AGE_STEP_US = OPTIONS.queue.ageStepMs.default * 1_000;

function rankOf(run: Run): number {
  return run.claim.readyAt - run.claim.body.priority * AGE_STEP_US;
}

/** An agent of this process: its slots, what it runs, and the tasks assigned to it that wait. */
export class Agent {
  readonly id: string;
  readonly facts: NormalisedAgent;
  /** External: no handler here, it is told by event and answers by call. */
  readonly external: boolean;
  running = 0;
  draining = false;
  gone = false;
  /** When it was last heard of, mono ms; external agents only. */
  heardAt = 0;
  #first: Run | undefined = undefined;
  /** Assigned and not started, first to start first. */
  readonly queue: Run[] = [];
  /** Runs that want their slot back after a wait; they go before the queue. */
  readonly resuming: Run[] = [];
  #idleWaiters: (() => void)[] = [];

  constructor(facts: NormalisedAgent, external: boolean, now: number) {
    this.id = facts.id;
    this.facts = facts;
    this.external = external;
    this.heardAt = now;
  }

  get slots(): number {
    return this.facts.slots;
  }

  get hasSlot(): boolean {
    return this.running < this.slots;
  }

  /** Whether nothing runs, waits to resume, or is lent out here. */
  get isIdle(): boolean {
    return this.#first === undefined;
  }

  handlerFor(type: string): TaskHandler | undefined {
    const { handler } = this.facts.profile;
    if (typeof handler === 'function') return handler;
    return handler === undefined ? undefined : Object.hasOwn(handler, type) ? handler[type] : undefined;
  }

  /** The runs that have begun here, newest first. */
  *runs(): Generator<Run> {
    for (let run = this.#first; run !== undefined; ) {
      const next: Run | undefined = run.next;
      yield run;
      run = next;
    }
  }

  attach(run: Run): void {
    run.agent = this;
    run.previous = undefined;
    run.next = this.#first;
    if (this.#first !== undefined) this.#first.previous = run;
    this.#first = run;
  }

  detach(run: Run): void {
    if (run.previous !== undefined) run.previous.next = run.next;
    else if (this.#first === run) this.#first = run.next;
    if (run.next !== undefined) run.next.previous = run.previous;
    run.previous = undefined;
    run.next = undefined;
    if (this.#first !== undefined || this.#idleWaiters.length === 0) return;
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const wake of waiters) wake();
  }

  /** Puts an assigned run into the queue by the order of task queues: waiting `AGE_STEP_US` is worth one priority point. */
  enqueue(run: Run): void {
    const { queue } = this;
    const rank = rankOf(run);
    let at = queue.length;
    while (at > 0 && rankOf(queue[at - 1] as Run) > rank) at -= 1;
    if (at === queue.length) queue.push(run);
    else queue.splice(at, 0, run);
  }

  /** Takes a run out of the queue. False when it isn't there. */
  dequeue(run: Run): boolean {
    const at = this.queue.indexOf(run);
    if (at < 0) return false;
    this.queue.splice(at, 1);
    return true;
  }

  untilIdle(): Promise<void> {
    if (this.isIdle) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }
}
