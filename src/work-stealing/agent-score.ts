/** What is known of an agent's load. */
export interface AgentWorkload {
  /** Running and waiting tasks. */
  readonly taskCount: number;
  /** ms. */
  readonly avgTaskDuration: number;
  /** Percent, 0…100. */
  readonly cpuUsage: number;
  /** Percent, 0…100. */
  readonly memoryUsage: number;
  /** @default 0 */
  readonly priority: number;
  /** `undefined`: not known, so it is taken for able. */
  readonly capabilities?: readonly string[] | undefined;
}

/** What a task says of who may do it. */
export interface ScoredTask {
  readonly type?: string | undefined;
  /** All are needed; an agent without one of them is never chosen. */
  readonly capabilities?: readonly string[] | undefined;
}

/**
 * The documented score of an agent for a task: 100 − 10·taskCount − 0.5·cpuUsage − 0.3·memoryUsage + 5·priority + 20 if capable −
 * avgTaskDuration·taskCount/1000. Capable: it has all capabilities that the task names, or the task's type when it names none.
 */
export function agentScore(task: ScoredTask, load: AgentWorkload): number {
  const { taskCount, avgTaskDuration, cpuUsage, memoryUsage, priority } = load;
  return (
    100 -
    10 * taskCount -
    0.5 * cpuUsage -
    0.3 * memoryUsage +
    5 * priority +
    (isCapable(task, load) ? 20 : 0) -
    (avgTaskDuration * taskCount) / 1_000
  );
}

/** Whether an agent has all that is needed. Unknown capabilities count as all. */
export function hasAll(capabilities: readonly string[] | undefined, needed: readonly string[]): boolean {
  return capabilities === undefined || needed.every((name) => capabilities.includes(name));
}

function isCapable(task: ScoredTask, { capabilities }: AgentWorkload): boolean {
  const needed = task.capabilities ?? [];
  if (needed.length > 0) return hasAll(capabilities, needed);
  return capabilities !== undefined && task.type !== undefined && capabilities.includes(task.type);
}
