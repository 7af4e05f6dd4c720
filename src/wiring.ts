import { handled, isPromise } from './core/awaitable.ts';
import type { CircuitBreakerManager } from './circuit-breaker/circuit-breaker-manager.ts';
import type { Resolution } from './core/coordination-types.ts';
import type { Clock } from './core/ports/runtime.ts';
import type { QueueCounts, TaskStore } from './core/ports/tasks.ts';
import type { BackendTime } from './core/ports/words.ts';
import { nodeName } from './core/run-node.ts';
import type { ConflictResolverParts } from './conflicts/conflict-resolver.ts';
import type { MessageRouter } from './messaging/router.ts';
import type { QueueGauge } from './metrics/metric-gauges.ts';
import { planLocks } from './resources/resource-request.ts';
import type { ResourceManager } from './resources/resource-manager.ts';
import type { SchedulerParts } from './scheduler/parts.ts';
import type { AdvancedTaskScheduler } from './scheduler/scheduler.ts';
import type { TaskTypes } from './scheduler/types.ts';
import type { AgentLoad } from './work-stealing/steal-policy.ts';

/** The narrow functions that parts are given of each other. No part knows another; here is all that they share. */

/** What the scheduler uses of locks, messages and breakers. */
export function schedulerParts(
  locks: ResourceManager,
  messages: MessageRouter,
  breakers: CircuitBreakerManager,
): Pick<SchedulerParts, 'locks' | 'waits' | 'request' | 'breaker'> {
  return {
    locks: {
      check: (requests) => void planLocks(requests),
      acquire: (requests, owner, options) => locks.acquireFor(owner, requests, options),
      releaseRun: (node) => handled(locks.releaseOwner(node)),
      untilFinished: (node) => (locks.isAtWork(node) ? locks.untilFinished(node) : undefined),
      why: (node) => locks.whyWaiting(node),
    },
    waits: locks.waits,
    request: (owner, to, payload, options) =>
      messages.request(owner.agent ?? nodeName(owner.node), to, payload, { ...options, node: owner.node }),
    breaker: (name) => {
      const breaker = breakers.getBreaker(name);
      return {
        execute: (call) => breaker.execute(call),
        closedInMs: () => breaker.getMetrics().retryAfterMs,
      };
    },
  };
}

/** Real facts for automatic resolution, and how a resolution moves what it speaks of. */
export function conflictParts<T extends TaskTypes>(
  tasks: AdvancedTaskScheduler<T>,
  locks: ResourceManager,
): Pick<ConflictResolverParts, 'facts' | 'apply'> {
  return {
    facts: ({ kind, subject, agents }) => {
      // Whoever isn't registered has no priority: 0 would be a guess.
      const registered = new Set(tasks.loads().map(({ id }) => id));
      const known = agents.filter((agent) => registered.has(agent));
      const agentPriorities = new Map(known.map((agent) => [agent, tasks.agentPriority(agent)]));
      if (kind !== 'resource') return { agentPriorities };
      return { agentPriorities, requestTimestamps: locks.requestTimes(subject, agents) };
    },
    apply: async (resolution, { kind, subject }) => {
      if (kind === 'resource') await moveLock(locks, subject, resolution);
      else if (kind === 'assignment') await tasks.moveTask(subject, resolution.winner);
    },
  };
}

/** Resolves when the move is certain, not when it is over: a holder that has to leave gets a grace. Rejects when it is refused. */
async function moveLock(
  locks: ResourceManager,
  resource: string,
  { winner, losers }: Resolution,
): Promise<void> {
  if (!(await isHeldBy(locks, resource, losers))) return;
  await new Promise<void>((resolve, reject) => {
    locks.moveLock(resource, winner, { begun: resolve }).then(() => resolve(), reject);
  });
}

/** Whether these agents have a lock to give. What nobody of them holds, or a semaphore that has room for many, stays where it is. */
async function isHeldBy(
  locks: ResourceManager,
  resource: string,
  agents: readonly string[],
): Promise<boolean> {
  const { items } = await locks.list({ resource }, { limit: 1 });
  const holders = items[0]?.holders ?? [];
  return holders.some(
    ({ mode, owner }) => typeof mode === 'string' && agents.includes(owner.agent ?? owner.id),
  );
}

/** A store across a network is asked this often for its counts, ms: while tasks come and go here, and while they don't. */
const BUSY_COUNTS_MS = 1_000;
const IDLE_COUNTS_MS = 20_000;

/**
 * Tasks by queue and state, as the store counts them; of a store across a network, as it said when it was asked last.
 * @param far of a store across a network: how much has happened to tasks here, as a number that changes with it
 */
export function queueGauges(
  store: TaskStore,
  far?: { readonly clock: Clock; readonly activity: () => number },
): () => readonly QueueGauge[] {
  let askedAt = Number.NEGATIVE_INFINITY;
  let seen = 0;
  const isDue = (): boolean => {
    if (far === undefined) return true;
    const now = far.clock.mono();
    const activity = far.activity();
    if (now - askedAt < (activity === seen ? IDLE_COUNTS_MS : BUSY_COUNTS_MS)) return false;
    askedAt = now;
    seen = activity;
    return true;
  };
  let last: readonly QueueGauge[] = [];
  const take = (answer: { readonly at: BackendTime; readonly queues: readonly QueueCounts[] }): void => {
    last = answer.queues.map(({ queue, states, oldestReadyAt }) => ({
      queue,
      states,
      oldestReadyAgeMs:
        oldestReadyAt === undefined ? undefined : Math.max(0, answer.at - oldestReadyAt) / 1_000,
    }));
  };
  return () => {
    if (!isDue()) return last;
    const answer = store.counts();
    if (isPromise(answer)) handled(answer.then(take));
    else take(answer);
    return last;
  };
}

/** The loads of all agents as the balancer compares them. */
export function stealingLoads<T extends TaskTypes>(tasks: AdvancedTaskScheduler<T>): readonly AgentLoad[] {
  return tasks.loads().map(({ id, capabilities, draining, running, waiting }) => ({
    agentId: id,
    capabilities,
    draining,
    taskCount: running + waiting.length,
    waiting: counted(waiting),
  }));
}

function counted(needs: readonly (readonly string[])[]): NonNullable<AgentLoad['waiting']> {
  const groups = new Map<string, { readonly capabilities: readonly string[]; count: number }>();
  for (const capabilities of needs) {
    const key = capabilities.join('\u0000');
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { capabilities, count: 1 });
    else group.count += 1;
  }
  return [...groups.values()];
}
