import { checkArray } from '../core/check.ts';
import { CoordinationError, isCoordinationError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import type { Lease, ResourceRequest } from '../core/lock-types.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Run } from './agent.ts';
import type { AwaitedChildren } from './awaited-children.ts';
import { checkGather, endOf, gather, type WaitFor } from './gather.ts';
import type { RunOwner, SchedulerParts } from './parts.ts';
import { asPart } from './define-task.ts';
import { isFinal } from './retry.ts';
import { countsAfterStop, heldAlready } from './settlement.ts';
import type { SlotLoans } from './slot-loans.ts';
import type { ContextHost } from './task-context.ts';
import { LocalHandle } from './task-handle.ts';
import type { Transactions } from './transactions.ts';
import type { Gathered, GatherOptions, ResultOptions, TaskHandle, TaskSpec } from './types.ts';
import { replyWait, SLEEP } from './wait-keys.ts';

export interface RunHostDeps {
  readonly runtime: Runtime;
  readonly events: EventSink;
  readonly parts: SchedulerParts;
  readonly loans: SlotLoans;
  readonly children: AwaitedChildren;
  readonly submit: (spec: TaskSpec) => Promise<TaskHandle>;
  readonly submitAll: (specs: readonly TaskSpec[]) => Promise<readonly TaskHandle[]>;
  readonly transactions: Transactions;
}

/** Does what handlers ask for through their context, in the name of their run. */
export class RunHost implements ContextHost {
  readonly #deps: RunHostDeps;

  constructor(deps: RunHostDeps) {
    this.#deps = deps;
  }

  get logger(): Runtime['logger'] {
    return this.#deps.runtime.logger;
  }

  progress(run: Run, ratio: number | undefined, note: string | undefined): void {
    const { events } = this.#deps;
    run.extras.progress = {
      ...(ratio === undefined ? {} : { ratio }),
      ...(note === undefined ? {} : { note }),
    };
    if (!events.wants('task:progressed')) return;
    events.emit('task:progressed', { taskId: run.id, agentId: run.agent?.id ?? '', ...run.facts.progress });
  }

  async submitChild(run: Run, spec: TaskSpec): Promise<TaskHandle> {
    run.signal.throwIfAborted();
    return this.#child(run, await this.#deps.submit(asPart(spec, run.id)));
  }

  async gather(run: Run, specs: readonly TaskSpec[], options: GatherOptions): Promise<Gathered<unknown>> {
    run.signal.throwIfAborted();
    const children = checkArray(specs, 'the children') as readonly TaskSpec[];
    const checked = checkGather(options);
    const handles = await this.#deps.submitAll(children.map((spec) => asPart(spec, run.id)));
    const { runtime, children: awaited } = this.#deps;
    const waitFor: WaitFor = (handle, over) => waitForPart(run, handle, over, awaited);
    return gather(handles, checked, runtime.clock, waitFor);
  }

  async withLock<R>(
    run: Run,
    requests: readonly ResourceRequest[],
    use: (lease: Lease) => R | Promise<R>,
  ): Promise<R> {
    const { locks } = this.#deps.parts;
    if (locks === undefined) throw notHere('locks');
    run.extras.usedParts = true;
    // The slot stays: a lock is held for the time of a write, a slot for the time of a task.
    const lease = await acquire(locks, requests, run);
    run.extras.locksHeld += 1;
    this.#deps.children.locked(run);
    try {
      return await use(lease);
    } finally {
      run.extras.locksHeld -= 1;
      await lease.release();
    }
  }

  request<R>(run: Run, to: string, payload: unknown, timeoutMs: number | undefined): Promise<R> {
    const { request } = this.#deps.parts;
    if (request === undefined) return Promise.reject(notHere('messages'));
    const options = { signal: run.signal, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
    return this.#lend(run, replyWait(to), request<R>(ownerOf(run), to, payload, options));
  }

  completeWithin(run: Run, client: unknown, result: unknown): Promise<void> {
    run.signal.throwIfAborted();
    return this.#deps.transactions.complete(client, run, result);
  }

  sleep(run: Run, ms: number): Promise<void> {
    const { clock } = this.#deps.runtime;
    let end: () => void = () => undefined;
    const slept = new Promise<void>((resolve) => {
      const timer = clock.after(ms, resolve, true);
      end = () => timer.cancel();
    });
    return this.#lend(run, SLEEP, slept).finally(end);
  }

  #lend<R>(run: Run, what: string, wait: Promise<R>): Promise<R> {
    return this.#deps.loans.lend(run, what, wait);
  }

  #child(run: Run, handle: TaskHandle): TaskHandle {
    return new ChildHandle(run, handle, this.#deps.children);
  }
}

/** A lock isn't re-entrant (L8), so one that the run has already is refused in words that fit a handler. */
async function acquire(
  locks: NonNullable<SchedulerParts['locks']>,
  requests: readonly ResourceRequest[],
  run: Run,
): Promise<Lease> {
  try {
    return await locks.acquire(requests, ownerOf(run), { signal: run.signal });
  } catch (error) {
    throw isCoordinationError(error, 'INVALID_ARGUMENT') && isFinal(error)
      ? heldAlready(run.id, error)
      : error;
  }
}

/** The unit of execution of a run, as locks and messages know it. */
export function ownerOf(run: Run): RunOwner {
  return { node: run.node, agent: run.agent?.id, priority: run.claim.body.priority };
}

/**
 * Waits for a part of a gather without the slot. A run whose time is over waits for nothing more, and keeps what it has.
 * @throws DEADLOCK when this wait was the victim of one; the reason of the run's signal when it is cancelled or given back
 */
async function waitForPart(
  run: Run,
  handle: TaskHandle,
  over: Promise<void>,
  children: AwaitedChildren,
): ReturnType<WaitFor> {
  const unfinished = { id: handle.id, status: 'unfinished' } as const;
  let end: Awaited<ReturnType<WaitFor>> | undefined;
  const ended = endOf(handle).then((result) => {
    end = result;
  });
  try {
    await children.wait(run, handle.id, Promise.race([ended, over]));
  } catch (error) {
    const { stopCause, stopError } = run.facts;
    // With what there is a handler could return, and be taken for done: only where its time is over that counts for nothing.
    if (error !== stopError || stopCause === undefined || countsAfterStop(stopCause)) throw error;
  }
  return end ?? unfinished;
}

/** A handle in the hand of a handler: waiting for it lends the slot and is an edge of the wait-for graph. */
class ChildHandle implements TaskHandle {
  readonly #run: Run;
  readonly #handle: TaskHandle;
  readonly #children: AwaitedChildren;

  constructor(run: Run, handle: TaskHandle, children: AwaitedChildren) {
    this.#run = run;
    this.#handle = handle;
    this.#children = children;
  }

  get id(): string {
    return this.#handle.id;
  }

  get duplicate(): boolean {
    return this.#handle.duplicate;
  }

  async result(options?: ResultOptions): Promise<unknown> {
    const run = this.#run;
    const result = this.#handle.result(options);
    if (run.phase === 'ending' || run.phase === 'ended') return result;
    const local = this.#handle instanceof LocalHandle ? this.#handle : undefined;
    if (local?.outcome !== undefined) return result;
    return this.#children.wait(run, this.id, result);
  }

  cancel(reason?: string): ReturnType<TaskHandle['cancel']> {
    return this.#handle.cancel(reason);
  }

  status(): ReturnType<TaskHandle['status']> {
    return this.#handle.status();
  }

  why(): ReturnType<TaskHandle['why']> {
    return this.#handle.why();
  }
}

function notHere(what: string): CoordinationError {
  return new CoordinationError('NOT_SUPPORTED', `A scheduler of its own has no ${what}`, {
    hint: 'Use a CoordinationManager, which composes them.',
  });
}
