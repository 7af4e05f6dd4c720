import { andThen, handled, isPromise } from '../core/awaitable.ts';
import { DependencyCycleError } from '../core/dependency-cycle-error.ts';
import { CoordinationError, isCoordinationError } from '../core/errors.ts';
import { type EventSink, wanting } from '../core/events.ts';
import { Batches } from '../core/batches.ts';
import { roughBytes } from '../core/json.ts';
import { isOfStore, type Operations, QUICK } from '../core/operations.ts';
import type {
  Consequences,
  Ended,
  EnqueueAnswer,
  EnqueueResult,
  NewTask,
  TaskStore,
} from '../core/ports/tasks.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { reportFailure } from './report-failure.ts';
import { DuplicateHandle, type HandleHost, LocalHandle } from './task-handle.ts';
import type { TaskHandle } from './types.ts';

export interface SubmissionDeps {
  readonly store: TaskStore;
  /** Most tasks of one call to a store across a network; absent: it is in this process. */
  readonly farBatch: number | undefined;
  /** Whether such a store carries calls out in the order in which they are made. */
  readonly ordered: boolean;
  readonly runtime: Runtime;
  readonly operations: () => Operations;
  readonly events: EventSink;
  readonly host: HandleHost;
  readonly wake: () => void;
  readonly due: (inMs: number, hold: boolean) => void;
  readonly consequences: (answer: Consequences) => void;
  /** A task ended with its submission. */
  readonly ended: (task: Ended) => void;
}

/** A task to store, and whether its id was made for it. */
export interface FreshTask {
  readonly task: NewTask;
  readonly isNew: boolean;
}

/** A task on its way to a store across a network. */
interface FarTask {
  readonly task: NewTask;
  readonly hear: (submitted: Submitted) => void;
  readonly fail: (error: unknown) => void;
}

/** Waiting to be sent; beyond, tasks are refused: the store is down or too slow. */
const MAX_WAITING = 100_000;

/** What became of one item of a batch: its handle, or why it was refused. */
export type Submitted = TaskHandle | CoordinationError;

/** Stores tasks and turns the answers into handles and events. */
export class Submission {
  readonly #deps: SubmissionDeps;
  readonly #wantsCreated: () => boolean;
  readonly #wantsReadied: () => boolean;
  readonly #far: Batches<FarTask> | undefined;

  constructor(deps: SubmissionDeps) {
    this.#deps = deps;
    const { farBatch: maxBatch, ordered, runtime } = deps;
    if (maxBatch !== undefined) {
      const send = (tasks: readonly FarTask[]): Promise<void> => this.#sendFar(tasks);
      // Tasks come to their queues in the order in which they were submitted.
      const maxFlights = ordered ? 2 : 1;
      this.#far = new Batches({ clock: runtime.clock, maxBatch, bytesOf: bytesOfTask, maxFlights, send });
    }
    this.#wantsCreated = wanting(deps.events, 'task:created');
    this.#wantsReadied = wanting(deps.events, 'task:readied');
  }

