import type { CircuitBreakerManager } from './circuit-breaker/circuit-breaker-manager.ts';
import type { CircuitBreaker } from './circuit-breaker/circuit-breaker.ts';
import type { CircuitBreakerOptions } from './circuit-breaker/breaker-rules.ts';
import type { ConflictResolver } from './conflicts/conflict-resolver.ts';
import { composeParts } from './compose-parts.ts';
import { invalid } from './core/check.ts';
import type { ConflictRecord } from './core/coordination-types.ts';
import { CoordinationError, describe } from './core/errors.ts';
import type { EventBus } from './core/event-bus.ts';
import type { AcquireOptions, Lease, ResourceRequest } from './core/lock-types.ts';
import type { BackendReport } from './core/ports/backend.ts';
import type { Logger } from './core/ports/runtime.ts';
import type { PinoLogger } from './core/runtime/pino-logger.ts';
import type { DependencyGraph } from './dependency-graph/dependency-graph.ts';
import type { HealthStatus } from './health.ts';
import { LazyOperations } from './lazy-operations.ts';
import { listProcesses, type ProcessView } from './processes.ts';
import type { Sessions } from './core/ports/sessions.ts';
import { Lifecycle } from './lifecycle.ts';
import { type CoordinationOptions, managerSettings } from './manager-options.ts';
import type { MessageRouter } from './messaging/router.ts';
import type {
  MessageHandler,
  RequestOptions,
  SendOptions,
  SubscribeOptions,
  Subscription,
} from './messaging/types.ts';
import type { CoordinationMetricsCollector } from './metrics/coordination-metrics-collector.ts';
import type { CurrentMetrics } from './metrics/figures/current-metrics.ts';
import type { ResourceManager } from './resources/resource-manager.ts';
import type { AdvancedTaskScheduler } from './scheduler/scheduler.ts';
import type { QueueAdmin } from './scheduler/queue-admin.ts';
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
  TaskTypes,
  TaskView,
  TypeName,
  WaitReason,
} from './scheduler/types.ts';
import { sessionReport } from './session-report.ts';
import type { WorkStealingCoordinator } from './work-stealing/work-stealing-coordinator.ts';

/** Settled conflicts older than this are forgotten by maintenance, ms. */
const MAINTENANCE_AGE_MS = 24 * 3_600_000;

/**
 * Composes every part over one backend: tasks and agents, locks, messages, stealing, breakers, conflicts, a dependency graph, metrics and
 * health. `new CoordinationManager(config, eventBus, logger)` and `new CoordinationManager({ ...config, events, logger })` are the same.
 *
 * @example
 * const mesh = await CoordinationManager.start();
 * mesh.registerAgent({ id: 'a', handler: ({ task }) => `did ${task.input}` });
 * const task = await mesh.submitTask({ type: 'work', input: 1 });
 * await task.result();
 * await mesh.shutdown();
 */
export class CoordinationManager<T extends TaskTypes = AnyTasks> implements AsyncDisposable {
  readonly events: EventBus;
  readonly tasks: AdvancedTaskScheduler<T>;
  readonly locks: ResourceManager;
  readonly messages: MessageRouter;
  readonly breakers: CircuitBreakerManager;
  readonly conflicts: ConflictResolver;
  readonly stealing: WorkStealingCoordinator | undefined;
  readonly metrics: CoordinationMetricsCollector | undefined;
  /** A graph of your own to plan with; the tasks' dependencies are kept by the queue itself. */
  readonly graph: DependencyGraph;
  readonly #operations: LazyOperations;
  readonly #sessions: Sessions;
  readonly #life: Lifecycle;

