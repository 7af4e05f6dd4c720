import { handled, isPromise } from '../core/awaitable.ts';
import { checkId, invalid } from '../core/check.ts';
import { type EventSink, silentSink } from '../core/events.ts';
import type { Logger } from '../core/ports/runtime.ts';
import type { Order } from '../core/ports/sessions.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { Engine } from './engine.ts';
import { gather } from './gather.ts';
import { toStrategy } from './legacy-strategy.ts';
import type { SchedulerParts } from './parts.ts';
import type { Placement } from './placement.ts';
import type { QueueAdmin } from './queue-admin.ts';
import type { SchedulerOptions } from './scheduler-options.ts';
import type { ShutdownOptions } from './shutdown.ts';
import type { LegacyStrategy, SchedulingStrategy } from './strategy.ts';
import type {
  AgentHandle,
  AgentProfile,
  AnyTasks,
  CancelOutcome,
  Gathered,
  GatherOptions,
  HandlesOf,
  ResultOf,
  Submittable,
  SubmitOptions,
  SubmittableList,
  TaskHandle,
  TaskSpec,
  TaskTypes,
  TaskView,
  TypeName,
  WaitReason,
} from './types.ts';

export type { SchedulerOptions } from './scheduler-options.ts';

export interface SchedulingMetrics {
  readonly agents: number;
  readonly slots: number;
  readonly running: number;
  /** Assigned and waiting in run queues, or claimed beyond the free slots. */
  readonly queued: number;
  /** Placements decided, and answers of strategies that could not be used. */
  readonly decisions: number;
  readonly strategyFailures: number;
  /** Late answers that were refused. */
  readonly staleClaims: number;
  /** Handlers that outlived their abort and grace and still run. */
  readonly zombies: number;
  readonly strategy: string;
}

/** An agent as the balancer sees it. */
export interface AgentLoadView {
  readonly id: string;
  readonly capabilities: readonly string[];
  readonly draining: boolean;
  readonly running: number;
  readonly slots: number;
  /** What each unstarted task that may move needs. */
  readonly waiting: readonly (readonly string[])[];
}

/** Tasks and agents of one process over one task store. */
export class AdvancedTaskScheduler<T extends TaskTypes = AnyTasks> {
  readonly #engine: Engine;
  /** Looks at queues and changes what waits in them. */
  readonly queues: QueueAdmin;

  constructor(
    config: SchedulerOptions = {},
    events: EventSink = silentSink,
    logger?: Logger,
    parts: SchedulerParts = {},
  ) {
    this.#engine = new Engine(config, events, logger, parts);
    this.queues = this.#engine.queues;
    const { strategy } = this.#engine.options;
    if (strategy === undefined) return;
    const given = strategy as SchedulerOptions['strategy'] & {};
    if (typeof given !== 'string') this.registerStrategy(given);
    this.setDefaultStrategy(typeof given === 'string' ? given : given.name);
  }

  // ── strategies ──

  /** Adds a strategy, or replaces the one of that name. The predecessor's classes with `selectAgent` fit. @throws INVALID_ARGUMENT */
  registerStrategy(strategy: SchedulingStrategy | LegacyStrategy): void {
    const { placement, history, runtime, agents } = this.#engine;
    placement.register(
      toStrategy(strategy, {
        taskHistory: history.types,
        wall: () => runtime.clock.wall(),
        profile: (id) => agents.get(id)?.facts.profile,
      }),
    );
  }

  /** @throws UNKNOWN_STRATEGY */
  setDefaultStrategy(name: string): void {
    this.#engine.placement.use(checkId(name, 'the name of a strategy'));
  }

  /** Which agent would get such a task now, why, and who else might; assigns nothing. */
  explain(task: Submittable<T>): ReturnType<Placement['explain']> {
    return this.#engine.placement.explain(this.#engine.intake.normalise(task as TaskSpec));
  }

  // ── agents ──

  /** Adds an agent. @throws INVALID_ARGUMENT when the record is malformed or the id is taken */
  registerAgent(profile: AgentProfile<T>): AgentHandle {
    this.#engine.shutdown.refuse();
    return this.#engine.admin.register(profile as unknown as AgentProfile);
  }

  /**
   * Gives its tasks back: those that run are aborted and will be ready again, uncounted. Idempotent.
   * @throws UNKNOWN_AGENT; the reason of its own `signal`, once all else has left, when a handler of the agent calls it at its begin
   */
  unregisterAgent(agentId: string, reason = 'unregistered'): Promise<void> {
    return this.#engine.admin.unregister(agentId, reason);
  }

  /** Whether the id may be given work: it never left, or was registered again. */
  isWelcome(agentId: string): boolean {
    return !this.#engine.agents.hasLeft(agentId);
  }

  // ── tasks ──

