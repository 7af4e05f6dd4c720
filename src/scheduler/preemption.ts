import type { TaskRecord } from '../core/ports/tasks.ts';
import type { Agent, Run } from './agent.ts';
import { mayRun } from './run-waits.ts';

/** A running task that should make way, and for whom. */
export interface Preemption {
  readonly victim: Run;
  readonly by: string;
}

/**
 * The run that should give its slot to the most urgent waiting task: preemptible, of lower priority, on an agent that may run it; among
 * those the least urgent, then the one that ran least, so that the least work is lost. Pure.
 * @param waiting ready tasks, most urgent first
 */
export function choosePreemption(
  waiting: readonly TaskRecord[],
  agents: readonly Agent[],
): Preemption | undefined {
  const running = agents.flatMap((agent) =>
    [...agent.runs()].filter(
      (run) => run.holdsSlot && run.settings.preemptible === true && run.facts.stopCause === undefined,
    ),
  );
  if (running.length === 0) return undefined;
  const served = awaited(agents);
  for (const task of waiting) {
    if (served.has(task.id)) continue;
    const weaker = running.filter(
      (run) =>
        run.claim.body.priority < task.body.priority && run.agent !== undefined && mayRun(run.agent, task),
    );
    const victim = weaker.toSorted(
      (a, b) => a.claim.body.priority - b.claim.body.priority || b.startedAt - a.startedAt,
    )[0];
    if (victim !== undefined) return { victim, by: task.id };
  }
  return undefined;
}

/** Tasks for which a run has been told to make way, and hasn't yet. */
function awaited(agents: readonly Agent[]): ReadonlySet<string> {
  const tasks = new Set<string>();
  for (const agent of agents)
    for (const { holdsSlot, facts } of agent.runs())
      if (holdsSlot && facts.preemptedBy !== undefined) tasks.add(facts.preemptedBy);
  return tasks;
}
