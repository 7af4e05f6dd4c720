import { standalone } from '../backends/memory/standalone.ts';
import { MemoryTaskStore } from '../backends/memory/task-store.ts';
import { describe } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import type { Operations } from '../core/operations.ts';
import { resolveOptions, type Resolved } from '../core/options.ts';
import type { Logger, Runtime } from '../core/ports/runtime.ts';
import type { Consequences, TaskStore } from '../core/ports/tasks.ts';
import { runNode } from '../core/run-node.ts';
import { AgeSteps } from './age-steps.ts';
import { AgentAdmin } from './agent-admin.ts';
import { AgentRegistry } from './agent-registry.ts';
import type { Run, RunHome } from './agent.ts';
import { AwaitedChildren } from './awaited-children.ts';
import { Cancellation } from './cancellation.ts';
import { AgentPool } from './candidate-pool.ts';
import { DeadlineHolds } from './deadline-holds.ts';
import { Dispatcher } from './dispatcher.ts';
import { Ending } from './ending.ts';
import { Executor } from './executor.ts';
import { ExternalTasks } from './external-tasks.ts';
import { FleetStealing } from './fleet-stealing.ts';
import { Idleness } from './idleness.ts';
import { Intake } from './intake.ts';
import { takeLocks } from './locked-start.ts';
import type { Company, SchedulerParts } from './parts.ts';
import type { Peer } from './peers.ts';
import { Placement } from './placement.ts';
import { makeWay } from './preemption.ts';
import { QueueAdmin } from './queue-admin.ts';
import { Recovery } from './recovery.ts';
import { Reassignment } from './reassignment.ts';
import { decideRetry, overrideRetry, resolveRetry, type RetryDecision, type RetryOptions } from './retry.ts';
import { RunHost } from './run-host.ts';
import { childWaits, RunWaits, slotWaits, waitsForSlot } from './run-waits.ts';
import type { SchedulerOptions } from './scheduler-options.ts';
import { Settler } from './settler.ts';
import { Shutdown, stopped } from './shutdown.ts';
import { echoing } from './echoing-store.ts';
import { LocalHandles } from './local-handles.ts';
import { OutcomePoll } from './outcome-poll.ts';
import { builtInStrategies } from './strategies/built-in.ts';
import { SlotLoans } from './slot-loans.ts';
import { Slots } from './slots.ts';
import { Submission } from './submission.ts';
import { SurvivorWaits } from './survivor-waits.ts';
import { Sweeper } from './sweeper.ts';
import { type AwaitedElsewhere, AwaitedHandles, type HandleHost } from './task-handle.ts';
import { Transactions } from './transactions.ts';
import { TaskHistory } from './task-history.ts';
import { runOf, TaskLookup, unknownTask } from './task-lookup.ts';

/**
 * What a scheduler is made of, each part wired to those it needs. A task goes from the intake through the submission into the store, by a
 * claim of the dispatcher to the agent that the placement chooses, there through the executor, and by the settler back into the store; the
 * ending tells of it.
 */
export class Engine {
  readonly options: Resolved<'scheduling'>;
  readonly events: EventSink;
  readonly runtime: Runtime;
  readonly store: TaskStore;
  readonly operations: () => Operations;
  /** Most items of one call to a store across a network; absent: it is in this process. */
  readonly farBatch: number | undefined;
  readonly company: Company;
  readonly parts: SchedulerParts;
  readonly history: TaskHistory;
  readonly agents: AgentRegistry;
  readonly placement: Placement;
  readonly waits = new RunWaits();
  readonly host: HandleHost;
  readonly ending: Ending;
  readonly settler: Settler;
  readonly slots: Slots;
  readonly loans: SlotLoans;
  readonly survivors: SurvivorWaits;
  readonly executor: Executor;
  readonly dispatcher: Dispatcher;
  readonly sweeper: Sweeper;
  readonly submission: Submission;
  readonly transactions: Transactions;
  readonly cancellation: Cancellation;
  readonly admin: AgentAdmin;
  readonly externals: ExternalTasks;
  readonly lookup: TaskLookup;
  readonly reassignment: Reassignment;
  readonly recovery: Recovery;
  readonly idleness: Idleness;
  readonly shutdown: Shutdown;
  readonly intake: Intake;
  readonly queues: QueueAdmin;
  readonly #retry: RetryOptions;
  readonly #ageSteps: AgeSteps;
  readonly #locals: LocalHandles | undefined;
  readonly #subscriptions: Disposable[] = [];
  /** Tasks that became ready in this turn of the loop. */
  #toLook: string[] = [];

