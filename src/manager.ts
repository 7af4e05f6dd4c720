import { memory } from './backends/memory/memory.ts';
import { CircuitBreakerManager } from './circuit-breaker/circuit-breaker-manager.ts';
import type { CircuitBreaker } from './circuit-breaker/circuit-breaker.ts';
import type { CircuitBreakerOptions } from './circuit-breaker/breaker-rules.ts';
import { ConflictResolver } from './conflicts/conflict-resolver.ts';
import { handled } from './core/awaitable.ts';
import { checkId, invalid } from './core/check.ts';
import type { ConflictRecord } from './core/coordination-types.ts';
import { CoordinationError, describe, toStoredError } from './core/errors.ts';
import type { EventBus } from './core/event-bus.ts';
import type { AcquireOptions, Lease, ResourceRequest } from './core/lock-types.ts';
import type { Backend, BackendReport } from './core/ports/backend.ts';
import type { Logger } from './core/ports/runtime.ts';
import type { PinoLogger } from './core/runtime/pino-logger.ts';
import { DependencyGraph } from './dependency-graph/dependency-graph.ts';
import { type HealthEndpoint, openHealthEndpoint } from './health-endpoint.ts';
import { HealthMonitor, type HealthStatus, type PartHealth } from './health.ts';
import { LazyOperations } from './lazy-operations.ts';
import { type CoordinationOptions, managerSettings, type ManagerSettings } from './manager-options.ts';
import { MessageRouter } from './messaging/router.ts';
import type {
  MessageHandler,
  RequestOptions,
  SendOptions,
  SubscribeOptions,
  Subscription,
} from './messaging/types.ts';
import { CoordinationMetricsCollector } from './metrics/coordination-metrics-collector.ts';
import type { CurrentMetrics } from './metrics/figures/current-metrics.ts';
import { ResourceManager } from './resources/resource-manager.ts';
import { AdvancedTaskScheduler } from './scheduler/scheduler.ts';
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
  SubmittableList,
  TaskHandle,
  TaskTypes,
  TaskView,
  TypeName,
  WaitReason,
} from './scheduler/types.ts';
import { SessionKeeper } from './session-keeper.ts';
import { sessionReport } from './session-report.ts';
import { conflictParts, queueGauges, schedulerParts, stealingLoads } from './wiring.ts';
import { WorkStealingCoordinator } from './work-stealing/work-stealing-coordinator.ts';

/** Settled conflicts older than this are forgotten by maintenance, ms. */
const MAINTENANCE_AGE_MS = 24 * 3_600_000;

