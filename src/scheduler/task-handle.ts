import { handled } from '../core/awaitable.ts';
import { checkMs, checkSignal } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import { checkOptions } from '../core/options.ts';
import type { Clock } from '../core/ports/runtime.ts';
import type { Run } from './agent.ts';
import type { DeadlineHolds } from './deadline-holds.ts';
import type { Outcome } from './outcome.ts';
import type { CancelOutcome, ResultOptions, TaskHandle, TaskView, WaitReason } from './types.ts';

/** What a handle asks of its scheduler. */
export interface HandleHost {
  readonly clock: Clock;
  /** Those whose result somebody waits for, so that shutdown can settle them. */
  readonly awaited: AwaitedHandles;
  /** Those that a deadline will end. */
  readonly holds: DeadlineHolds;
  cancelTask(taskId: string, reason?: string): Promise<CancelOutcome>;
  status(taskId: string): Promise<TaskView>;
  why(taskId: string): Promise<WaitReason>;
  /** The outcome of a task that this process has no record of; `undefined` while it hasn't ended. */
  lookUp(taskId: string): Promise<Outcome | undefined>;
}

/** A promise of an outcome, as a link of the list of all that are open. */
class Deferred {
  readonly handle: LocalHandle;
  readonly promise: Promise<unknown>;
  previous: Deferred | undefined = undefined;
  next: Deferred | undefined = undefined;
  /** Failures go this way too: the other function of a promise would weigh as much as its task's handle. */
  readonly resolve: (value: unknown) => void;

  constructor(handle: LocalHandle) {
    let resolver: unknown;
    this.handle = handle;
    this.promise = new Promise<unknown>((resolve) => {
      resolver = resolve;
    });
    this.resolve = resolver as Deferred['resolve'];
  }
}

/** Hears whose result is awaited, where no store echoes handles. */
export interface AwaitedElsewhere {
  add(handle: LocalHandle): void;
  remove(handle: LocalHandle): void;
}

/** The handles whose result is awaited: an intrusive list, so that waiting costs no table. */
export class AwaitedHandles {
  readonly #elsewhere: AwaitedElsewhere | undefined;
  #first: Deferred | undefined;
  /** What becomes of those that are asked for from the end on. */
  ended: ((taskId: string) => Outcome) | undefined;

  constructor(elsewhere?: AwaitedElsewhere) {
    this.#elsewhere = elsewhere;
  }