  /**
   * Stores a task; resolves when it is stored, with its handle.
   * @throws INVALID_ARGUMENT, DEPENDENCY_CYCLE, IDEMPOTENCY_CONFLICT, QUEUE_FULL, STOPPED, NOT_SUPPORTED
   */
  submitTask<N extends TypeName<T>, O = T[N]['output']>(
    task: Submittable<T, N, O>,
    options?: SubmitOptions,
  ): Promise<TaskHandle<NoInfer<O>>> {
    try {
      const { intake } = this.#engine;
      const given =
        options === undefined ? intake.submit(task as TaskSpec) : intake.submitBy(task as TaskSpec, options);
      const stored = given as Awaitable<TaskHandle<NoInfer<O>>>;
      return isPromise(stored) ? stored : Promise.resolve(stored);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Stores a task and waits for its result: `submitTask` and `result()` in one. @param options it has none. @throws as both */
  runTask<N extends TypeName<T>, O = T[N]['output']>(
    task: Submittable<T, N, O>,
    options?: undefined,
  ): Promise<NoInfer<O>> {
    try {
      refuseOptions('runTask', options);
      const stored = this.#engine.intake.submit(task as TaskSpec) as Awaitable<TaskHandle<NoInfer<O>>>;
      return isPromise(stored) ? stored.then((handle) => handle.result()) : stored.result();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Stores many, in order; they may depend on each other. All are checked before any is stored.
   * @param options it has none
   * @throws as submitTask, for the first that was refused; the others are stored, the error's `handles` has theirs
   */
  async submitTasks<const L extends readonly unknown[]>(
    tasks: SubmittableList<T, L>,
    options?: undefined,
  ): Promise<HandlesOf<T, L>> {
    refuseOptions('submitTasks', options);
    return (await this.#engine.intake.submitAll(tasks)) as unknown as HandlesOf<T, L>;
  }

  /**
   * Gives a task to an agent: the named one, or the strategy's choice. Resolves when the assignment is recorded, or when it is known that
   * the task has to wait (for its dependencies, its time, a free agent); `task:assigned` then follows. An id that was never registered is an
   * external agent, where nobody else uses the store; where others do, the task is left to the process that registers the id.
   * @param options it has none
   * @throws UNKNOWN_AGENT for an agent that left, and as submitTask
   */
  async assignTask<N extends TypeName<T>, O = T[N]['output']>(
    task: Submittable<T, N, O>,
    agentId?: string,
    options?: undefined,
  ): Promise<TaskHandle<NoInfer<O>>> {
    refuseOptions('assignTask', options);
    return (await this.#engine.intake.assign(task as TaskSpec, agentId)) as TaskHandle<NoInfer<O>>;
  }

  /** The answer of an external agent. @param claim from `task:assigned`; without it a late answer can't be told from a fresh one */
  async completeTask(taskId: string, result?: unknown, claim?: string): Promise<void> {
    await this.#engine.externals.complete(checkId(taskId, 'taskId'), result, claim);
  }

  /** An external agent's failure; it is retried by the policy. */
  async failTask(taskId: string, error: unknown, claim?: string): Promise<void> {
    await this.#engine.externals.fail(checkId(taskId, 'taskId'), error, claim);
  }

  /** Cancels a task with its sub-tasks; dependents follow their edge's policy. @throws UNKNOWN_TASK */
  cancelTask(taskId: string, reason?: string): Promise<CancelOutcome> {
    return this.#engine.cancellation.cancel(taskId, reason);
  }

  /** Cancels everything that is assigned to an agent or runs there. Returns how many. */
  async cancelAgentTasks(agentId: string, reason = 'its agent’s tasks were cancelled'): Promise<number> {
    const ids = (await this.getAgentTasks(agentId)).map((task) => task.id);
    await Promise.all(ids.map((id) => this.cancelTask(id, reason)));
    return ids.length;
  }

  /** Gives everything that is assigned to an agent or runs there back to the queue, for any agent. Returns how many. */
  rescheduleAgentTasks(agentId: string, reason = 'rescheduled'): Promise<number> {
    return this.#engine.admin.reschedule(agentId, reason);
  }

  getTask(taskId: string): Promise<TaskView | undefined> {
    return this.#engine.lookup.view(taskId);
  }

  /** A handle of a task that was submitted before, here or elsewhere. @throws UNKNOWN_TASK */
  handle(taskId: string): Promise<TaskHandle> {
    return this.#engine.lookup.handle(taskId);
  }

  async getAgentTaskCount(agentId: string): Promise<number> {
    return (await this.getAgentTasks(agentId)).length;
  }

  /** What is assigned to an agent or runs there. An unknown agent has nothing. */
  getAgentTasks(agentId: string): Promise<TaskView[]> {
    return this.#engine.lookup.ofAgent(agentId);
  }

  /** Waits for tasks until all have ended, enough succeeded or the time is over; see {@link GatherOptions}. */
  gather<H extends TaskHandle>(
    handles: readonly H[],
    options: GatherOptions = {},
  ): Promise<Gathered<ResultOf<H>>> {
    return gather(handles as readonly TaskHandle<ResultOf<H>>[], options, this.#engine.runtime.clock);
  }

  /** Why a task isn't running: reasons, each with the reason of the one before. @throws UNKNOWN_TASK */
  why(taskId: string): Promise<WaitReason> {
    return this.#engine.lookup.why(taskId);
  }

  getSchedulingMetrics(): SchedulingMetrics {
    const { executor, slots, placement, ending, agents: registry } = this.#engine;
    const agents = [...registry.all()];
    return {
      agents: agents.length,
      slots: agents.reduce((sum, agent) => sum + (Number.isFinite(agent.slots) ? agent.slots : 0), 0),
      running: slots.taken,
      queued: registry.queuedTotal + this.#engine.dispatcher.ahead,
      decisions: placement.decisions,
      strategyFailures: placement.failures,
      staleClaims: ending.staleClaims,
      zombies: executor.zombies,
      strategy: placement.current.name,
    };
  }

  // ── for the manager's other parts ──

  /** The load of each agent that was registered, and what its unstarted tasks need; for the balancer. */
  loads(): readonly AgentLoadView[] {
    const registered = [...this.#engine.agents.all()].filter((agent) => Number.isFinite(agent.slots));
    return registered.map((agent) => ({
      id: agent.id,
      capabilities: agent.facts.capabilities,
      draining: agent.draining,
      running: agent.running,
      slots: agent.slots,
      waiting: agent.queue
        .filter((run) => run.settings.only !== true)
        .map((run) => run.claim.body.capabilities),
    }));
  }

  /** Slots of all registered agents, and how many of them are taken. */
  slotUse(): { readonly running: number; readonly slots: number } {
    let running = 0;
    let slots = 0;
    for (const agent of this.#engine.agents.all()) {
      if (!Number.isFinite(agent.slots)) continue;
      running += agent.running;
      slots += agent.slots;
    }
    return { running, slots };
  }

  /** The priority of an agent; 0 for one that isn't registered. */
  agentPriority(agentId: string): number {
    return this.#engine.agents.get(agentId)?.facts.priority ?? 0;
  }

  /**
   * Gives an unended task to an agent, wherever it stands: one that waits is pinned to it, one that runs elsewhere is stopped and runs again
   * there, uncounted. @throws UNKNOWN_TASK, UNKNOWN_AGENT
   */
  moveTask(taskId: string, agentId: string): Promise<void> {
    return this.#engine.reassignment.move(taskId, agentId);
  }

  /** Moves unstarted tasks from one run queue to another: those the target may run, the last to start first. Returns their ids. */
  steal(from: string, to: string, count: number, maxMoves = 3): readonly string[] {
    return this.#engine.reassignment.steal(from, to, count, maxMoves);
  }

  /** The runs of an agent as nodes of the wait-for graph. */
  runsOf(agentId: string): readonly string[] {
    const agent = this.#engine.agents.get(agentId);
    return agent === undefined ? [] : [...agent.runs()].map((run) => run.node);
  }

  /** Stops what the store wants stopped: cancelled elsewhere, or taken over by another process. @throws INVALID_ARGUMENT */
  obey(orders: readonly Order[]): void {
    if (this.#engine.reassignment.obey(orders)) handled(this.drain());
  }

  /** The session of this process is gone, and others may take over what runs here: what that makes fail is no failure of the task. */
  sessionLost(): void {
    const { agents, dispatcher } = this.#engine;
    for (const agent of agents.busy()) for (const run of agent.runs()) run.extras.orphaned = true;
    for (const run of dispatcher.locking) run.extras.orphaned = true;
  }

  /** Looks for work: the session is another one. */
  wake(): void {
    this.#engine.dispatcher.wake();
    this.#engine.sweeper.due(0, false);
  }

  /** How long the store's chores are overdue, or the ends of tasks wait to be stored, ms. */
  overdueMs(): number {
    return Math.max(this.#engine.sweeper.overdueMs(), this.#engine.settler.overdueMs());
  }

  /** Has the store do its chores now. */
  sweep(): void {
    this.#engine.sweeper.sweep();
  }

  // ── idleness and end ──

  /**
   * Resolves when every task has ended, retries and delayed ones included, or at the end of a shutdown.
   * @throws NOT_SUPPORTED when a handler calls it at its begin: its own task would have to end first
   */
  onIdle(): Promise<void> {
    return this.#engine.idleness.until();
  }

  /**
   * Starts nothing new; resolves when what runs has ended, the task whose handler calls it at its begin left out. Tasks that wait stay in
   * the store.
   */
  drain(): Promise<void> {
    return this.#engine.shutdown.drain(this.#engine.executor.inside);
  }

  /**
   * Drains for `drainMs`, then aborts what still runs: `'abort'` counts the attempt as failed, `'release'`, the default where others use the
   * store, gives it back uncounted. All open `result()` promises settle, with STOPPED where the task hasn't ended. Idempotent.
   */
  shutdown(options: ShutdownOptions = {}): Promise<void> {
    return this.#engine.shutdown.run(options);
  }
}

/** Options where there are none: who hands a transaction over must not learn from its rollback that it was passed over. */
function refuseOptions(method: string, options: unknown): void {
  if (typeof options !== 'object' || options === null) return;
  throw invalid(
    `${method} takes no options`,
    'A task of a transaction of yours is submitted by itself: `submitTask(task, { client })`.',
  );
}
