import { CircuitBreakerManager } from './circuit-breaker/circuit-breaker-manager.ts';
import { SharedCircuits } from './circuit-breaker/shared-circuits.ts';
import { ConflictResolver } from './conflicts/conflict-resolver.ts';
import { andThen } from './core/awaitable.ts';
import type { Operations } from './core/operations.ts';
import { DependencyGraph } from './dependency-graph/dependency-graph.ts';
import type { CoordinationOptions, ManagerSettings } from './manager-options.ts';
import { MessageRouter } from './messaging/router.ts';
import { CoordinationMetricsCollector } from './metrics/coordination-metrics-collector.ts';
import { ResourceManager } from './resources/resource-manager.ts';
import type { SchedulerParts } from './scheduler/parts.ts';
import { AdvancedTaskScheduler } from './scheduler/scheduler.ts';
import type { TaskTypes } from './scheduler/types.ts';
import { conflictParts, queueGauges, schedulerParts, stealingLoads } from './wiring.ts';
import { WorkStealingCoordinator } from './work-stealing/work-stealing-coordinator.ts';

/** Processes that are looked at when there is something to steal, or a deadlock to find. */
const MOST_PEERS = 1_000;

/** The parts of a manager. */
export interface Parts<T extends TaskTypes> {
  readonly tasks: AdvancedTaskScheduler<T>;
  readonly locks: ResourceManager;
  readonly messages: MessageRouter;
  readonly breakers: CircuitBreakerManager;
  readonly conflicts: ConflictResolver;
  readonly stealing: WorkStealingCoordinator | undefined;
  readonly metrics: CoordinationMetricsCollector | undefined;
  readonly graph: DependencyGraph;
}

/**
 * Builds every part over one backend and hands narrow functions from one to the other. Nothing is started.
 * @param agents hears of agents that come and go
 * @throws INVALID_OPTION
 */
export function composeParts<T extends TaskTypes>(
  settings: ManagerSettings,
  operations: Operations,
  agents: Pick<SchedulerParts, 'agentJoined' | 'agentLeft'>,
): Parts<T> {
  const { options, backend, ports, runtime, events, environment } = settings;
  const { capabilities } = backend;
  const { logger } = runtime;
  const legacy = legacyOf(options);
  const onHint = capabilities.shared ? backend.onHint.bind(backend) : undefined;
  const shared = { runtime, operations, ...(onHint === undefined ? {} : { onHint }) };
  const locks = new ResourceManager({ ...legacy, ...options.resources }, events, logger, {
    ...shared,
    store: ports.locks,
    capabilities,
  });
  const breakers = new CircuitBreakerManager(options.breakers, logger, events, {
    runtime,
    ...(backend.state === undefined
      ? {}
      : { shared: new SharedCircuits({ ...shared, store: backend.state }) }),
  });
  const messages = new MessageRouter({ ...legacy, ...options.messaging }, events, logger, {
    ...shared,
    transport: ports.messages,
    capabilities,
    waits: locks.waits,
    runsOf: (agentId) => tasks.runsOf(agentId),
  });
  const { agentSlots } = environment;
  const tasks: AdvancedTaskScheduler<T> = new AdvancedTaskScheduler<T>(
    { ...(agentSlots === undefined ? {} : { agentSlots }), ...legacy, ...options.scheduling },
    events,
    logger,
    {
      ...shared,
      store: ports.tasks,
      capabilities,
      ...peersOf(settings, operations),
      ...agents,
      ...schedulerParts(locks, messages, breakers),
    },
  );
  return {
    tasks,
    locks,
    messages,
    breakers,
    conflicts: new ConflictResolver(logger, events, { runtime, ...conflictParts(tasks, locks) }),
    stealing: stealingOf(settings, tasks),
    metrics: metricsOf(settings, tasks, locks),
    graph: new DependencyGraph(logger),
  };
}

/** The other processes that live, on a backend where there may be some. */
function peersOf({ backend, ports }: ManagerSettings, operations: Operations): Pick<SchedulerParts, 'peers'> {
  if (!backend.capabilities.shared) return {};
  const { sessions } = ports;
  return {
    peers: () =>
      andThen(sessions.list({ limit: MOST_PEERS, state: 'alive' }), ({ items }) =>
        items.filter(({ session }) => session !== operations.session),
      ),
  };
}

function stealingOf<T extends TaskTypes>(
  { options, runtime, events }: ManagerSettings,
  tasks: AdvancedTaskScheduler<T>,
): WorkStealingCoordinator | undefined {
  if (options.workStealing === false) return undefined;
  return new WorkStealingCoordinator(
    options.workStealing,
    events,
    runtime.logger,
    (moves) => moves.map((move) => tasks.steal(move.from, move.to, move.count, move.maxMoves)),
    { runtime, loads: () => stealingLoads(tasks) },
  );
}

function metricsOf<T extends TaskTypes>(
  { options, backend, ports, runtime, events }: ManagerSettings,
  tasks: AdvancedTaskScheduler<T>,
  locks: ResourceManager,
): CoordinationMetricsCollector | undefined {
  if (options.metrics === false) return undefined;
  const activity = (): number => events.count('task:created') + events.count('task:started');
  const far = backend.capabilities.roundTrip === 'network' ? { clock: runtime.clock, activity } : undefined;
  return new CoordinationMetricsCollector(runtime.logger, events, options.metrics, {
    runtime,
    gauges: {
      queues: queueGauges(ports.tasks, far),
      agentSlots: () => tasks.slotUse(),
      locks: () => locks.lockUse(),
    },
  });
}

/** The predecessor's names as far as they are given: parts take them beside their own. */
function legacyOf(options: CoordinationOptions): object {
  const { maxRetries, retryDelay, deadlockDetection, resourceTimeout, messageTimeout } = options;
  return Object.fromEntries(
    Object.entries({ maxRetries, retryDelay, deadlockDetection, resourceTimeout, messageTimeout }).filter(
      ([, value]) => value !== undefined,
    ),
  );
}