  constructor(
    config: SchedulerOptions,
    events: EventSink,
    logger: Logger | undefined,
    parts: SchedulerParts,
  ) {
    this.options = resolveOptions('scheduling', config);
    this.#retry = resolveRetry(config);
    this.events = events;
    this.parts = parts;
    const alone = parts.store === undefined ? standalone({ logger, runtime: parts.runtime }) : undefined;
    this.runtime = alone?.runtime ?? (parts.runtime as Runtime);
    const store = parts.store ?? new MemoryTaskStore((alone as NonNullable<typeof alone>).core);
    // Only a store in the same process can echo the objects that it is given.
    this.#locals = parts.capabilities?.encoding === 'json' ? new LocalHandles(() => this.host) : undefined;
    const most = parts.capabilities?.maxBatch ?? Number.POSITIVE_INFINITY;
    this.store = this.#locals === undefined ? store : echoing(store, this.#locals, most);
    const operations = parts.operations ?? alone?.operations;
    this.operations = () => operations as Operations;
    this.farBatch = parts.capabilities?.roundTrip === 'network' ? parts.capabilities.maxBatch : undefined;
    this.company = this.farBatch !== undefined ? 'far' : parts.onHint === undefined ? 'alone' : 'shared';
    const { clock } = this.runtime;
    this.#ageSteps = new AgeSteps(this.store);
    this.history = new TaskHistory(this.options.historySize);
    this.agents = new AgentRegistry(
      clock,
      new AgentPool((type, agent) => this.history.of(type, agent)),
      this.company,
    );
    this.placement = new Placement(this, builtInStrategies(this.options.historySize));
    this.host = this.#makeHost();
    this.ending = this.#makeEnding();
    this.settler = this.#makeSettler();
    this.slots = new Slots({
      maxConcurrentTasks: this.options.maxConcurrentTasks,
      loaded: (agent, change) => this.agents.loaded(agent, change),
      slotFreed: (agent, wasFull) => this.dispatcher.freed(agent, wasFull),
    });
    this.loans = new SlotLoans(this.slots, this.waits, clock, parts.waits);
    this.survivors = new SurvivorWaits(clock, {
      untilOver: (node) => parts.locks?.untilFinished(node) ?? this.waits.untilOver(node),
      isAwaited: (taskId) => this.waits.awaits(taskId),
      isBehind: (taskId, otherId) => this.lookup.isBehind(taskId, otherId),
    });
    const { store: tasks, operations: ops, wake } = this;
    this.transactions = new Transactions({ store: tasks, operations: ops, clock, wake });
    this.executor = this.#makeExecutor();
    this.dispatcher = this.#makeDispatcher();
    this.sweeper = this.#makeSweeper();
    this.submission = new Submission({
      ...this.#sinks,
      farBatch: this.farBatch,
      ordered: this.parts.capabilities?.ordered === true,
      host: this.host,
      ended: (task) => this.ending.ended(task),
    });
    this.cancellation = new Cancellation(this);
    this.admin = new AgentAdmin(this);
    this.lookup = new TaskLookup(this);
    this.externals = this.#makeExternals();
    this.reassignment = new Reassignment(this);
    this.recovery = new Recovery(this);
    this.idleness = new Idleness(this);
    this.shutdown = new Shutdown(this);
    this.intake = new Intake(this);
    this.queues = this.#makeQueues();
    this.#subscribe();
  }

  /** Something may be claimable: look. */
  readonly wake = (): void => this.dispatcher.wake();

  /** What a call set in motion beside its own items. */
  readonly consequences = (answer: Consequences): void => this.ending.consequences(answer);

