import { isPromise } from '../core/awaitable.ts';
import { checkArray, checkId, reading, unreadable } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import { checkOptions, type Resolved } from '../core/options.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { NewTask } from '../core/ports/tasks.ts';
import type { Awaitable } from '../core/ports/words.ts';
import type { AgentAdmin } from './agent-admin.ts';
import type { AgentRegistry } from './agent-registry.ts';
import { withCheckedInput } from './define-task.ts';
import type { Dispatcher } from './dispatcher.ts';
import { type NormaliseFacts, normaliseTask } from './normalise.ts';
import type { SchedulerParts } from './parts.ts';
import type { Shutdown } from './shutdown.ts';
import type { FreshTask, Submission } from './submission.ts';
import { type HandleHost, LocalHandle } from './task-handle.ts';
import type { Transactions } from './transactions.ts';
import type { SubmitOptions, TaskHandle, TaskSpec } from './types.ts';

/** Tasks stored in one call; between calls other work of the process gets its turn. */
const SUBMIT_CHUNK = 1_000;

export interface IntakeDeps {
  readonly runtime: Runtime;
  readonly options: Pick<Resolved<'scheduling'>, 'maxCrashes' | 'keepMs'>;
  readonly parts: SchedulerParts;
  readonly host: HandleHost;
  readonly agents: AgentRegistry;
  readonly admin: AgentAdmin;
  readonly dispatcher: Dispatcher;
  readonly submission: Submission;
  readonly transactions: Transactions;
  readonly shutdown: Shutdown;
}

/** Takes tasks from the application: checks them, and has them stored. */
export class Intake {
  readonly #deps: IntakeDeps;
  readonly #facts: NormaliseFacts;
  /** The id made last. */
  #madeId = '';

  constructor(deps: IntakeDeps) {
    this.#deps = deps;
    const { runtime, options, host, parts } = deps;
    this.#facts = {
      ids: { next: () => (this.#madeId = runtime.ids.next()) },
      limits: { maxCrashes: options.maxCrashes, keepMs: options.keepMs },
      wall: () => runtime.clock.wall(),
      checkLocks: parts.locks === undefined ? undefined : (requests) => parts.locks?.check(requests),
      localFor: (id) => new LocalHandle(id, host),
    };
  }

  /** @throws INVALID_ARGUMENT */
  normalise(spec: TaskSpec): NewTask {
    try {
      return normaliseTask(spec, this.#facts);
    } catch (error) {
      throw unreadable('a task', error);
    }
  }

  /** Stores one. @throws INVALID_ARGUMENT, DEPENDENCY_CYCLE, IDEMPOTENCY_CONFLICT, QUEUE_FULL, STOPPED */
  submit(task: TaskSpec): Awaitable<TaskHandle> {
    this.#deps.shutdown.refuse();
    const checked = withCheckedInput(task);
    return checked === undefined
      ? this.#enqueue(this.normalise(task))
      : checked.then((spec) => this.#enqueue(this.normalise(spec)));
  }

  /** Stores one as its options say. @throws as above, and NOT_SUPPORTED */
  async submitBy(task: TaskSpec, given: SubmitOptions): Promise<TaskHandle> {
    this.#deps.shutdown.refuse();
    const options = checkOptions('submitTask', given, ['client']);
    // Who names a client that isn't there would learn from the rollback that the task was stored all the same.
    if (!Object.hasOwn(options, 'client')) return this.submit(task);
    const { submission, transactions } = this.#deps;
    const spec = withCheckedInput(task);
    const normal = this.normalise(spec === undefined ? task : await spec);
    return submission.accept(normal, await transactions.enqueue(options.client, normal));
  }

  /** Stores many, in order. All are checked before any is stored. @throws as for one; the error's `handles` has those that were stored */
  async submitAll(tasks: readonly unknown[]): Promise<readonly TaskHandle[]> {
    this.#deps.shutdown.refuse();
    const checked = await this.#checkAll(checkArray(tasks, 'tasks') as readonly TaskSpec[]);
    const handles: TaskHandle[] = [];
    let refused: CoordinationError | undefined;
    for (let i = 0; i < checked.length; i += SUBMIT_CHUNK) {
      if (i > 0) await this.#turn();
      const stored = this.#deps.submission.enqueue(checked.slice(i, i + SUBMIT_CHUNK));
      for (const one of isPromise(stored) ? await stored : stored) {
        if (one instanceof CoordinationError) refused ??= one;
        else handles.push(one);
      }
    }
    if (refused !== undefined) throw Object.assign(refused, { handles });
    return handles;
  }

  /** Stores one for an agent, or for whom the strategy chooses, and places what can be placed. @throws UNKNOWN_AGENT, and as for one */
  async assign(task: TaskSpec, agentId: string | undefined): Promise<TaskHandle> {
    const { shutdown, agents, admin, dispatcher } = this.#deps;
    shutdown.refuse();
    const spec = withCheckedInput(task);
    const normal = this.normalise(spec === undefined ? task : await spec);
    if (agentId !== undefined) agents.checkWelcome(checkId(agentId, 'agentId'));
    const handle = await this.#enqueue(agentId === undefined ? normal : { ...normal, agent: agentId });
    if (agentId !== undefined) {
      if (agents.hasLeft(agentId)) await admin.unpinLeft(agentId);
      else agents.named(agentId);
    }
    dispatcher.now();
    return handle;
  }

  /** @param task as it was normalised last */
  #enqueue(task: NewTask): Awaitable<TaskHandle> {
    return this.#deps.submission.enqueueOne(task, task.id === this.#madeId);
  }

  /** All, before any is stored: one bad record must not leave half of its batch behind. */
  async #checkAll(given: readonly TaskSpec[]): Promise<readonly FreshTask[]> {
    const checked: FreshTask[] = [];
    const tasks = reading('tasks', () => Array.from(given));
    for (const [i, task] of tasks.entries()) {
      if (i > 0 && i % SUBMIT_CHUNK === 0) await this.#turn();
      const spec = withCheckedInput(task);
      const normal = this.normalise(spec === undefined ? task : await spec);
      checked.push({ task: normal, isNew: normal.id === this.#madeId });
    }
    return checked;
  }

  /** Lets other work of the process have its turn. */
  #turn(): Promise<void> {
    return new Promise((resolve) => this.#deps.runtime.clock.soon(resolve));
  }
}
