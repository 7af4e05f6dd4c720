import { handled } from '../core/awaitable.ts';
import type { CoordinationError } from '../core/errors.ts';
import type { Lease } from '../core/lock-types.ts';
import { OPTIONS } from '../core/options.ts';
import type { Timer } from '../core/ports/runtime.ts';
import type { Claim, SettleResult, TaskBody } from '../core/ports/tasks.ts';
import type { BackendTime } from '../core/ports/words.ts';
import { runNode } from '../core/run-node.ts';
import type { NormalisedAgent } from './normalise.ts';
import type { Outcome } from './outcome.ts';
import { settingsOf, type TaskSettings } from './settings.ts';
import type { TaskHandler } from './types.ts';

/** Why a run was told to stop; decides how it is settled once its handler is done. */
export type StopCause =
  | 'timeout'
  | 'deadline'
  | 'cancel'
  | 'preempt'
  | 'agent-left'
  | 'shutdown-abort'
  | 'shutdown-release'
  | 'lock-lost'
  | 'taken';

/**
 * Where one attempt stands. `locking`: claimed, waits for its locks, holds no slot. `queued`: waits in its agent's run queue. `parked`:
 * no agent would take it. `running`: holds a slot. `awaiting`: its handler waits for children, the slot is lent out. `resuming`: wants
 * the slot back. `ending`: its outcome is decided and not yet stored; a handler that outlived its grace may still run (T10).
 */
export type Phase =
  | 'locking'
  | 'parked'
  | 'queued'
  | 'running'
  | 'awaiting'
  | 'resuming'
  | 'ending'
  | 'ended';

/** The handle of the task, as far as its run knows it. */
export interface RunHandle {
  run: Run | undefined;
  readonly outcome: Outcome | undefined;
  settle(outcome: Outcome): void;
}

/** The scheduler that claimed a run: only there may it be stopped. Schedulers over one store in one process see each other's runs. */
export interface RunHome {
  /** Stops it, wherever it stands. */
  stop(run: Run, cause: StopCause, reason: string): void;
  /** Forgets it: the store ended its task. */
  drop(run: Run, reason: string): void;
}

/**
 * When a batch of claims came, as mono ms and as backend time, and where. Shared by its runs, for a number of its own costs each an object.
 */
export interface ClaimedAt {
  readonly mono: number;
  readonly at: BackendTime;
  readonly home: RunHome;
}

/** What few runs need: made when the first of it is set, so that the others stay small. */
class RunExtras {
  deadlineTimer: Timer | undefined = undefined;
  graceTimer: Timer | undefined = undefined;
  stopCause: StopCause | undefined = undefined;
  stopError: CoordinationError | undefined = undefined;
  /** As given by whoever stopped it. */
  stopReason = '';
  /** The agent that is to run it next, when it was stopped to be moved. */
  moveTo: string | undefined = undefined;
  controller: AbortController | undefined = undefined;
  lease: Lease | undefined = undefined;
  /** What its handler waits for now without its slot (children, replies, sleep), and how to end each wait with an error. */
  waits: Map<string, (error: Error) => void> | undefined = undefined;
  /** Waits that have begun, and have not yet returned to its handler. */
  lends = 0;
  /** It will be looked whether those are part of a deadlock. */
  looksAgain = false;
  /** Waits begun so far, to tell those for the same thing apart. */
  waitCount = 0;
  /** Continues the handler once the slot is back, or ends its wait for the slot with an error. */
  resume: ((error: Error | undefined) => void) | undefined = undefined;
  /** Since when it is in this phase, mono ms; absent: since it began. */
  since: number | undefined = undefined;
  /** When its deadline is, mono ms. */
  deadlineAt: number | undefined = undefined;
  /** Whoever waits for the settlement to be stored; hears of it once, or that the store could not be reached. */
  onSettled: ((result: SettleResult | undefined, failure?: unknown) => void) | undefined = undefined;
  progress: { readonly ratio?: number; readonly note?: string } | undefined = undefined;
  /** What its handler threw, for `cause`. */
  thrown: unknown = undefined;
  preemptedBy: string | undefined = undefined;
  /** What was recorded in a transaction of its handler, whether or not that was committed. */
  completedWith: { readonly result: unknown } | undefined = undefined;
  /** The survivor of the deadlock that it was a victim of, while it waits for that one to finish: it has failed, which isn't stored yet. */
  yieldsTo: string | undefined = undefined;
  /** The session was lost while it ran: others may take its task over, and what it fails by may be no fault of its own. */
  orphaned = false;
  /** Its slot was given away while its handler still ran. */
  zombie = false;
  /** Locks taken through its context that it has now. */
  locksHeld = 0;
  /** Whether it used locks or requests through its context, so that leftovers are looked for. */
  usedParts = false;
  /** Local moves by stealing. */
  moves = 0;
  /** The ageing step of its queue when it was put into a run queue, where that isn't the default. */
  ageStepMs: number | undefined = undefined;
}