  /** Ends what is claimed here, and nowhere else. */
  readonly home: RunHome = {
    stop: (run, cause, reason) => this.cancellation.stop(run, cause, reason),
    drop: (run, reason) => this.cancellation.drop(run, reason),
  };

  /** Nothing runs any more, or nothing more can be done about it: everybody who waits hears so. */
  readonly over = (): void => {
    this.sweeper.stop();
    for (const subscription of this.#subscriptions) subscription[Symbol.dispose]();
    this.host.awaited.settleAll((id) => ({ state: 'cancelled', error: stopped(`Task ${id} had not ended`) }));
    this.idleness.end();
  };

  /** What most parts tell their results to. */
  get #sinks(): Pick<Engine, 'store' | 'operations' | 'runtime' | 'events' | 'wake' | 'consequences'> & {
    readonly due: (inMs: number, hold: boolean) => void;
  } {
    const { store, operations, runtime, events, wake, consequences } = this;
    const due = (inMs: number, hold: boolean): void => this.sweeper.due(inMs, hold);
    return { store, operations, runtime, events, wake, consequences, due };
  }

  #makeHost(): HandleHost {
    const { clock } = this.runtime;
    return {
      clock,
      awaited: new AwaitedHandles(this.#makeElsewhere()),
      holds: new DeadlineHolds(clock),
      cancelTask: (id, reason) => this.cancellation.cancel(id, reason),
      status: (id) => this.lookup.status(id),
      why: (id) => this.lookup.why(id),
      lookUp: (id) => this.lookup.outcome(id),
    };
  }

