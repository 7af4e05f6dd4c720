import { MemoryTaskStore } from '../backends/memory/task-store.ts';
import { standalone } from '../backends/memory/standalone.ts';
import { andThen, handled, isPromise } from '../core/awaitable.ts';
import {
  checkArray,
  checkFunction,
  checkId,
  checkObject,
  checkRecord,
  invalid,
  reading,
  unreadable,
} from '../core/check.ts';
import { CoordinationError, describe } from '../core/errors.ts';
import { type EventSink, silentSink } from '../core/events.ts';
import type { Operations } from '../core/operations.ts';
import { resolveOptions, type Resolved } from '../core/options.ts';
import type { Logger, Runtime } from '../core/ports/runtime.ts';
import type { Order } from '../core/ports/sessions.ts';
import type { Consequences, NewTask, TaskRecord, TaskStore } from '../core/ports/tasks.ts';
import type { Awaitable, Cursor } from '../core/ports/words.ts';
import { runNode } from '../core/run-node.ts';
import type { Agent, Run, RunHome, StopCause } from './agent.ts';
import { AgeSteps } from './age-steps.ts';
import { AgentRegistry } from './agent-registry.ts';
import { AgentPool } from './candidate-pool.ts';
import { Cancellation } from './cancellation.ts';
import { handlersOf, withCheckedInput } from './define-task.ts';
import { DeadlineHolds } from './deadline-holds.ts';
import { Dispatcher } from './dispatcher.ts';
import { Ending } from './ending.ts';
import { Executor } from './executor.ts';
import { ExternalTasks } from './external-tasks.ts';
import { gather } from './gather.ts';
import { adaptLegacyStrategy } from './legacy-strategy.ts';
import { takeLocks } from './locked-start.ts';
import { normaliseAgent, normaliseTask } from './normalise.ts';
import { obeyOrders } from './orders.ts';
import type { Outcome } from './outcome.ts';
import type { SchedulerParts } from './parts.ts';
import { Placement } from './placement.ts';
import { anyPreemptible, choosePreemption, lookAt } from './preemption.ts';
import { QueueAdmin } from './queue-admin.ts';
import { decideRetry, overrideRetry, resolveRetry, type RetryDecision, type RetryOptions } from './retry.ts';
import { RunHost } from './run-host.ts';
import { childWaits, RunWaits, slotWaits, waitsForSlot } from './run-waits.ts';
import { settingsOf } from './settings.ts';
import { Settler } from './settler.ts';
import { builtInStrategies } from './strategies/built-in.ts';
import type { LegacyStrategy, SchedulingStrategy } from './strategy.ts';
import { type FreshTask, Submission } from './submission.ts';
import { Sweeper } from './sweeper.ts';
import { TaskHistory } from './task-history.ts';
import { AwaitedHandles, DuplicateHandle, type HandleHost, LocalHandle } from './task-handle.ts';
import { outcomeOf, toView } from './task-view.ts';
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
  TaskSpec,
  TaskTypes,
  TaskView,
  TypeName,
  WaitReason,
} from './types.ts';
import { whyTask } from './why.ts';

/** Tasks stored in one call; between calls other work of the process gets its turn. */
const SUBMIT_CHUNK = 1_000;
/** Lanes of waiting tasks that preemption looks at, the most urgent first. */
const PREEMPTION_LANES = 1_000;
/** How long a shutdown waits for the store beyond the grace of handlers, ms. */
const STORE_MS = 5_000;
const UNENDED = ['waiting', 'scheduled', 'ready', 'claimed'] as const;

/** Options of a scheduler of its own; the manager's config object fits. */
export interface SchedulerOptions {
  readonly strategy?: string | SchedulingStrategy | LegacyStrategy;
  readonly maxConcurrentTasks?: number;
  readonly agentSlots?: number;
  readonly retry?: Partial<RetryOptions> | 'agentMesh' | false;
  readonly taskTimeoutMs?: number;
  readonly graceMs?: number;
  readonly preemption?: boolean;
  readonly keepMs?: number;
  readonly maxCrashes?: number;
  readonly historySize?: number;
  readonly maxRetries?: number;
  readonly retryDelay?: number;
}

export interface SchedulingMetrics {
  readonly agents: number;
  readonly slots: number;
  readonly running: number;
  /** Assigned and waiting in run queues. */
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
  readonly #options: Resolved<'scheduling'>;
  readonly #retry: RetryOptions;
  readonly #events: EventSink;
  readonly #runtime: Runtime;
  readonly #store: TaskStore;
  readonly #operations: () => Operations;
  readonly #parts: SchedulerParts;
  readonly #history: TaskHistory;
  readonly #agents: AgentRegistry;
  readonly #placement: Placement;
  readonly #settler: Settler;
  readonly #ending: Ending;
  readonly #executor: Executor;
  readonly #dispatcher: Dispatcher;
  readonly #sweeper: Sweeper;
  readonly #submission: Submission;
  readonly #cancellation: Cancellation;
  readonly #externals: ExternalTasks;
  readonly #host: HandleHost;
  readonly #waits = new RunWaits();
  readonly #subscriptions: Disposable[] = [];
  #idleWaiters: (() => void)[] = [];
  #idleCheck = false;
  #stopped = false;
  /** Nothing new is started. */
  #drained = false;
  /** The shutdown is over. */
  #ended = false;
  #stopping: Promise<void> | undefined;
  /** Looks at queues and changes what waits in them. */
  readonly queues: QueueAdmin;