type State = 'new' | 'starting' | 'ready' | 'stopping' | 'stopped';

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
  readonly #settings: ManagerSettings;
  readonly #backend: Backend;
  readonly #operations = new LazyOperations();
  readonly #health: HealthMonitor;
  readonly #session: SessionKeeper;
  /** The backend was started here, so it is to be stopped. */
  #connected = false;
  #state: State = 'new';
  #starting: Promise<BackendReport> | undefined;
  #stopping: Promise<void> | undefined;
  #endpoint: HealthEndpoint | undefined;

  /** Checks everything, connects nothing. @throws INVALID_OPTION */
  constructor(options?: CoordinationOptions, events?: EventBus, logger?: Logger | PinoLogger) {
    this.#settings = managerSettings(options, events, logger);
    const { runtime, environment } = this.#settings;
    const given = this.#settings.options;
    this.events = this.#settings.events;
    this.#backend = given.backend ?? memory();
    const { tasks: store, locks, messages, sessions } = needed(this.#backend);
    const log = runtime.logger;
    const legacy = legacyOf(given);
    const operations = this.#operations;
    const onHint = this.#backend.capabilities.shared ? this.#backend.onHint.bind(this.#backend) : undefined;
    const shared = { runtime, operations, ...(onHint === undefined ? {} : { onHint }) };
    this.locks = new ResourceManager({ ...legacy, ...given.resources }, this.events, log, {
      ...shared,
      store: locks,
    });
    this.breakers = new CircuitBreakerManager(given.breakers, log, this.events, { runtime });
    this.messages = new MessageRouter({ ...legacy, ...given.messaging }, this.events, log, {
      ...shared,
      transport: messages,
      capabilities: this.#backend.capabilities,
      waits: this.locks.waits,
      runsOf: (agentId) => this.tasks.runsOf(agentId),
    });
    const scheduling = { ...legacy, ...given.scheduling };
    this.tasks = new AdvancedTaskScheduler<T>(
      environment.agentSlots === undefined
        ? scheduling
        : { agentSlots: environment.agentSlots, ...scheduling },
      this.events,
      log,
      { ...shared, store, ...schedulerParts(this.locks, this.messages, this.breakers) },
    );
    this.conflicts = new ConflictResolver(log, this.events, {
      runtime,
      ...conflictParts(this.tasks, this.locks),
    });
    this.graph = new DependencyGraph(log);
    this.stealing =
      given.workStealing === false
        ? undefined
        : new WorkStealingCoordinator(
            given.workStealing,
            this.events,
            log,
            (moves) => moves.map((move) => this.tasks.steal(move.from, move.to, move.count, move.maxMoves)),
            { runtime, loads: () => stealingLoads(this.tasks) },
          );
    this.metrics =
      given.metrics === false
        ? undefined
        : new CoordinationMetricsCollector(log, this.events, given.metrics, {
            runtime,
            gauges: {
              queues: queueGauges(store),
              agentSlots: () => this.tasks.slotUse(),
              locks: () => this.locks.lockUse(),
            },
          });
    this.#session = new SessionKeeper({
      backend: this.#backend,
      sessions,
      runtime,
      events: this.events,
      report: () => sessionReport(this.tasks),
      use: (one) => operations.use(one),
      obey: (orders) => this.tasks.obey(orders),
      lost: () => this.locks.sessionLost(),
      renewed: () => this.#rejoin(),
    });
    if (this.#backend.capabilities.shared) operations.renewBy((session) => this.#session.renew(session));
    this.#health = new HealthMonitor(this.#healthChecks(), {
      clock: runtime.clock,
      events: this.events,
      intervalMs: this.#settings.health.intervalMs,
    });
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
    if (this.#state === 'stopping' || this.#state === 'stopped') {
      return Promise.reject(
        new CoordinationError('STOPPED', 'A mesh that was shut down cannot be started again', {
          hint: 'Create a new one.',
        }),
      );
    }
    this.#starting ??= this.#start();
    return this.#starting;
  }

  /**
   * Stops in order: no new work, running tasks finish within `shutdown.drainMs` or are aborted by the stated policy, all promises settle,
   * the session and the backend are closed. Idempotent; afterwards the process exits by itself.
   */
  shutdown(reason = 'shutdown'): Promise<void> {
    this.#stopping ??= this.#stop(reason);
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  /** Port of the health endpoint, when AGENTMESH_HEALTH_PORT opened one. */
  get healthPort(): number | undefined {
    return this.#endpoint?.port;
  }

  // ── agents ──

  /** Adds an agent: with a handler it works here, without it is told by `task:assigned`. @throws INVALID_ARGUMENT, STOPPED */
  registerAgent(agent: AgentProfile<T>): AgentHandle {
    this.#check();
    const handle = this.tasks.registerAgent(agent);
    // The id as it was read once: a getter could answer differently now.
    const { id } = handle;
    this.locks.agentJoined(id);
    if (this.#operations.isOpen) handled(this.messages.agentJoined(id));
    this.stealing?.addAgent(id);
    const leave = (reason?: string): Promise<void> => this.unregisterAgent(id, reason);
    return { ...handle, leave, [Symbol.asyncDispose]: () => leave() };
  }

  /** Takes an agent out: its tasks go back, its locks are released, its waits end, its id is refused until registered again. */
  async unregisterAgent(agentId: string, reason = 'unregistered'): Promise<void> {
    checkId(agentId, 'agentId');
    this.stealing?.removeAgent(agentId);
    const left = this.tasks.unregisterAgent(agentId, reason);
    await Promise.all([left, this.locks.agentLeft(agentId), this.messages.agentLeft(agentId)]);
  }

  // ── tasks ──

  /** Stores a task; resolves with its handle. See `tasks.submitTask`. */
  submitTask<N extends TypeName<T>, O = T[N]['output']>(
    task: Submittable<T, N, O>,
  ): Promise<TaskHandle<NoInfer<O>>> {
    return this.#state === 'ready' ? this.tasks.submitTask(task) : this.#refused();
  }

  /** Stores a task and waits for its result. */
  runTask<N extends TypeName<T>, O = T[N]['output']>(task: Submittable<T, N, O>): Promise<NoInfer<O>> {
    return this.#state === 'ready' ? this.tasks.runTask(task) : this.#refused();
  }

  /** Stores many; resolves with the handle of each, of its own result type. See `tasks.submitTasks`. */
  submitTasks<const L extends readonly unknown[]>(tasks: SubmittableList<T, L>): Promise<HandlesOf<T, L>> {
    return this.#state === 'ready' ? this.tasks.submitTasks(tasks) : this.#refused();
  }

  /** Gives a task to an agent, also to one that was never registered (an external agent). Resolves when the assignment is recorded. */
  assignTask<N extends TypeName<T>, O = T[N]['output']>(
    task: Submittable<T, N, O>,
    agentId?: string,
  ): Promise<TaskHandle<NoInfer<O>>> {
    return this.#state === 'ready' ? this.tasks.assignTask(task, agentId) : this.#refused();
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
    if (this.#state !== 'ready') return this.#refused();
    return typeof options === 'number'
      ? this.locks.acquire(resourceId, agentId, options)
      : this.locks.acquire(resourceId, agentId, undefined, options);
  }

  releaseResource(resourceId: string, agentId: string): Promise<void> {
    return this.locks.release(resourceId, agentId);
  }

  /** Takes a lock, a path lock or units of a semaphore. */
  acquire(resource: ResourceRequest, options?: AcquireOptions): Promise<Lease> {
    return this.#state === 'ready' ? this.locks.acquire(resource, options) : this.#refused();
  }

  /** Runs `use` while holding; gives back whatever happens. */
  withLock<R>(
    resource: ResourceRequest | readonly ResourceRequest[],
    use: (lease: Lease) => R | Promise<R>,
    options?: AcquireOptions,
  ): Promise<R> {
    return this.#state === 'ready' ? this.locks.withLock(resource, use, options) : this.#refused();
  }

  // ── messages ──

  /** Resolves when the message is in the receiver's mailbox. */
  sendMessage(from: string, to: string, message: unknown, options?: SendOptions): Promise<string> {
    return this.#state === 'ready' ? this.messages.send(from, to, message, options) : this.#refused();
  }

  broadcast(...args: Parameters<MessageRouter['broadcast']>): ReturnType<MessageRouter['broadcast']> {
    return this.#state === 'ready' ? this.messages.broadcast(...args) : this.#refused();
  }

  request<R = unknown>(from: string, to: string, payload: unknown, options?: RequestOptions): Promise<R> {
    return this.#state === 'ready' ? this.messages.request<R>(from, to, payload, options) : this.#refused();
  }

  subscribe<P = unknown>(
    agentId: string,
    handler: MessageHandler<P>,
    options?: SubscribeOptions,
  ): Subscription {
    this.#check();
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
    return this.#health.check();
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
    this.#check();
    this.tasks.sweep();
    this.locks.waits.sweep();
    this.conflicts.cleanupOldConflicts(MAINTENANCE_AGE_MS);
  }

  async #start(): Promise<BackendReport> {
    this.#state = 'starting';
    try {
      const report = await this.#connect();
      this.#refuseIfStopping();
      this.#state = 'ready';
      this.tasks.wake();
      this.metrics?.start();
      await this.stealing?.initialize();
      this.#health.start();
      this.events.emit('system:ready', { backend: this.#backend.name });
      return report;
    } catch (error) {
      await this.#disconnect();
      if (this.#state === 'starting') {
        this.#state = 'new';
        this.#starting = undefined;
      }
      throw error;
    }
  }

  async #connect(): Promise<BackendReport> {
    const { runtime, options, environment } = this.#settings;
    const report = await this.#backend.start(runtime);
    this.#connected = true;
    refuseProblems(report, options.allow ?? [], runtime.logger);
    this.#refuseIfStopping();
    await this.#session.open();
    this.#refuseIfStopping();
    if (environment.healthPort !== undefined) {
      this.#endpoint = await openHealthEndpoint(environment.healthPort, () => this.getHealthStatus());
    }
    // Those that were registered before there was a mailbox to give them.
    for (const { id } of this.tasks.loads()) await this.messages.agentJoined(id);
    return report;
  }

  /** Gives back what a start has opened, in whatever step it ended. */
  async #disconnect(): Promise<void> {
    await this.#attempt('session', () => this.#session.close());
    this.#operations.end(this.#state !== 'starting');
    if (this.#connected) await this.#attempt('backend', () => this.#backend.stop());
    this.#connected = false;
    await this.#attempt('health endpoint', () => this.#endpoint?.close());
    this.#endpoint = undefined;
  }

  /** The session is another one: what the former carried is stored anew. */
  #rejoin(): void {
    this.messages.rejoin().catch((error: unknown) => {
      const { code, message } = toStoredError(error);
      this.events.emit('system:error', { part: 'messaging', code, message });
    });
    this.tasks.wake();
  }

  async #stop(reason: string): Promise<void> {
    const starting = this.#starting;
    this.#state = 'stopping';
    const started =
      (await starting?.then(
        () => true,
        () => false,
      )) === true;
    if (started) this.events.emit('system:shutdown', { reason });
    this.#health.stop();
    await this.#attempt('stealing', () => this.stealing?.shutdown());
    if (started) {
      await this.#attempt('tasks', () => this.tasks.shutdown(this.#settings.shutdown));
      await this.#attempt('messages', () =>
        this.messages.shutdown({ drainMs: this.#settings.shutdown.drainMs }),
      );
      await this.#attempt('locks', () => this.locks.shutdown());
    }
    this.metrics?.stop();
    this.breakers.shutdown();
    await this.#disconnect();
    this.#state = 'stopped';
  }

  #refuseIfStopping(): void {
    if (this.#state !== 'starting')
      throw new CoordinationError('STOPPED', 'The mesh was shut down while it started');
  }

  /** A part that fails to stop must not keep the others from stopping. */
  async #attempt(part: string, stop: () => unknown): Promise<void> {
    try {
      await stop();
    } catch (error) {
      const { code, message } = toStoredError(error);
      this.#settings.runtime.logger.error(`Stopping ${part} failed`, { code, message });
      this.events.emit('system:error', { part, code, message });
    }
  }

  #healthChecks(): ConstructorParameters<typeof HealthMonitor>[0] {
    const { health } = this.#settings;
    return {
      manager: () =>
        this.#state === 'ready'
          ? { healthy: true }
          : { healthy: false, error: `the mesh is ${this.#state === 'new' ? 'not started' : this.#state}` },
      backend: async () => {
        const { healthy, detail } = await this.#backend.check();
        return healthy ? { healthy } : { healthy, error: detail ?? 'it does not answer' };
      },
      scheduler: () => {
        const overdueMs = this.tasks.overdueMs();
        const { running, queued, agents, zombies } = this.tasks.getSchedulingMetrics();
        const metrics = { running, queued, agents, zombies };
        if (overdueMs <= health.stuckMs) return { healthy: true, metrics };
        return { healthy: false, error: `its sweep is overdue for ${Math.round(overdueMs)} ms`, metrics };
      },
      session: () => this.#session.health(),
      resources: () => ({
        ...punctual('its renewals', this.locks.overdueMs(), health.stuckMs),
        metrics: { ...this.locks.lockUse() },
      }),
      breakers: () => {
        const open = [...this.breakers.getAllBreakers()].filter(
          ([, breaker]) => breaker.getState() === 'open',
        );
        const metrics = { open: open.length };
        if (open.length === 0) return { healthy: true, metrics };
        return {
          healthy: false,
          error: `${open
            .map(([name]) => name)
            .slice(0, 5)
            .join(', ')} open`,
          metrics,
        };
      },
      messages: () => punctual('its chores', this.messages.overdueMs(), health.stuckMs),
    };
  }

  #check(): void {
    if (this.#state === 'stopping' || this.#state === 'stopped')
      throw new CoordinationError('STOPPED', 'The mesh has been shut down');
  }

  /** Why a call can't be taken now. */
  #refused(): Promise<never> {
    try {
      this.#check();
      void this.#operations.session;
    } catch (error) {
      return Promise.reject(error);
    }
    return Promise.reject(
      new CoordinationError('NOT_STARTED', 'The mesh has not been started', {
        hint: 'Call `await manager.initialize()` first.',
      }),
    );
  }
}