  add(deferred: Deferred): void {
    this.#elsewhere?.add(deferred.handle);
    deferred.next = this.#first;
    if (this.#first !== undefined) this.#first.previous = deferred;
    this.#first = deferred;
  }

  remove(deferred: Deferred): void {
    this.#elsewhere?.remove(deferred.handle);
    if (deferred.previous !== undefined) deferred.previous.next = deferred.next;
    else if (this.#first === deferred) this.#first = deferred.next;
    if (deferred.next !== undefined) deferred.next.previous = deferred.previous;
  }

  /** Settles all that are open, and all that will be asked for. */
  settleAll(outcomeOf: (taskId: string) => Outcome): void {
    this.ended = outcomeOf;
    while (this.#first !== undefined) this.#first.handle.settle(outcomeOf(this.#first.handle.id));
  }
}

/**
 * The handle of a task that was submitted here. The store keeps it with the task and echoes it, so that the outcome reaches it without
 * any table; it costs nothing more until somebody asks for the result.
 */
export class LocalHandle implements TaskHandle {
  readonly id: string;
  readonly #host: HandleHost;
  /** How it ended, or who waits for that: one field, because there may be a million of these. */
  #end: Outcome | Deferred | undefined;
  /** The attempt under way. */
  run: Run | undefined;

  constructor(id: string, host: HandleHost) {
    this.id = id;
    this.#host = host;
    this.#end = undefined;
    this.run = undefined;
  }

  get duplicate(): boolean {
    return false;
  }

  /** Whether nothing of its task runs here and nobody waits for its result. */
  get isSilent(): boolean {
    return this.run === undefined && !(this.#end instanceof Deferred);
  }

  get outcome(): Outcome | undefined {
    return this.#end instanceof Deferred ? undefined : this.#end;
  }

  result(options?: ResultOptions): Promise<unknown> {
    if (options !== undefined) return limited(this.result(), this.id, this.#host.clock, options);
    const end = this.#end;
    if (end instanceof Deferred) return end.promise;
    if (end !== undefined) return promiseOf(end);
    const { awaited } = this.#host;
    if (awaited.ended !== undefined) return promiseOf(awaited.ended(this.id));
    const deferred = new Deferred(this);
    this.#end = deferred;
    awaited.add(deferred);
    this.#host.holds.awaited(this, deferred.promise);
    return deferred.promise;
  }

  cancel(reason?: string): Promise<CancelOutcome> {
    return this.#host.cancelTask(this.id, reason);
  }

  status(): Promise<TaskView> {
    return this.#host.status(this.id);
  }

  why(): Promise<WaitReason> {
    return this.#host.why(this.id);
  }

  /** The task has ended. A redriven task may end again: who asks later sees the later outcome. */
  settle(outcome: Outcome): void {
    const end = this.#end;
    this.#end = outcome;
    this.run = undefined;
    if (!(end instanceof Deferred)) return;
    this.#host.awaited.remove(end);
    end.resolve(outcome.state === 'completed' ? outcome.value : Promise.reject(outcome.error));
  }

  /** It lives again (redrive). */
  revive(): void {
    if (!(this.#end instanceof Deferred)) this.#end = undefined;
  }
}

/** A handle of a task that was there before: it follows the first handle if that is of this process, else it asks the store. */
export class DuplicateHandle implements TaskHandle {
  readonly id: string;
  readonly #host: HandleHost;
  readonly #first: LocalHandle | undefined;

  constructor(id: string, host: HandleHost, first: LocalHandle | undefined) {
    this.id = id;
    this.#host = host;
    this.#first = first;
  }

  get duplicate(): boolean {
    return true;
  }

  async result(options?: ResultOptions): Promise<unknown> {
    if (this.#first !== undefined) return this.#first.result(options);
    const look = { goesOn: true };
    try {
      return await limited(this.#poll(look), this.id, this.#host.clock, options ?? {});
    } finally {
      look.goesOn = false;
    }
  }

  cancel(reason?: string): Promise<CancelOutcome> {
    return this.#host.cancelTask(this.id, reason);
  }

  status(): Promise<TaskView> {
    return this.#host.status(this.id);
  }

  why(): Promise<WaitReason> {
    return this.#host.why(this.id);
  }

  /** Looks until the task has ended, or nobody waits for it any more. */
  async #poll(look: { readonly goesOn: boolean }): Promise<unknown> {
    for (let waitMs = 5; look.goesOn; waitMs = Math.min(waitMs * 2, 1_000)) {
      const outcome = await this.#host.lookUp(this.id);
      if (outcome !== undefined) return promiseOf(outcome);
      await new Promise<void>((resolve) => void this.#host.clock.after(waitMs, resolve, true));
    }
    return undefined;
  }
}

function promiseOf(outcome: Outcome): Promise<unknown> {
  return outcome.state === 'completed' ? Promise.resolve(outcome.value) : Promise.reject(outcome.error);
}

/** `base`, unless the signal aborts or the time is over first. */
export function limited<T>(
  base: Promise<T>,
  taskId: string,
  clock: Clock,
  options: ResultOptions,
): Promise<T> {
  // Whoever gives up waiting must not leave a rejection behind that nobody sees.
  handled(base);
  return new Promise<T>((resolve, reject) => {
    const given = checkOptions('result', options, ['timeoutMs', 'signal']);
    const signal = checkSignal(given.signal, 'options.signal');
    const timeoutMs =
      given.timeoutMs === undefined ? undefined : checkMs(given.timeoutMs, 'options.timeoutMs');
    if (signal === undefined && timeoutMs === undefined) return resolve(base);
    if (signal?.aborted === true) {
      reject(signal.reason as Error);
      return;
    }
    const timer =
      timeoutMs === undefined || timeoutMs === Number.POSITIVE_INFINITY
        ? undefined
        : clock.after(
            timeoutMs,
            () =>
              end(() =>
                reject(
                  new CoordinationError('TIMEOUT', `Task ${taskId} has not ended within ${timeoutMs} ms`, {
                    hint: 'It goes on: ask for the result again, look with `why()`, or `cancel()` it.',
                  }),
                ),
              ),
            true,
          );
    const onAbort = (): void => end(() => reject(signal?.reason as Error));
    const end = (report: () => void): void => {
      timer?.cancel();
      signal?.removeEventListener('abort', onAbort);
      report();
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    base.then(
      (value) => end(() => resolve(value)),
      (error: unknown) => end(() => reject(error)),
    );
  });
}
