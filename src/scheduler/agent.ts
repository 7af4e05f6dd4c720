import type { TaskBody } from '../core/ports/tasks.ts';
import type { NormalisedAgent } from './normalise.ts';
import type { Run } from './run.ts';
import type { TaskHandler } from './types.ts';

/** An agent of this process: its slots, what it runs, and the tasks assigned to it that wait. */
export class Agent {
  readonly id: string;
  readonly facts: NormalisedAgent;
  /** External: no handler here, it is told by event and answers by call. */
  readonly external: boolean;
  running = 0;
  /** Whether the last that was told of it is that it is idle. */
  toldIdle = true;
  /** It will be looked at whether it is idle. */
  tellsIdle = false;
  draining = false;
  gone = false;
  /** When it was last heard of, mono ms; external agents only. */
  heardAt = 0;
  #first: Run | undefined = undefined;
  /** Assigned and not started, first to start first. */
  readonly queue: Run[] = [];
  /** How many of them can't start though there is a slot: they wait for those in front to get their locks. */
  stalled = 0;
  /** Runs that want their slot back after a wait; they go before the queue. */
  readonly resuming: Run[] = [];
  #idleWaiters: { readonly but: Run | undefined; readonly wake: () => void }[] = [];

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

  /** Whether it does such tasks: by their type and by what they need. */
  canDo({ type, capabilities }: Pick<TaskBody, 'type' | 'capabilities'>): boolean {
    const { types, capabilities: own } = this.facts;
    return (types === undefined || types.includes(type)) && capabilities.every((name) => own.includes(name));
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
    if (this.#idleWaiters.length > 0) this.#wakeIdle();
  }

  /**
   * Puts an assigned run into the queue by the order of task queues: waiting `ageStepMs` is worth one priority point.
   * @param ageStepMs of the task's queue; absent: as when it was put into a run queue before
   */
  enqueue(run: Run, ageStepMs: number = run.ageStepMs): void {
    const { queue } = this;
    if (ageStepMs !== run.ageStepMs) run.extras.ageStepMs = ageStepMs;
    const { rank } = run;
    let at = queue.length;
    // What has its locks keeps others waiting.
    if (run.facts.lease !== undefined) at = 0;
    while (at > 0 && (queue[at - 1] as Run).rank > rank) at -= 1;
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

  /** It wants its slot back no more. */
  stopResuming(run: Run): void {
    const at = this.resuming.indexOf(run);
    if (at >= 0) this.resuming.splice(at, 1);
  }

  /** @param but a run that is not waited for: the one that waits */
  untilIdle(but?: Run): Promise<void> {
    if (this.#isIdleBut(but)) return Promise.resolve();
    return new Promise((wake) => this.#idleWaiters.push({ but, wake }));
  }

  #wakeIdle(): void {
    const waiters = this.#idleWaiters;
    this.#idleWaiters = waiters.filter(({ but }) => !this.#isIdleBut(but));
    for (const { but, wake } of waiters) if (this.#isIdleBut(but)) wake();
  }

  #isIdleBut(run: Run | undefined): boolean {
    const first = this.#first;
    return first === undefined || (first === run && first.next === undefined);
  }
}