function punctual(what: string, overdueMs: number, stuckMs: number): PartHealth {
  if (overdueMs <= stuckMs) return { healthy: true };
  return { healthy: false, error: `${what} are overdue for ${Math.round(overdueMs)} ms` };
}

function legacyOf(options: CoordinationOptions): object {
  const { maxRetries, retryDelay, deadlockDetection, resourceTimeout, messageTimeout } = options;
  return Object.fromEntries(
    Object.entries({ maxRetries, retryDelay, deadlockDetection, resourceTimeout, messageTimeout }).filter(
      ([, value]) => value !== undefined,
    ),
  );
}

function needed(backend: Backend): Required<Pick<Backend, 'tasks' | 'locks' | 'messages' | 'sessions'>> {
  const { tasks, locks, messages, sessions } = backend;
  if (tasks === undefined) throw lacks(backend, 'tasks');
  if (locks === undefined) throw lacks(backend, 'locks');
  if (messages === undefined) throw lacks(backend, 'messages');
  if (sessions === undefined) throw lacks(backend, 'sessions');
  return { tasks, locks, messages, sessions };
}

function lacks(backend: Backend, port: string): CoordinationError {
  return new CoordinationError('NOT_SUPPORTED', `Backend ${backend.name} has no ${port}`, {
    hint: 'Combine it with one that has.',
  });
}

function refuseProblems(report: BackendReport, allowed: readonly string[], logger: Logger): void {
  for (const { code, severity, message, hint } of report.problems) {
    if (severity === 'refuse' && !allowed.includes(code)) {
      throw new CoordinationError('BACKEND_UNAVAILABLE', `${report.server}: ${message}`, {
        hint: `${hint} Or start with allow: ['${code}'].`,
      });
    }
    logger.warn(message, { code, hint });
  }
}
