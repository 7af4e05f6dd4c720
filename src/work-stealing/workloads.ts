import { checkArray, checkId, checkInteger, checkNumber, checkRecord } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import type { AgentWorkload } from './agent-score.ts';
import type { AgentLoad, WaitingTasks } from './steal-policy.ts';

/** What may be reported of an agent; what is left out stays as it was. Other keys of a record are passed over. */
export interface WorkloadReport extends Partial<AgentWorkload> {
  /** Its unstarted tasks by what they need. Without it, all its tasks count as movable to anybody. */
  readonly waiting?: readonly WaitingTasks[] | undefined;
  /** Gives tasks away, takes none. */
  readonly draining?: boolean | undefined;
}

export interface KnownWorkload extends AgentWorkload {
  readonly waiting?: readonly WaitingTasks[] | undefined;
  readonly draining?: boolean | undefined;
}

interface Entry {
  load: KnownWorkload;
  /** Durations recorded since the average was last reported. */
  durations: number;
}

export const IDLE: KnownWorkload = Object.freeze({
  taskCount: 0,
  avgTaskDuration: 0,
  cpuUsage: 0,
  memoryUsage: 0,
  priority: 0,
});

/** Ids of agents that left and are still remembered as gone. */
const MAX_GONE = 100_000;

/** What agents reported of themselves. An agent that was removed stays out until it is added again: a late report doesn't revive it. */
export class Workloads {
  readonly #entries = new Map<string, Entry>();
  readonly #gone = new Set<string>();

  get size(): number {
    return this.#entries.size;
  }

  get(agentId: string): KnownWorkload | undefined {
    return this.#entries.get(agentId)?.load;
  }

  isGone(agentId: string): boolean {
    return this.#gone.has(agentId);
  }

  *[Symbol.iterator](): IterableIterator<readonly [agentId: string, load: KnownWorkload]> {
    for (const [id, { load }] of this.#entries) yield [id, load];
  }

  /** As the policy takes them. */
  loads(): readonly AgentLoad[] {
    return Array.from(this, ([agentId, { taskCount, capabilities, waiting, draining }]) => ({
      agentId,
      taskCount,
      capabilities,
      waiting,
      draining,
    }));
  }

  /** Welcomes an agent, also one that was removed. */
  add(agentId: string): void {
    this.#gone.delete(agentId);
    this.#entry(agentId);
  }

  remove(agentId: string): boolean {
    this.#gone.add(agentId);
    if (this.#gone.size > MAX_GONE) {
      const [oldest] = this.#gone;
      this.#gone.delete(oldest as string);
    }
    return this.#entries.delete(agentId);
  }

  /** @throws INVALID_ARGUMENT, UNKNOWN_AGENT for one that was removed */
  report(agentId: string, report: WorkloadReport): void {
    const checked = checkReport(report);
    const entry = this.#entry(checkId(agentId, 'agentId'));
    entry.load = { ...entry.load, ...checked };
    if (checked.avgTaskDuration !== undefined) entry.durations = 0;
  }

  /** Running mean: plain over the first ten since the last report, then each weighs a tenth. */
  recordDuration(agentId: string, durationMs: number): void {
    checkNumber(durationMs, 'durationMs', 0);
    const entry = this.#entry(checkId(agentId, 'agentId'));
    entry.durations += 1;
    const { avgTaskDuration } = entry.load;
    const weight = 1 / Math.min(entry.durations, 10);
    entry.load = {
      ...entry.load,
      avgTaskDuration: avgTaskDuration + (durationMs - avgTaskDuration) * weight,
    };
  }

  /** Tasks went from one to the other; those that meanwhile left are passed over. */
  moved(from: string, to: string, count: number): void {
    this.#shift(from, -count);
    this.#shift(to, count);
  }

  #shift(agentId: string, change: number): void {
    const entry = this.#entries.get(agentId);
    if (entry === undefined) return;
    entry.load = { ...entry.load, taskCount: Math.max(0, entry.load.taskCount + change) };
  }

  #entry(agentId: string): Entry {
    if (this.#gone.has(agentId)) {
      throw new CoordinationError('UNKNOWN_AGENT', `Agent ${JSON.stringify(agentId)} was removed`, {
        hint: 'Call addAgent before reporting for it again.',
      });
    }
    let entry = this.#entries.get(agentId);
    if (entry === undefined) this.#entries.set(agentId, (entry = { load: IDLE, durations: 0 }));
    return entry;
  }
}

function checkReport(report: WorkloadReport): WorkloadReport {
  const { taskCount, avgTaskDuration, cpuUsage, memoryUsage, priority, capabilities, waiting, draining } =
    checkRecord(report, 'the workload');
  return {
    ...(taskCount === undefined ? {} : { taskCount: checkInteger(taskCount, 'taskCount', 0) }),
    ...(avgTaskDuration === undefined
      ? {}
      : { avgTaskDuration: checkNumber(avgTaskDuration, 'avgTaskDuration', 0) }),
    ...(cpuUsage === undefined ? {} : { cpuUsage: checkNumber(cpuUsage, 'cpuUsage', 0, 100) }),
    ...(memoryUsage === undefined ? {} : { memoryUsage: checkNumber(memoryUsage, 'memoryUsage', 0, 100) }),
    ...(priority === undefined ? {} : { priority: checkNumber(priority, 'priority', -1_000, 1_000) }),
    ...(capabilities === undefined ? {} : { capabilities: checkNames(capabilities) }),
    ...(waiting === undefined ? {} : { waiting: checkWaiting(waiting) }),
    ...(draining === undefined ? {} : { draining: Boolean(draining) }),
  };
}

/** A list of capability names, copied. */
export function checkNames(names: unknown): readonly string[] {
  return checkArray(names, 'capabilities').map((name) => checkId(name, 'a capability'));
}

function checkWaiting(waiting: unknown): readonly WaitingTasks[] {
  return checkArray(waiting, 'waiting').map((tasks) => {
    const { capabilities, count } = checkRecord(tasks as Partial<WaitingTasks>, 'an item of waiting');
    return { capabilities: checkNames(capabilities ?? []), count: checkInteger(count, 'count', 0) };
  });
}