  #makeElsewhere(): AwaitedElsewhere | undefined {
    const locals = this.#locals;
    if (locals === undefined) return undefined;
    const poll = new OutcomePoll({
      clock: this.runtime.clock,
      store: this.store,
      forgotten: (id) => ({ state: 'cancelled', error: unknownTask(id) }),
    });
    return {
      add(handle) {
        locals.awaited(handle);
        poll.add(handle);
      },
      remove: (handle) => poll.remove(handle),
    };
  }

  #makeEnding(): Ending {
    const { events, wake, due } = this.#sinks;
    return new Ending({
      events,
      wake,
      due,
      observe: (run, ok, durationMs) => {
        this.history.record(run.claim.body.type, run.agent?.id ?? '', ok, durationMs);
        this.placement.observe(run, ok, durationMs);
        this.dispatcher.ended(durationMs);
      },
      readied: (taskId) => this.#readied(taskId),
      ended: () => this.idleness.look(),
      drop: (run, reason) => run.claimed.home.drop(run, reason),
      stranded: (agentId) => this.admin.stranded(agentId),
    });
  }

  #makeSettler(): Settler {
    return new Settler({
      ...this.#sinks,
      farBatch: this.farBatch,
      hooks: {
        settled: (run, settlement, result, endedAt) => this.ending.settled(run, settlement, result, endedAt),
        consequences: (answer) => {
          this.ending.consequences(answer);
          this.sweeper.tend();
        },
      },
    });
  }

  #makeExecutor(): Executor {
    const { parts, runtime, events, settler, slots, loans, survivors } = this;
    return new Executor({
      ...this.#sinks,
      ...this.options,
      settler,
      slots,
      loans,
      survivors,
      parts,
      context: new RunHost({
        runtime,
        events,
        parts,
        loans,
        children: new AwaitedChildren(this),
        submit: async (spec) => this.intake.submit(spec),
        submitAll: (specs) => this.intake.submitAll(specs),
        transactions: this.transactions,
      }),
      decide: (run, error) => this.#decide(run, error),
    });
  }

  #makeDispatcher(): Dispatcher {
    const { agents, executor, slots, loans, placement, settler, home, parts } = this;
    const stealing = new FleetStealing({
      ...this.#sinks,
      peers: parts.peers,
      take: (answer) => this.dispatcher.takeStolen(answer),
    });
    return new Dispatcher({
      ...this.#sinks,
      farBatch: this.farBatch,
      prefetch: this.options.prefetch,
      starved: (request) => stealing.starved(request),
      fed: () => stealing.fed(),
      ageStepMs: (queue) => this.#ageSteps.of(queue),
      agents,
      executor,
      slots,
      loans,
      placement,
      settler,
      home,
      takeLocks: parts.locks === undefined ? undefined : (run) => this.#takeLocks(run),
      considerPreemption: this.options.preemption ? () => this.#considerPreemption() : undefined,
    });
  }

  #makeSweeper(): Sweeper {
    const { onHint } = this.parts;
    return new Sweeper({
      ...this.#sinks,
      apply: (answer) => {
        this.ending.consequences(answer);
        if (answer.deadSessions > 0) this.recovery.recover();
        if (onHint === undefined) return;
        // Hints may be lost, and of ends there are none: what others made ready or ended is looked for now and then (G4).
        this.wake();
        this.idleness.look();
      },
      farBatch: this.farBatch,
      company: this.company,
    });
  }

  #makeExternals(): ExternalTasks {
    return new ExternalTasks({
      clock: this.runtime.clock,
      executor: this.executor,
      run: (record) => {
        const run = runOf(record);
        return run?.claimed.home === this.home ? run : undefined;
      },
      takeFromQueue: (run) => {
        if (run.agent?.dequeue(run) === true) this.agents.queued(run.agent, -1);
      },
      record: (id) => this.lookup.record(id),
    });
  }

  #makeQueues(): QueueAdmin {
    return new QueueAdmin({
      ...this.#sinks,
      farBatch: this.farBatch,
      paused: (queue) => this.reassignment.giveBack(queue),
      redecide: (ids) => this.reassignment.redecide(ids),
      configured: (queue, { ageStepMs }) => this.#ageSteps.set(queue, ageStepMs),
      shrank: () => this.parts.waits?.sweep(),
      stranded: (agentId) => this.admin.stranded(agentId),
    });
  }

  #subscribe(): void {
    const { waits: graph, onHint } = this.parts;
    if (graph !== undefined) {
      const { waits, agents, store } = this;
      const isFar = this.farBatch !== undefined;
      const peers = this.parts.peers ?? ((): readonly Peer[] => []);
      const hasRoom = (): boolean => this.slots.free > 0;
      this.#subscriptions.push(
        graph.addSource(childWaits(waits)),
        graph.addSource(slotWaits({ waits, agents, store, hasRoom, isFar, peers })),
      );
    }
    if (onHint === undefined) return;
    this.#subscriptions.push(onHint([{ about: 'tasks', queue: '*' }, { about: 'reconnected' }], this.wake));
  }

  /** Somebody may wait for it, or for what waits for it: it is looked whether its slot is taken by one who waits for that one. */
  #readied(taskId: string): void {
    if (this.parts.waits === undefined || this.waits.children.size === 0) return;
    this.#toLook.push(taskId);
    if (this.#toLook.length === 1) this.runtime.clock.soon(this.#look);
  }

  readonly #look = (): void => {
    const ids = this.#toLook;
    this.#toLook = [];
    for (const id of ids) this.parts.waits?.entered(runNode(id));
  };

  #decide(run: Run, error: unknown): RetryDecision {
    const policy = overrideRetry(this.#retry, run.settings.retry);
    const report = (thrown: unknown): void => {
      this.runtime.logger.warn('retry.decide failed', { message: describe(thrown) });
    };
    return decideRetry(policy, { attempt: run.claim.attempt, error }, this.runtime.random, report);
  }

  #takeLocks(run: Run): void {
    takeLocks(run, {
      parts: this.parts,
      settler: this.settler,
      decide: (one, error) => this.#decide(one, error),
      place: (one) => {
        this.dispatcher.placeLocked(one);
        if (!waitsForSlot(one)) return;
        // It holds locks and wants a slot: whoever has the slot may want the locks.
        this.waits.addLocked(one);
        this.parts.waits?.entered(one.node);
      },
      lost: (one, reason) => this.cancellation.stop(one, 'lock-lost', reason.message, reason),
      done: () => {
        this.dispatcher.locking.delete(run);
        this.dispatcher.wake();
      },
    });
  }

  #considerPreemption(): void {
    makeWay(this.store, [...this.agents.all()], (victim, by) => {
      victim.extras.preemptedBy = by;
      this.executor.stop(victim, 'preempt', by);
    });
  }
}