  /** One answer for each task, in order; a refused one doesn't hinder its neighbours. */
  enqueue(tasks: readonly FreshTask[]): Awaitable<readonly Submitted[]> {
    const far = this.#far;
    if (far !== undefined) return Promise.all(tasks.map(({ task }) => this.#submitFar(far, task)));
    const { operations, store } = this.#deps;
    const { quick } = store;
    const { session } = operations();
    // Nothing is heard before all are stored: a listener could end the session.
    const answers = tasks.map(({ task, isNew }) => quick?.enqueue(session, task, isNew));
    if (answers.includes(undefined)) return this.#enqueueAllFar(tasks.map(({ task }) => task));
    return tasks.map(({ task }, i) => this.#hear(task, answers[i] as EnqueueResult | EnqueueAnswer));
  }

  #enqueueAllFar(tasks: readonly NewTask[]): Awaitable<readonly Submitted[]> {
    const { operations, store } = this.#deps;
    return andThen(
      operations().run((op) => store.enqueue(op, tasks)),
      (answer) => {
        const handles = tasks.map((task, i) => this.#accept(task, answer.results[i] as EnqueueResult));
        this.#followUp(answer);
        return handles;
      },
    );
  }

  /** @param isNew its id was made for it. @throws what the store refused it for */
  enqueueOne(task: NewTask, isNew: boolean): Awaitable<TaskHandle> {
    const { operations, store } = this.#deps;
    const answer = store.quick?.enqueue(operations().session, task, isNew);
    return answer === undefined ? this.#enqueueFar(task) : orThrow(this.#hear(task, answer));
  }

  /** What became of one that was stored otherwise. @throws what the store refused it for */
  accept(task: NewTask, answer: EnqueueAnswer): TaskHandle {
    return orThrow(this.#hear(task, answer));
  }

  /** Apart from its caller, which would make room for what this closure uses also where it isn't needed. */
  #enqueueFar(task: NewTask): Awaitable<TaskHandle> {
    if (this.#far !== undefined) return this.#submitFar(this.#far, task).then(orThrow);
    const { operations, store } = this.#deps;
    const answer = operations().run((op) => store.enqueue(op, [task]));
    return isPromise(answer)
      ? answer.then((stored) => orThrow(this.#hear(task, stored)))
      : orThrow(this.#hear(task, answer));
  }

  #submitFar(far: Batches<FarTask>, task: NewTask): Promise<Submitted> {
    return new Promise((hear, fail) => {
      if (far.waiting < MAX_WAITING) far.add({ task, hear, fail });
      else fail(tooManyWaiting());
    });
  }

  async #sendFar(items: readonly FarTask[]): Promise<void> {
    const { operations, store } = this.#deps;
    const tasks = items.map(({ task }) => task);
    try {
      const answer = await operations().run((op) => store.enqueue(op, tasks), QUICK);
      items.forEach(({ task, hear }, i) => hear(this.#accept(task, answer.results[i] as EnqueueResult)));
      this.#followUp(answer);
    } catch (error) {
      for (const { fail } of items) fail(error);
      if (!isOfStore(error)) return;
      // What waited all the while is refused along with it: in turn, each batch would be refused as late again as the one before.
      const away = isCoordinationError(error, 'BACKEND_UNAVAILABLE') ? error : notSent(error);
      for (const { fail } of this.#far?.takeBehind() ?? []) fail(away);
    }
  }

  #hear(task: NewTask, answer: EnqueueResult | EnqueueAnswer): Submitted {
    if (!('results' in answer)) return this.#accept(task, answer);
    const submitted = this.#accept(task, answer.results[0] as EnqueueResult);
    this.#followUp(answer);
    return submitted;
  }

  /** The tasks are stored, whatever becomes of this. */
  #followUp(answer: Consequences): void {
    try {
      this.#deps.consequences(answer);
    } catch (error) {
      reportFailure(this.#deps, 'Could not follow up on stored tasks', error);
    }
  }

  /** It is stored, whoever throws when he is told of it. */
  #notTold(taskId: string, error: unknown): void {
    reportFailure(this.#deps, 'Could not tell of a stored task', error, { taskId });
  }

  #accept(task: NewTask, result: EnqueueResult): Submitted {
    switch (result.status) {
      case 'enqueued':
        return this.#stored(task, result.state);
      case 'duplicate':
        return this.#duplicate(task, result);
      case 'conflict':
        if (task.key !== undefined && task.onDuplicate !== undefined && result.id !== task.id)
          return irreplaceable(result.id, task.key);
        return new CoordinationError(
          'IDEMPOTENCY_CONFLICT',
          `Task ${result.id} exists with another payload under the same ${task.key === undefined ? 'id' : 'id or key'}`,
          { hint: 'Use another id or key, or `onDuplicate: "replace"`.' },
        );
      case 'cycle':
        return new DependencyCycleError(result.path);
      case 'full':
        return new CoordinationError(
          'QUEUE_FULL',
          `Queue ${result.queue} is full with ${result.length} tasks`,
          {
            hint: 'Wait until some have ended, or raise maxLength.',
          },
        );
    }
  }

  #stored(task: NewTask, state: Extract<EnqueueResult, { status: 'enqueued' }>['state']): TaskHandle {
    try {
      this.#tellStored(task, state);
    } catch (error) {
      this.#notTold(task.id, error);
    }
    return task.local as LocalHandle;
  }

  #tellStored(task: NewTask, state: Extract<EnqueueResult, { status: 'enqueued' }>['state']): void {
    const { events } = this.#deps;
    const { id, queue, type, priority, local } = task;
    if (this.#wantsCreated()) events.emit('task:created', { taskId: id, queue, type, priority });
    if (state === 'ready') {
      if (this.#wantsReadied()) events.emit('task:readied', { taskId: id, queue });
      this.#deps.wake();
    } else if (state === 'cancelled' || state === 'skipped') this.#endedAtOnce(task, state);
    else if (state === 'scheduled') this.#deps.due(task.delayMs ?? 0, true);
    const { deadlineMs } = task.limits;
    if (deadlineMs !== undefined) {
      this.#deps.due(deadlineMs, false);
      if (local !== undefined) this.#deps.host.holds.add(local, deadlineMs);
    }
  }

  /** A parent had failed before; the store says which. */
  #endedAtOnce(task: NewTask, state: 'cancelled' | 'skipped'): void {
    const { store, ended } = this.#deps;
    const { id, queue, local } = task;
    const told = andThen(store.get([id]), ([record]) =>
      ended({
        task: id,
        queue,
        state,
        reason: record?.reason ?? 'a parent had failed',
        ...(local === undefined ? {} : { local }),
      }),
    );
    if (isPromise(told)) handled(told);
  }

  #duplicate(task: NewTask, result: Extract<EnqueueResult, { status: 'duplicate' }>): TaskHandle {
    try {
      this.#tellDuplicate(task, result);
    } catch (error) {
      this.#notTold(result.id, error);
    }
    const first = result.local instanceof LocalHandle ? result.local : undefined;
    return new DuplicateHandle(result.id, this.#deps.host, first);
  }

  #tellDuplicate(task: NewTask, result: Extract<EnqueueResult, { status: 'duplicate' }>): void {
    const { events, wake } = this.#deps;
    if (events.wants('task:deduplicated')) {
      events.emit('task:deduplicated', { taskId: result.id, queue: task.queue, replaced: result.replaced });
    }
    if (result.replaced) {
      wake();
      if (task.delayMs !== undefined) this.#deps.due(task.delayMs, true);
      if (task.limits.deadlineMs !== undefined) this.#deps.due(task.limits.deadlineMs, false);
    }
  }
}

function bytesOfTask({ task: { payload, headers, settings } }: FarTask): number {
  return roughBytes(payload) + roughBytes(headers) + roughBytes(settings);
}

function irreplaceable(id: string, key: string): CoordinationError {
  return new CoordinationError(
    'IDEMPOTENCY_CONFLICT',
    `Task ${id} has the key ${JSON.stringify(key)} with another queue, type or dependencies, which a replacement can't change`,
    { hint: 'Use another key, or cancel the first task.' },
  );
}

function tooManyWaiting(): CoordinationError {
  return new CoordinationError('BACKEND_UNAVAILABLE', `${MAX_WAITING} tasks wait to be stored already`, {
    hint: 'Submit again when the store has caught up; await what was submitted before.',
    retryAfterMs: 1_000,
  });
}

function notSent(cause: unknown): CoordinationError {
  return new CoordinationError('BACKEND_UNAVAILABLE', 'The store does not answer; the task was not sent', {
    cause,
    hint: 'Submit again later.',
  });
}

function orThrow(submitted: Submitted): TaskHandle {
  if (submitted instanceof CoordinationError) throw submitted;
  return submitted;
}