const NO_EXTRAS: Readonly<RunExtras> = Object.freeze(new RunExtras());

/** One attempt of one task in this process: from the claim to the settlement. */
export class Run {
  /** Replaced when the session lapsed and the process took its own claims over. */
  claim: Claim;
  readonly settings: TaskSettings;
  /** Replaced where the store echoes none: by the one whose result is awaited. */
  handle: RunHandle | undefined;
  phase: Phase = 'parked';
  agent: Agent | undefined = undefined;
  /** Whether the store knows it as started. */
  started: boolean;
  readonly claimed: ClaimedAt;
  /** When its handler was called, mono ms; −1: it never was. */
  startedAt = -1;
  /** Neighbours among the runs of its agent. */
  previous: Run | undefined = undefined;
  next: Run | undefined = undefined;
  /** Its time limit, ms, and its neighbours among the runs that have the same; 0: none counts now. */
  limitMs = 0;
  earlier: Run | undefined = undefined;
  later: Run | undefined = undefined;
  #extras: RunExtras | undefined = undefined;

  constructor(claim: Claim, handle: RunHandle | undefined, claimed: ClaimedAt) {
    this.claim = claim;
    this.settings = settingsOf(claim.body);
    this.handle = handle;
    this.started = claim.started;
    this.claimed = claimed;
    if (handle !== undefined) handle.run = this;
  }

  get id(): string {
    return this.claim.task;
  }

  /** Its name in the wait-for graph, and as an owner of locks. */
  get node(): string {
    return runNode(this.claim.task);
  }

  get holdsSlot(): boolean {
    return this.phase === 'running';
  }

  get ageStepMs(): number {
    return this.facts.ageStepMs ?? AGE_STEP_MS;
  }

  /** Its place in a run queue: the lowest goes first. */
  get rank(): number {
    return this.claim.readyAt - this.claim.body.priority * this.ageStepMs * 1_000;
  }

  /** From ready to start, ms. */
  get queuedMs(): number {
    const { at, mono } = this.claimed;
    return Math.max(0, at - this.claim.readyAt) / 1_000 + Math.max(0, this.startedAt - mono);
  }

  /** Since when it is in this phase, mono ms; for `why`. */
  get since(): number {
    return this.facts.since ?? (this.startedAt < 0 ? this.claimed.mono : this.startedAt);
  }

  /** What few runs have, to read. */
  get facts(): Readonly<RunExtras> {
    return this.#extras ?? NO_EXTRAS;
  }

  /** The same, to write. */
  get extras(): RunExtras {
    this.#extras ??= new RunExtras();
    return this.#extras;
  }

  /** Resolves when its end is stored or refused; `undefined`: nothing was to be stored. Rejects when the store could not be reached. */
  untilSettled(): Promise<SettleResult | undefined> {
    return new Promise((resolve, reject) => {
      const others = this.facts.onSettled;
      this.extras.onSettled = (result, failure) => {
        others?.(result, failure);
        if (failure === undefined) resolve(result);
        else reject(failure);
      };
    });
  }

  /** Who is to run it when it is given back: `null`: anybody, `undefined`: whom it is pinned to. */
  get nextAgent(): string | null | undefined {
    return this.facts.moveTo ?? (this.settings.only === true ? undefined : null);
  }

  /** Gives back the locks it took in order to start. */
  giveLocksBack(): void {
    const { lease } = this.facts;
    if (lease === undefined) return;
    this.extras.lease = undefined;
    handled(lease.release());
  }

  /** Created when somebody looks: aborting one costs 5 µs, making one 0.3. */
  get signal(): AbortSignal {
    const { extras } = this;
    if (extras.controller === undefined) {
      extras.controller = new AbortController();
      if (extras.stopError !== undefined) extras.controller.abort(extras.stopError);
    }
    return extras.controller.signal;
  }
}

const AGE_STEP_MS = OPTIONS.queue.ageStepMs.default;

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

  /** Whether a task that is for it alone may go to it now: it does such tasks, isn't excluded, and its load is low enough. */
  mayHave({ body }: { readonly body: TaskBody }, { only, exclude, maxLoadRatio }: TaskSettings): boolean {
    // What was assigned to it by name goes to it, whatever it can do.
    if (only !== true || this.isImplicit) return true;
    if (exclude?.includes(this.id) === true || !this.canDo(body)) return false;
    return maxLoadRatio === undefined || (this.running + this.queue.length) / this.slots <= maxLoadRatio;
  }

  /** Never registered, known because it was given work: without limits. */
  get isImplicit(): boolean {
    return this.slots === Number.POSITIVE_INFINITY;
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