  constructor(
    config: SchedulerOptions = {},
    events: EventSink = silentSink,
    logger?: Logger,
    parts: SchedulerParts = {},
  ) {
    this.#options = resolveOptions('scheduling', config);
    this.#retry = resolveRetry(config);
    this.#events = events;
    const alone = parts.store === undefined ? standalone({ logger, runtime: parts.runtime }) : undefined;
    this.#runtime = alone?.runtime ?? (parts.runtime as Runtime);
    this.#store = parts.store ?? new MemoryTaskStore((alone as NonNullable<typeof alone>).core);
    const operations = parts.operations ?? alone?.operations;
    this.#operations = () => operations as Operations;
    this.#parts = parts;
    const { clock } = this.#runtime;
    this.#history = new TaskHistory(this.#options.historySize);
    this.#agents = new AgentRegistry(clock, new AgentPool((type, agent) => this.#history.of(type, agent)));
    this.#placement = new Placement(
      { runtime: this.#runtime, events, agents: this.#agents, history: this.#history },
      builtInStrategies(this.#options.historySize),
    );
    this.#host = {
      clock,
      awaited: new AwaitedHandles(),
      holds: new DeadlineHolds(clock),
      cancelTask: (id, reason) => this.cancelTask(id, reason),
      status: (id) => this.#statusOf(id),
      why: (id) => this.why(id),
      lookUp: async (id) => this.#outcome(await this.#record(id), id),
    };
    const wake = (): void => this.#dispatcher.wake();
    const due = (inMs: number, hold: boolean): void => this.#sweeper.due(inMs, hold);
    const consequences = (answer: Consequences): void => this.#ending.consequences(answer);
    const stranded = (agentId: string): void => {
      if (this.#agents.hasLeft(agentId)) handled(this.#unpinLeft(agentId));
    };
    const drop = (run: Run, reason: string): void => run.claimed.home.drop(run, reason);
    const home: RunHome = {
      stop: (run, cause, reason) => this.#cancellation.stop(run, cause, reason),
      drop: (run, reason) => this.#cancellation.drop(run, reason),
    };
    const shared = { store: this.#store, operations: this.#operations, runtime: this.#runtime, events };
    this.#ending = new Ending({
      events,
      wake,
      due,
      observe: (run, ok, durationMs) => {
        this.#history.record(run.claim.body.type, run.agent?.id ?? '', ok, durationMs);
        this.#placement.observe(run, ok, durationMs);
      },
      ended: () => this.#checkIdle(),
      drop,
      stranded,
    });
    const settledAll = (answer: Consequences): void => {
      consequences(answer);
      this.#sweeper.tend();
    };
    this.#settler = new Settler({
      ...shared,
      hooks: {
        settled: (run, settlement, result, endedAt) => this.#ending.settled(run, settlement, result, endedAt),
        consequences: settledAll,
      },
    });
    this.#executor = new Executor({
      ...shared,
      settler: this.#settler,
      parts,
      context: new RunHost({
        runtime: this.#runtime,
        events,
        parts,
        waits: this.#waits,
        executor: () => this.#executor,
        submit: (spec) => this.#untyped.submitTask(spec),
        submitAll: (specs) => this.#untyped.submitTasks(specs),
      }),
      graceMs: this.#options.graceMs,
      taskTimeoutMs: this.#options.taskTimeoutMs,
      maxConcurrentTasks: this.#options.maxConcurrentTasks,
      decide: (run, error) => this.#decide(run, error),
      loaded: (agent, change) => this.#agents.loaded(agent, change),
      untilOver: (node) => parts.locks?.untilFinished(node) ?? this.#waits.untilOver(node),
      slotFreed: (agent, wasFull) => this.#dispatcher.freed(agent, wasFull),
    });
    const ageSteps = new AgeSteps(this.#store);
    this.#dispatcher = new Dispatcher({
      ...shared,
      ageStepMs: (queue) => ageSteps.of(queue),
      agents: this.#agents,
      executor: this.#executor,
      placement: this.#placement,
      settler: this.#settler,
      home,
      takeLocks: parts.locks === undefined ? undefined : (run) => this.#takeLocks(run),
      considerPreemption: this.#options.preemption ? () => this.#considerPreemption() : undefined,
    });
    this.#sweeper = new Sweeper({
      ...shared,
      apply: (answer) => {
        consequences(answer);
        // Hints may be lost: what others made ready is looked for now and then (G4).
        if (parts.onHint !== undefined) wake();
      },
      everyMs: parts.onHint === undefined ? Number.POSITIVE_INFINITY : 1_000,
    });
    this.#submission = new Submission({
      ...shared,
      host: this.#host,
      wake,
      due,
      consequences,
      ended: (task) => this.#ending.ended(task),
    });
    this.#cancellation = new Cancellation({
      ...shared,
      agents: this.#agents,
      executor: this.#executor,
      dispatcher: this.#dispatcher,
      settler: this.#settler,
      consequences,
    });
    this.#externals = new ExternalTasks({
      clock,
      executor: this.#executor,
      run: (record) => {
        const run = runOf(record);
        return run?.claimed.home === home ? run : undefined;
      },
      takeFromQueue: (run) => {
        if (run.agent?.dequeue(run) === true) this.#agents.queued(run.agent, -1);
      },
      record: (id) => this.#record(id),
    });
    this.queues = new QueueAdmin({
      ...shared,
      wake,
      due,
      consequences,
      paused: (queue) => this.#giveBack(queue),
      redecide: (ids) => this.#redecide(ids),
      configured: (queue, { ageStepMs }) => ageSteps.set(queue, ageStepMs),
      shrank: () => parts.waits?.sweep(),
      stranded,
    });
    if (parts.waits !== undefined) {
      this.#subscriptions.push(
        parts.waits.addSource(childWaits(this.#waits)),
        parts.waits.addSource(
          slotWaits(this.#waits, this.#agents, this.#store, () => this.#executor.free > 0),
        ),
      );
    }
    if (parts.onHint !== undefined) {
      this.#subscriptions.push(
        parts.onHint([{ about: 'tasks', queue: '*' }, { about: 'reconnected' }], wake),
      );
    }
    const { strategy } = this.#options;
    if (strategy !== undefined) this.#useStrategy(strategy as SchedulerOptions['strategy'] & {});
  }

  // ── strategies ──

  /** Adds a strategy, or replaces the one of that name. The predecessor's classes with `selectAgent` fit. @throws INVALID_ARGUMENT */
  registerStrategy(strategy: SchedulingStrategy | LegacyStrategy): void {
    checkObject(strategy, 'a strategy');
    reading('a strategy', () => this.#register(strategy));
  }

  #register(strategy: SchedulingStrategy | LegacyStrategy): void {
    checkId(strategy.name, 'the name of a strategy');
    if ('select' in strategy) {
      checkFunction(strategy.select, `select of strategy ${strategy.name}`);
      this.#placement.register(strategy);
    } else {
      checkFunction(strategy.selectAgent, `select of strategy ${strategy.name}`);
      this.#placement.register(
        adaptLegacyStrategy(strategy, {
          taskHistory: this.#history.types,
          wall: () => this.#runtime.clock.wall(),
          profile: (id) => this.#agents.get(id)?.facts.profile,
        }),
      );
    }
  }

  /** @throws UNKNOWN_STRATEGY */
  setDefaultStrategy(name: string): void {
    this.#placement.use(checkId(name, 'the name of a strategy'));
  }

  /** Which agent would get such a task now, why, and who else might; assigns nothing. */
  explain(task: Submittable<T>): ReturnType<Placement['explain']> {
    return this.#placement.explain(this.#normalise(task as TaskSpec));
  }

  // ── agents ──

  /** Adds an agent. @throws INVALID_ARGUMENT when the record is malformed or the id is taken */
  registerAgent(profile: AgentProfile<T>): AgentHandle {
    this.#refuseIfStopped();
    const facts = reading('an agent', () =>
      normaliseAgent(withDefinitions(profile as unknown as AgentProfile), this.#options.agentSlots),
    );
    const agent = this.#agents.register(facts);
    if (this.#events.wants('agent:spawned')) {
      this.#events.emit('agent:spawned', { agentId: agent.id, capabilities: facts.capabilities });
    }
    this.#watchSilence(agent);
    this.#dispatcher.freed(agent, true);
    return this.#handleOf(agent);
  }

  /**
   * Gives its tasks back: those that run are aborted and will be ready again, uncounted. Idempotent.
   * @throws UNKNOWN_AGENT; the reason of its own `signal`, once all else has left, when a handler of the agent calls it at its begin
   */
  async unregisterAgent(agentId: string, reason = 'unregistered'): Promise<void> {
    const agent = this.#agents.get(checkId(agentId, 'agentId'));
    if (agent === undefined) {
      if (this.#agents.hasLeft(agentId)) return;
      throw new CoordinationError('UNKNOWN_AGENT', `No agent ${JSON.stringify(agentId)} is registered`);
    }
    const { inside } = this.#executor;
    this.#agents.remove(agent);
    this.#stopAll(agent, 'agent-left', `agent ${agentId} left: ${reason}`);
    await this.#unpin(agentId);
    this.#events.emit('agent:terminated', { agentId, reason });
    this.#parts.waits?.sweep();
    await agent.untilIdle(inside);
    if (agent.isIdle) this.#agents.forget(agent);
    else handled(agent.untilIdle().then(() => this.#agents.forget(agent)));
    await this.#settler.untilIdle();
    this.#dispatcher.wake();
    // The caller's own task is among those that are stopped: it hears so here too, and goes on elsewhere.
    if (inside?.agent === agent && inside.facts.stopError !== undefined) throw inside.facts.stopError;
  }

  /** Whether the id may be given work: it never left, or was registered again. */
  isWelcome(agentId: string): boolean {
    return !this.#agents.hasLeft(agentId);
  }

  // ── tasks ──

  /**
   * Stores a task; resolves when it is stored, with its handle.
   * @throws INVALID_ARGUMENT, DEPENDENCY_CYCLE, IDEMPOTENCY_CONFLICT, QUEUE_FULL, STOPPED
   */
  submitTask<N extends TypeName<T>, O = T[N]['output']>(
    task: Submittable<T, N, O>,
  ): Promise<TaskHandle<NoInfer<O>>> {
    try {
      const stored = this.#submit(task) as Awaitable<TaskHandle<NoInfer<O>>>;
      return isPromise(stored) ? stored : Promise.resolve(stored);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Stores a task and waits for its result: `submitTask` and `result()` in one. @throws as both */
  runTask<N extends TypeName<T>, O = T[N]['output']>(task: Submittable<T, N, O>): Promise<NoInfer<O>> {
    try {
      const stored = this.#submit(task) as Awaitable<TaskHandle<NoInfer<O>>>;
      return isPromise(stored) ? stored.then((handle) => handle.result()) : stored.result();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Stores many, in order; they may depend on each other. All are checked before any is stored.
   * @throws as submitTask, for the first that was refused; the others are stored, the error's `handles` has theirs
   */
  async submitTasks<const L extends readonly unknown[]>(
    tasks: SubmittableList<T, L>,
  ): Promise<HandlesOf<T, L>> {
    this.#refuseIfStopped();
    const checked = await this.#checkAll(checkArray(tasks, 'tasks') as readonly TaskSpec[]);
    const handles: TaskHandle[] = [];
    let refused: CoordinationError | undefined;
    for (let i = 0; i < checked.length; i += SUBMIT_CHUNK) {
      if (i > 0) await this.#turn();
      const stored = this.#submission.enqueue(checked.slice(i, i + SUBMIT_CHUNK));
      for (const one of isPromise(stored) ? await stored : stored) {
        if (one instanceof CoordinationError) refused ??= one;
        else handles.push(one);
      }
    }
    if (refused !== undefined) throw Object.assign(refused, { handles });
    return handles as HandlesOf<T, L>;
  }

  /**
   * Gives a task to an agent: the named one, or the strategy's choice. Resolves when the assignment is recorded, or when it is known that
   * the task has to wait (for its dependencies, its time, a free agent); `task:assigned` then follows.
   * @throws UNKNOWN_AGENT for an agent that left, and as submitTask
   */
  async assignTask<N extends TypeName<T>, O = T[N]['output']>(
    task: Submittable<T, N, O>,
    agentId?: string,
  ): Promise<TaskHandle<NoInfer<O>>> {
    this.#refuseIfStopped();
    const spec = withCheckedInput(task as TaskSpec);
    const normal = this.#normalise(spec === undefined ? (task as TaskSpec) : await spec);
    if (agentId !== undefined) this.#agents.checkWelcome(checkId(agentId, 'agentId'));
    const pinned = agentId === undefined ? normal : { ...normal, agent: agentId };
    const handle = await this.#enqueue(pinned);
    if (agentId !== undefined) {
      if (this.#agents.hasLeft(agentId)) await this.#unpinLeft(agentId);
      else this.#agents.named(agentId);
    }
    this.#dispatcher.now();
    return handle as TaskHandle<NoInfer<O>>;
  }

  /** The answer of an external agent. @param claim from `task:assigned`; without it a late answer can't be told from a fresh one */
  async completeTask(taskId: string, result?: unknown, claim?: string): Promise<void> {
    await this.#externals.complete(checkId(taskId, 'taskId'), result, claim);
  }

  /** An external agent's failure; it is retried by the policy. */
  async failTask(taskId: string, error: unknown, claim?: string): Promise<void> {
    await this.#externals.fail(checkId(taskId, 'taskId'), error, claim);
  }

  /** Cancels a task with its sub-tasks; dependents follow their edge's policy. @throws UNKNOWN_TASK */
  async cancelTask(taskId: string, reason = 'cancelled'): Promise<CancelOutcome> {
    checkId(taskId, 'taskId');
    if (typeof reason !== 'string') throw invalid(`Expected reason to be a string, got ${describe(reason)}`);
    return this.#cancellation.cancel(taskId, reason.slice(0, 500));
  }

  /** Cancels everything that is assigned to an agent or runs there. Returns how many. */
  async cancelAgentTasks(agentId: string, reason = 'its agent’s tasks were cancelled'): Promise<number> {
    const ids = (await this.getAgentTasks(agentId)).map((task) => task.id);
    await Promise.all(ids.map((id) => this.cancelTask(id, reason)));
    return ids.length;
  }

  /** Gives everything that is assigned to an agent or runs there back to the queue, for any agent. Returns how many. */
  async rescheduleAgentTasks(agentId: string, reason = 'rescheduled'): Promise<number> {
    const agent = this.#agents.require(checkId(agentId, 'agentId'));
    const count = this.#stopAll(agent, 'agent-left', reason);
    await this.#unpin(agentId);
    this.#settler.flush();
    return count;
  }

  async getTask(taskId: string): Promise<TaskView | undefined> {
    const record = await this.#record(checkId(taskId, 'taskId'));
    return record === undefined ? undefined : toView(record, runOf(record));
  }

  /** A handle of a task that was submitted before, here or elsewhere. @throws UNKNOWN_TASK */
  async handle(taskId: string): Promise<TaskHandle> {
    const record = await this.#record(checkId(taskId, 'taskId'));
    if (record === undefined) throw unknownTask(taskId);
    return new DuplicateHandle(
      taskId,
      this.#host,
      record.local instanceof LocalHandle ? record.local : undefined,
    );
  }

  async getAgentTaskCount(agentId: string): Promise<number> {
    return (await this.getAgentTasks(agentId)).length;
  }

  /** What is assigned to an agent or runs there. An unknown agent has nothing. */
  async getAgentTasks(agentId: string): Promise<TaskView[]> {
    const agent = this.#agents.get(checkId(agentId, 'agentId'));
    if (agent === undefined) return [];
    const ids = [...this.#unstarted(agent), ...agent.runs()].map((run) => run.id);
    if (ids.length === 0) return [];
    const records = await this.#store.get(ids);
    return records.filter((record) => record !== undefined).map((record) => toView(record, runOf(record)));
  }

  /** Waits for tasks until all have ended, enough succeeded or the time is over; see {@link GatherOptions}. */
  gather<H extends TaskHandle>(
    handles: readonly H[],
    options: GatherOptions = {},
  ): Promise<Gathered<ResultOf<H>>> {
    return gather(handles as readonly TaskHandle<ResultOf<H>>[], options, this.#runtime.clock);
  }

  /** Why a task isn't running: reasons, each with the reason of the one before. @throws UNKNOWN_TASK */
  async why(taskId: string): Promise<WaitReason> {
    const reason = await whyTask(checkId(taskId, 'taskId'), {
      record: (id) => this.#record(id),
      run: runOf,
      agents: () => this.#agents.all(),
      queue: async (name) => (await this.#store.counts([name])).queues[0],
      claimedOf: (queue, group, most) => this.#claimedOf(queue, group, most),
      freeInProcess: () => this.#executor.free,
      strategy: () => this.#placement.current.name,
      drained: () => this.#drained,
      breakerMs: (name) => this.#parts.breaker?.(name).closedInMs() ?? 0,
      elsewhere: (id) => this.#parts.locks?.why(runNode(id)) ?? [],
      now: () => this.#runtime.clock.wall() * 1_000,
      mono: () => this.#runtime.clock.mono(),
    });
    if (reason === undefined) throw unknownTask(taskId);
    return reason;
  }

  getSchedulingMetrics(): SchedulingMetrics {
    const agents = [...this.#agents.all()];
    return {
      agents: agents.length,
      slots: agents.reduce((sum, agent) => sum + (Number.isFinite(agent.slots) ? agent.slots : 0), 0),
      running: this.#executor.running,
      queued: this.#agents.queuedTotal,
      decisions: this.#placement.decisions,
      strategyFailures: this.#placement.failures,
      staleClaims: this.#ending.staleClaims,
      zombies: this.#executor.zombies,
      strategy: this.#placement.current.name,
    };
  }

  // ── for the manager's other parts ──

  /** The load of each agent that was registered, and what its unstarted tasks need; for the balancer. */
  loads(): readonly AgentLoadView[] {
    const registered = [...this.#agents.all()].filter((agent) => Number.isFinite(agent.slots));
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
    for (const agent of this.#agents.all()) {
      if (!Number.isFinite(agent.slots)) continue;
      running += agent.running;
      slots += agent.slots;
    }
    return { running, slots };
  }

  /** The priority of an agent; 0 for one that isn't registered. */
  agentPriority(agentId: string): number {
    return this.#agents.get(agentId)?.facts.priority ?? 0;
  }

  /**
   * Gives an unended task to an agent, wherever it stands: one that waits is pinned to it, one that runs elsewhere is stopped and runs again
   * there, uncounted. @throws UNKNOWN_TASK, UNKNOWN_AGENT
   */
  async moveTask(taskId: string, agentId: string): Promise<void> {
    const agent = this.#agents.named(checkId(agentId, 'agentId'));
    const record = await this.#record(checkId(taskId, 'taskId'));
    if (record === undefined) throw unknownTask(taskId);
    const run = runOf(record) ?? this.#executor.externals.get(taskId);
    if (run?.agent === agent) return;
    if (run !== undefined) {
      const stored = run.untilSettled();
      run.extras.moveTo = agentId;
      run.claimed.home.stop(run, 'agent-left', `moved to ${agentId}`);
      await stored;
      this.#agents.checkWelcome(agentId);
    }
    const answer = await this.#operations().run((op) =>
      this.#store.revise(op, {
        filter: { ids: [taskId] },
        revision: { set: 'agent', agent: agentId },
        limit: 1,
      }),
    );
    this.#ending.consequences(answer);
    this.#dispatcher.wake();
  }

  /** Moves unstarted tasks from one run queue to another: those the target may run, the last to start first. Returns their ids. */
  steal(from: string, to: string, count: number, maxMoves = 3): readonly string[] {
    const source = this.#agents.get(from);
    const target = this.#agents.get(to);
    if (source === undefined || target === undefined || target.gone || target.draining || source === target)
      return [];
    const moved: string[] = [];
    for (const run of source.queue.toReversed()) {
      if (moved.length >= count) break;
      if (run.settings.only === true || run.facts.moves >= maxMoves || !canTake(target, run)) continue;
      // A listener that was told of the last move may have changed the queue.
      if (!source.dequeue(run)) continue;
      this.#agents.queued(source, -1);
      run.extras.moves += 1;
      moved.push(run.id);
      this.#dispatcher.pass(run, target, `from ${from}`);
    }
    return moved;
  }

  /** The runs of an agent as nodes of the wait-for graph. */
  runsOf(agentId: string): readonly string[] {
    const agent = this.#agents.get(agentId);
    return agent === undefined ? [] : [...agent.runs()].map((run) => run.node);
  }

  /** Stops what the store wants stopped: cancelled elsewhere, or taken over by another process. @throws INVALID_ARGUMENT */
  obey(given: readonly Order[]): void {
    const list = checkArray(given, 'the orders') as readonly Order[];
    const orders = reading('the orders', () => Array.from(list, (order) => checkRecord(order, 'an order')));
    obeyOrders(orders, this.#allRuns(), {
      stop: (run, cause, reason) => this.#cancellation.stop(run, cause, reason),
      drop: (run, reason) => this.#cancellation.drop(run, reason),
    });
    if (orders.some(({ kind }) => kind === 'drain')) handled(this.drain());
  }

  *#allRuns(): Generator<Run> {
    yield* this.#dispatcher.parked;
    yield* this.#dispatcher.locking;
    for (const agent of this.#agents.busy()) {
      yield* agent.queue;
      yield* agent.runs();
    }
  }

  /** Looks for work: the session is another one. */
  wake(): void {
    this.#dispatcher.wake();
    this.#sweeper.due(0, false);
  }

  /** How long the store's chores are overdue, ms. */
  overdueMs(): number {
    return this.#sweeper.overdueMs();
  }

  /** Has the store do its chores now. */
  sweep(): void {
    this.#sweeper.sweep();
  }

  // ── idleness and end ──

  /**
   * Resolves when every task has ended, retries and delayed ones included, or at the end of a shutdown.
   * @throws NOT_SUPPORTED when a handler calls it at its begin: its own task would have to end first
   */
  onIdle(): Promise<void> {
    if (this.#ended) return Promise.resolve();
    const { inside } = this.#executor;
    if (inside !== undefined) {
      return Promise.reject(
        new CoordinationError('NOT_SUPPORTED', `Task ${inside.id} waits for all tasks, itself among them`, {
          hint: 'Wait for the tasks it submitted instead: `context.runTask`, or `gather` of their handles.',
          retryable: false,
        }),
      );
    }
    return new Promise((resolve) => {
      this.#idleWaiters.push(resolve);
      this.#checkIdle();
    });
  }

  /**
   * Starts nothing new; resolves when what runs has ended, the task whose handler calls it at its begin left out. Tasks that wait stay in
   * the store.
   */
  drain(): Promise<void> {
    return this.#drain(this.#executor.inside);
  }

  async #drain(inside?: Run): Promise<void> {
    this.#drained = true;
    this.#dispatcher.stop();
    for (const agent of this.#agents.all()) this.#releaseQueue(agent, 'draining');
    for (const run of [...this.#dispatcher.parked, ...this.#dispatcher.locking])
      this.#cancellation.stop(run, 'shutdown-release', 'draining');
    this.#executor.hurry();
    await this.#dispatcher.untilQuiet();
    await Promise.all(this.#agents.busy().map((agent) => agent.untilIdle(inside)));
    this.#executor.hurry();
    await this.#settler.untilIdle();
  }

  /**
   * Drains for `drainMs`, then aborts what still runs: `'abort'` counts the attempt as failed, `'release'` gives it back uncounted. All
   * open `result()` promises settle, with STOPPED where the task hasn't ended. Idempotent.
   */
  async shutdown(
    options: { readonly drainMs?: number; readonly then?: 'abort' | 'release' } = {},
  ): Promise<void> {
    this.#stopping ??= this.#stop(resolveOptions('shutdown', options, true));
    await this.#stopping;
  }

  async #stop({ drainMs, then }: Resolved<'shutdown'>): Promise<void> {
    this.#stopped = true;
    const drained = this.#drain();
    if (!(await this.#within(drained, drainMs))) {
      const cause: StopCause = then === 'abort' ? 'shutdown-abort' : 'shutdown-release';
      for (const agent of this.#agents.all())
        for (const run of agent.runs()) this.#executor.stop(run, cause, 'the mesh is shutting down');
      if (!(await this.#within(drained, this.#options.graceMs + STORE_MS)))
        this.#runtime.logger.warn('The task store does not answer; what ended last may run again');
    }
    this.#sweeper.stop();
    this.#ended = true;
    for (const subscription of this.#subscriptions) subscription[Symbol.dispose]();
    this.#host.awaited.settleAll(
      (id): Outcome => ({ state: 'cancelled', error: stopped(`Task ${id} had not ended`) }),
    );
    for (const wake of this.#idleWaiters.splice(0)) wake();
  }

  #within(work: Promise<void>, ms: number): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const timer = this.#runtime.clock.after(ms, () => resolve(false), true);
      work.then(
        () => {
          timer.cancel();
          resolve(true);
        },
        (error: unknown) => {
          timer.cancel();
          reject(error);
        },
      );
    });
  }

  /** All, before any is stored: one bad record must not leave half of its batch behind. */
  async #checkAll(given: readonly TaskSpec[]): Promise<readonly FreshTask[]> {
    const checked: FreshTask[] = [];
    const tasks = reading('tasks', () => Array.from(given));
    for (const [i, task] of tasks.entries()) {
      if (i > 0 && i % SUBMIT_CHUNK === 0) await this.#turn();
      const spec = withCheckedInput(task);
      const normal = this.#normalise(spec === undefined ? task : await spec);
      checked.push({ task: normal, isNew: normal.id === this.#madeId });
    }
    return checked;
  }

  /** Lets other work of the process have its turn. */
  #turn(): Promise<void> {
    return new Promise((resolve) => this.#runtime.clock.soon(resolve));
  }

  #submit(task: object): Awaitable<TaskHandle> {
    this.#refuseIfStopped();
    const checked = withCheckedInput(task as TaskSpec);
    return checked === undefined
      ? this.#enqueue(this.#normalise(task as TaskSpec))
      : checked.then((spec) => this.#enqueue(this.#normalise(spec)));
  }

  /** @param task as it was normalised last */
  #enqueue(task: NewTask): Awaitable<TaskHandle> {
    return this.#submission.enqueueOne(task, task.id === this.#madeId);
  }

  #normalise(spec: TaskSpec): ReturnType<typeof normaliseTask> {
    try {
      return normaliseTask(spec, this.#normaliseFacts);
    } catch (error) {
      throw unreadable('a task', error);
    }
  }

  get #normaliseFacts(): Parameters<typeof normaliseTask>[1] {
    this.#facts ??= {
      ids: { next: () => (this.#madeId = this.#runtime.ids.next()) },
      limits: { maxCrashes: this.#options.maxCrashes, keepMs: this.#options.keepMs },
      wall: () => this.#runtime.clock.wall(),
      localFor: (id) => new LocalHandle(id, this.#host),
    };
    return this.#facts;
  }
  #facts: Parameters<typeof normaliseTask>[1] | undefined;
  /** The id made last. */
  #madeId = '';

  #useStrategy(strategy: string | SchedulingStrategy | LegacyStrategy): void {
    if (typeof strategy !== 'string') this.registerStrategy(strategy);
    this.setDefaultStrategy(typeof strategy === 'string' ? strategy : strategy.name);
  }

  #decide(run: Run, error: unknown): RetryDecision {
    const policy = overrideRetry(this.#retry, run.settings.retry);
    const report = (thrown: unknown): void => {
      this.#runtime.logger.warn('retry.decide failed', { message: describe(thrown) });
    };
    return decideRetry(policy, { attempt: run.claim.attempt, error }, this.#runtime.random, report);
  }

  #takeLocks(run: Run): void {
    takeLocks(run, {
      parts: this.#parts,
      settler: this.#settler,
      decide: (one, error) => this.#decide(one, error),
      place: (one) => {
        this.#dispatcher.placeLocked(one);
        if (!waitsForSlot(one)) return;
        // It holds locks and wants a slot: whoever has the slot may want the locks.
        this.#waits.addLocked(one);
        this.#parts.waits?.entered(one.node);
      },
      lost: (one, reason) => this.#cancellation.stop(one, 'lock-lost', reason.message, reason),
      done: () => {
        this.#dispatcher.locking.delete(run);
        this.#dispatcher.wake();
      },
    });
  }

  #considerPreemption(): void {
    if (!anyPreemptible(this.#agents.all())) return;
    const agents = [...this.#agents.all()];
    // The first of each lane will do: who can't run that one can't run those behind it.
    const page = { limit: PREEMPTION_LANES, order: 'queue', each: lookAt(agents) } as const;
    const found = andThen(this.#store.list({ state: ['ready'] }, page), ({ items }) => {
      if (items.length === 0) return undefined;
      const names = [...new Set(items.map(({ body }) => body.queue))];
      return andThen(this.#store.counts(names), ({ queues }) => {
        const choice = choosePreemption(items, agents, queues);
        if (choice === undefined) return;
        choice.victim.extras.preemptedBy = choice.by;
        this.#executor.stop(choice.victim, 'preempt', choice.by);
      });
    });
    if (isPromise(found)) handled(found);
  }

  #watchSilence(agent: Agent): void {
    const { silenceMs } = agent.facts;
    if (!agent.external || silenceMs === Number.POSITIVE_INFINITY) return;
    const { clock } = this.#runtime;
    const look = (): void => {
      if (agent.gone) return;
      const leftMs = agent.heardAt + silenceMs - clock.mono();
      if (leftMs > 0) clock.after(leftMs, look);
      else handled(this.unregisterAgent(agent.id, `silent for ${silenceMs} ms`));
    };
    clock.after(silenceMs, look);
  }

  #stopAll(agent: Agent, cause: StopCause, reason: string): number {
    const runs = [...this.#unstarted(agent), ...agent.runs()];
    for (const run of runs) this.#cancellation.stop(run, cause, reason);
    return runs.length;
  }

  #releaseQueue(agent: Agent, reason: string): void {
    for (const run of this.#unstarted(agent)) this.#cancellation.stop(run, 'shutdown-release', reason);
  }

  /** What is assigned to an agent and waits there for a slot or its locks. */
  #unstarted(agent: Agent): readonly Run[] {
    const { locking } = this.#dispatcher;
    return [...agent.queue, ...[...locking].filter((run) => run.agent === agent)];
  }

  /** Nobody claims for an agent that left: what came to be pinned to it meanwhile may go to any. */
  async #unpinLeft(agentId: string): Promise<void> {
    if (this.#agents.get(agentId) !== undefined) return;
    await this.#unpin(agentId);
    this.#dispatcher.wake();
  }

  /** Tasks that wait for this agent alone may go to any, unless they are only for it. */
  async #unpin(agentId: string): Promise<void> {
    let after: Cursor | undefined;
    do {
      const page = await this.#store.list(
        { agent: agentId, state: ['waiting', 'scheduled', 'ready'] },
        { limit: 1_000, ...(after === undefined ? {} : { after }) },
      );
      const ids = page.items.filter((record) => settingsOf(record.body).only !== true).map(({ id }) => id);
      if (ids.length > 0) {
        const revision = { set: 'agent', agent: null } as const;
        const answer = await this.#operations().run((op) =>
          this.#store.revise(op, { filter: { ids, agent: agentId }, revision, limit: ids.length }),
        );
        this.#ending.consequences(answer);
        this.#dispatcher.wake();
      }
      after = page.next;
    } while (after !== undefined);
  }

  /** Gives back what was taken from a queue and hasn't begun. */
  #giveBack(queue: string): void {
    const { parked, locking } = this.#dispatcher;
    const queued = [...this.#agents.all()].flatMap((agent) => agent.queue);
    for (const run of [...parked, ...locking, ...queued])
      if (run.claim.body.queue === queue)
        this.#cancellation.stop(run, 'shutdown-release', `queue ${queue} is paused`);
  }

  /** What is claimed here and hasn't begun goes back, to come again as its record says now. Resolves to how many. */
  async #redecide(ids: ReadonlySet<string>): Promise<number> {
    const { parked, locking } = this.#dispatcher;
    const queued = [...this.#agents.all()].flatMap((agent) => agent.queue);
    const runs = [...queued, ...parked, ...locking].filter((run) => ids.has(run.id));
    const stored = runs.map((run) => run.untilSettled());
    for (const run of runs) this.#cancellation.stop(run, 'shutdown-release', 'it was changed');
    this.#settler.flush();
    const results = await Promise.all(stored);
    return results.filter((result) => result?.status === 'settled').length;
  }

  #handleOf(agent: Agent): AgentHandle {
    return {
      id: agent.id,
      drain: async () => {
        this.#agents.drain(agent);
        const { inside } = this.#executor;
        this.#releaseQueue(agent, 'draining');
        this.#parts.waits?.sweep();
        await agent.untilIdle(inside);
      },
      leave: (reason) => this.unregisterAgent(agent.id, reason),
      beat: () => {
        agent.heardAt = this.#runtime.clock.mono();
      },
      [Symbol.asyncDispose]: () => this.unregisterAgent(agent.id),
    };
  }

  #record(id: string): Promise<TaskRecord | undefined> {
    const records: Awaitable<readonly (TaskRecord | undefined)[]> = this.#store.get([id]);
    return isPromise(records) ? records.then(([record]) => record) : Promise.resolve(records[0]);
  }

  async #claimedOf(queue: string, group: string, most: number): Promise<number> {
    let found = 0;
    let after: Cursor | undefined;
    do {
      const page = await this.#store.list(
        { queue, group, state: ['claimed'] },
        { limit: 1_000, ...(after === undefined ? {} : { after }) },
      );
      found += page.items.length;
      after = page.next;
    } while (after !== undefined && found < most);
    return found;
  }

  async #statusOf(id: string): Promise<TaskView> {
    const view = await this.getTask(id);
    if (view === undefined) throw unknownTask(id);
    return view;
  }

  #outcome(record: TaskRecord | undefined, id: string): Outcome | undefined {
    if (this.#stopped) return { state: 'cancelled', error: stopped(`Task ${id} is out of reach`) };
    if (record === undefined) throw unknownTask(id);
    return outcomeOf(record);
  }

  #checkIdle(): void {
    if (this.#idleWaiters.length === 0 || this.#idleCheck) return;
    this.#idleCheck = true;
    const look = async (): Promise<void> => {
      await this.#settler.untilIdle();
      this.#idleCheck = false;
      const { queues } = await this.#store.counts();
      if (queues.some(({ states }) => UNENDED.some((state) => states[state] > 0))) return;
      for (const wake of this.#idleWaiters.splice(0)) wake();
    };
    handled(look());
  }

  /** The same, for those inside that know no types. */
  get #untyped(): AdvancedTaskScheduler {
    return this as unknown as AdvancedTaskScheduler;
  }

  #refuseIfStopped(): void {
    if (this.#stopped) throw stopped('The scheduler has been shut down');
  }
}

/** The handlers of an agent's task definitions beside its own. */
function withDefinitions(profile: AgentProfile): AgentProfile {
  checkObject(profile, 'an agent');
  const { tasks, handler } = profile;
  if (tasks === undefined) return profile;
  if (typeof handler === 'function') {
    throw invalid('An agent with task definitions takes no handler for all types', 'Give handlers by type.');
  }
  return { ...profile, handler: { ...handlersOf(tasks), ...handler } };
}

function runOf(record: TaskRecord): Run | undefined {
  return record.local instanceof LocalHandle ? record.local.run : undefined;
}

function canTake(agent: Agent, run: Run): boolean {
  const { capabilities, types } = agent.facts;
  const { body } = run.claim;
  if (types !== undefined && !types.includes(body.type)) return false;
  if (run.settings.exclude?.includes(agent.id) === true) return false;
  return body.capabilities.every((name) => capabilities.includes(name));
}

function unknownTask(id: string): CoordinationError {
  return new CoordinationError('UNKNOWN_TASK', `No task ${JSON.stringify(id)} is known`, {
    hint: 'It was never submitted, or its time to be kept is over.',
  });
}

function stopped(message: string): CoordinationError {
  return new CoordinationError('STOPPED', `${message}: the scheduler was shut down`);
}