  /** Checks everything, connects nothing. @throws INVALID_OPTION */
  constructor(options?: CoordinationOptions, events?: EventBus, logger?: Logger | PinoLogger) {
    const settings = managerSettings(options, events, logger);
    this.#operations = new LazyOperations(settings.runtime.clock);
    const parts = composeParts<T>(settings, this.#operations, {
      agentJoined: (agentId) => this.#joined(agentId),
      agentLeft: (agentId) => this.#left(agentId),
    });
    this.#sessions = settings.ports.sessions;
    this.events = settings.events;
    this.tasks = parts.tasks;
    this.locks = parts.locks;
    this.messages = parts.messages;
    this.breakers = parts.breakers;
    this.conflicts = parts.conflicts;
    this.stealing = parts.stealing;
    this.metrics = parts.metrics;
    this.graph = parts.graph;
    this.#life = new Lifecycle(settings, this.#operations, parts);
  }

  /** A started manager: `await using mesh = await CoordinationManager.start({ … })`. @throws as the constructor and initialize */
  static async start<T extends TaskTypes = AnyTasks>(
    options?: CoordinationOptions,
  ): Promise<CoordinationManager<T>> {
    const manager = new CoordinationManager<T>(options);
    await manager.initialize();
    return manager;
  }

  // ── life ──

  /** Connects and starts every part. Idempotent. @throws BACKEND_UNAVAILABLE, SCHEMA_MISMATCH, STOPPED after shutdown */
  initialize(): Promise<BackendReport> {
    return this.#life.start();
  }

  /**
   * Stops in order: no new work, running tasks finish within `shutdown.drainMs` or are aborted by the stated policy, all promises settle,
   * the session and the backend are closed. Takes `drainMs` + `graceMs` + 5 s at most, whatever the backend does; those 5 s, all parts
   * together, a backend that doesn't answer is waited for when the last handler has ended. What is not stored by then runs again elsewhere.
   * Idempotent; afterwards the process exits by itself.
   */
  shutdown(reason = 'shutdown'): Promise<void> {
    return this.#life.stop(reason);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  /** Port of the health endpoint, when AGENTMESH_HEALTH_PORT opened one. */
  get healthPort(): number | undefined {
    return this.#life.healthPort;
  }

  // ── agents ──

  /** Adds an agent: with a handler it works here, without it is told by `task:assigned`. @throws INVALID_ARGUMENT, STOPPED */
  registerAgent(agent: AgentProfile<T>): AgentHandle {
    this.#life.refuseEnding();
    return this.tasks.registerAgent(agent);
  }

  /**
   * Takes an agent out: its tasks go back, its locks are released, its waits end, its id is refused until registered again.
   * @throws UNKNOWN_AGENT for one that was never registered
   */
  unregisterAgent(agentId: string, reason?: string): Promise<void> {
    return this.tasks.unregisterAgent(agentId, reason);
  }

  #joined(agentId: string): void {
    this.locks.agentJoined(agentId);
    if (this.#operations.isOpen) this.#life.watch('messaging', this.messages.agentJoined(agentId));
    this.stealing?.addAgent(agentId);
  }

  async #left(agentId: string): Promise<void> {
    this.stealing?.removeAgent(agentId);
    const parted = this.messages.agentLeft(agentId).catch((error: unknown) => {
      // Before the start there is no mailbox to take away.
      if (this.#operations.isOpen) throw error;
    });
    await Promise.all([this.locks.agentLeft(agentId), parted]);
  }

  // ── tasks ──

  /** Stores a task; resolves with its handle. See `tasks.submitTask`. */
  submitTask<N extends TypeName<T>, O = T[N]['output']>(
    task: Submittable<T, N, O>,
    options?: SubmitOptions,
  ): Promise<TaskHandle<NoInfer<O>>> {
    return this.#life.isReady ? this.tasks.submitTask(task, options) : this.#life.refused();
  }

  /** Stores a task and waits for its result. */
  runTask<N extends TypeName<T>, O = T[N]['output']>(
    task: Submittable<T, N, O>,
    options?: undefined,
  ): Promise<NoInfer<O>> {
    return this.#life.isReady ? this.tasks.runTask(task, options) : this.#life.refused();
  }

  /** Stores many; resolves with the handle of each, of its own result type. See `tasks.submitTasks`. */
  submitTasks<const L extends readonly unknown[]>(
    tasks: SubmittableList<T, L>,
    options?: undefined,
  ): Promise<HandlesOf<T, L>> {
    return this.#life.isReady ? this.tasks.submitTasks<L>(tasks, options) : this.#life.refused();
  }

  /**
   * Gives a task to an agent, also to one that was never registered: in memory an external agent, on a backend that processes share one of
   * whichever process registers it. Resolves when the assignment is recorded.
   */
  assignTask<N extends TypeName<T>, O = T[N]['output']>(
    task: Submittable<T, N, O>,
    agentId?: string,
    options?: undefined,
  ): Promise<TaskHandle<NoInfer<O>>> {
    return this.#life.isReady ? this.tasks.assignTask(task, agentId, options) : this.#life.refused();
  }

  completeTask(taskId: string, result?: unknown, claim?: string): Promise<void> {
    return this.tasks.completeTask(taskId, result, claim);
  }

  failTask(taskId: string, error: unknown, claim?: string): Promise<void> {
    return this.tasks.failTask(taskId, error, claim);
  }

  cancelTask(taskId: string, reason?: string): Promise<CancelOutcome> {
    return this.tasks.cancelTask(taskId, reason);
  }

  getTask(taskId: string): Promise<TaskView | undefined> {
    return this.tasks.getTask(taskId);
  }

  getAgentTaskCount(agentId: string): Promise<number> {
    return this.tasks.getAgentTaskCount(agentId);
  }

  getAgentTasks(agentId: string): Promise<TaskView[]> {
    return this.tasks.getAgentTasks(agentId);
  }

  gather<H extends TaskHandle>(
    handles: readonly H[],
    options?: GatherOptions,
  ): Promise<Gathered<ResultOf<H>>> {
    return this.tasks.gather(handles, options);
  }

  /** Why a task isn't running: a chain of reasons across all parts. */
  why(taskId: string): Promise<WaitReason> {
    return this.tasks.why(taskId);
  }

  get queues(): QueueAdmin {
    return this.tasks.queues;
  }

  /** Resolves when every task has ended. */
  onIdle(): Promise<void> {
    return this.tasks.onIdle();
  }

  // ── locks ──

  /** Takes a lock for an agent; the predecessor's form. @param options a priority, or options */
  acquireResource(
    resourceId: string,
    agentId: string,
    options: number | AcquireOptions = {},
  ): Promise<Lease> {
    if (!this.#life.isReady) return this.#life.refused();
    return typeof options === 'number'
      ? this.locks.acquire(resourceId, agentId, options)
      : this.locks.acquire(resourceId, agentId, undefined, options);
  }

  releaseResource(resourceId: string, agentId: string): Promise<void> {
    return this.locks.release(resourceId, agentId);
  }

  /** Takes a lock, a path lock or units of a semaphore. */
  acquire(resource: ResourceRequest, options?: AcquireOptions): Promise<Lease> {
    return this.#life.isReady ? this.locks.acquire(resource, options) : this.#life.refused();
  }

  /** Runs `use` while holding; gives back whatever happens. */
  withLock<R>(
    resource: ResourceRequest | readonly ResourceRequest[],
    use: (lease: Lease) => R | Promise<R>,
    options?: AcquireOptions,
  ): Promise<R> {
    return this.#life.isReady ? this.locks.withLock(resource, use, options) : this.#life.refused();
  }

  // ── messages ──

  /** Resolves when the message is in the receiver's mailbox. */
  sendMessage(from: string, to: string, message: unknown, options?: SendOptions): Promise<string> {
    return this.#life.isReady ? this.messages.send(from, to, message, options) : this.#life.refused();
  }

  broadcast(...args: Parameters<MessageRouter['broadcast']>): ReturnType<MessageRouter['broadcast']> {
    return this.#life.isReady ? this.messages.broadcast(...args) : this.#life.refused();
  }

  request<R = unknown>(from: string, to: string, payload: unknown, options?: RequestOptions): Promise<R> {
    return this.#life.isReady ? this.messages.request<R>(from, to, payload, options) : this.#life.refused();
  }

  subscribe<P = unknown>(
    agentId: string,
    handler: MessageHandler<P>,
    options?: SubscribeOptions,
  ): Subscription {
    this.#life.refuseEnding();
    return this.messages.subscribe(agentId, handler, options);
  }

  // ── breakers and conflicts ──

  breaker(name: string, options?: CircuitBreakerOptions): CircuitBreaker {
    return this.breakers.getBreaker(name, options);
  }

  /** Reports that agents are in each other's way, over a resource or over who does a task. */
  reportConflict(
    type: 'resource' | 'task',
    id: string,
    agentIds: readonly string[],
  ): Promise<ConflictRecord> {
    switch (type) {
      case 'resource':
        return this.conflicts.reportResourceConflict(id, agentIds);
      case 'task':
        return this.conflicts.reportTaskConflict(id, agentIds, 'assignment');
      default:
        return Promise.reject(
          invalid(`Expected the type of conflict to be resource or task, got ${describe(type)}`),
        );
    }
  }

  // ── health, metrics, maintenance ──

  /** Asks every part now. */
  getHealthStatus(): Promise<HealthStatus> {
    return this.#life.health.check();
  }

  /**
   * The processes that share this mesh's backend, with their agents: this one as it is now, each other as it described itself last, at most a
   * third of its lease ago while it lives.
   */
  async processes(): Promise<readonly ProcessView[]> {
    if (!this.#life.isReady) return this.#life.refused();
    return listProcesses(this.#sessions, this.#operations.session, sessionReport(this.tasks));
  }

  /** @throws NOT_SUPPORTED with `metrics: false` */
  async getCoordinationMetrics(): Promise<CurrentMetrics> {
    if (this.metrics === undefined)
      throw new CoordinationError('NOT_SUPPORTED', 'Metrics are switched off', {
        hint: 'Leave out `metrics: false`.',
      });
    return this.metrics.getCurrentMetrics();
  }

  /** Does the chores that otherwise come by themselves: due tasks, expired leases, old conflicts. */
  async performMaintenance(): Promise<void> {
    this.#life.refuseEnding();
    this.tasks.sweep();
    this.locks.waits.sweep();
    this.conflicts.cleanupOldConflicts(MAINTENANCE_AGE_MS);
  }
}
