import { andThen, handled, isPromise } from '../core/awaitable.ts';
import type { QueueCounts, TaskRecord, TaskStore } from '../core/ports/tasks.ts';
import type { Agent, Run } from './agent.ts';
import { mayRun } from './run-waits.ts';
import { settingsOf } from './settings.ts';

/** Lanes of waiting tasks that are looked at, the most urgent first. */
const LANES = 1_000;

/** A running task that should make way, and for whom. */
export interface Preemption {
  readonly victim: Run;
  readonly by: string;
}

/** The queues of the tasks that wait, to tell which may give one. */
export type QueueStates = readonly Pick<QueueCounts, 'queue' | 'settings' | 'states'>[];

/**
 * The run that should give its slot to the most urgent waiting task: preemptible, of lower priority, on an agent that may run it; among
 * those the least urgent, then the one that ran least, so that the least work is lost. A task that could not start even so, because its
 * queue is paused or at a limit that the victim doesn't count for, makes nobody stop. Pure.
 * @param waiting ready tasks, most urgent first
 */
export function choosePreemption(
  waiting: readonly TaskRecord[],
  agents: readonly Agent[],
  queues: QueueStates,
): Preemption | undefined {
  const running = agents.flatMap((agent) =>
    [...agent.runs()].filter(
      (run) => run.holdsSlot && run.settings.preemptible === true && run.facts.stopCause === undefined,
    ),
  );
  if (running.length === 0) return undefined;
  const served = awaited(agents);
  const byName = new Map(queues.map((queue) => [queue.queue, queue]));
  for (const task of waiting) {
    if (served.has(task.id)) continue;
    const queue = byName.get(task.body.queue);
    if (queue?.settings.paused === true) continue;
    const weaker = running.filter(
      (run) =>
        run.claim.body.priority < task.body.priority && couldTake(run, task) && makesRoom(run, task, queue),
    );
    const victim = weaker.toSorted(
      (a, b) => a.claim.body.priority - b.claim.body.priority || b.startedAt - a.startedAt,
    )[0];
    if (victim !== undefined) return { victim, by: task.id };
  }
  return undefined;
}

/** Looks for a run that should make way; asked whenever all slots are taken. @param stop has it stop, for the task with this id */
export function makeWay(
  store: Pick<TaskStore, 'list' | 'counts'>,
  agents: readonly Agent[],
  stop: (victim: Run, by: string) => void,
): void {
  if (!anyPreemptible(agents)) return;
  // The first of each lane will do: who can't run that one can't run those behind it.
  const page = { limit: LANES, order: 'queue', each: awaited(agents).size + 1 } as const;
  const found = andThen(store.list({ state: ['ready'] }, page), ({ items }) => {
    if (items.length === 0) return undefined;
    const names = [...new Set(items.map(({ body }) => body.queue))];
    return andThen(store.counts(names), ({ queues }) => {
      const choice = choosePreemption(items, agents, queues);
      if (choice !== undefined) stop(choice.victim, choice.by);
    });
  });
  if (isPromise(found)) handled(found);
}

function anyPreemptible(agents: Iterable<Agent>): boolean {
  for (const agent of agents)
    for (const run of agent.runs()) if (run.settings.preemptible === true) return true;
  return false;
}

/** Whether the agent of this run would take the task once the run is gone. */
function couldTake({ agent }: Run, task: TaskRecord): boolean {
  if (agent === undefined || !mayRun(agent, task)) return false;
  const { exclude, maxLoadRatio } = settingsOf(task.body);
  if (task.body.agent !== undefined) return true;
  if (exclude?.includes(agent.id) === true) return false;
  return maxLoadRatio === undefined || (agent.running - 1) / agent.slots <= maxLoadRatio;
}

/** Whether the limits of the task's queue leave it a place once this run is gone. A limit per group may be reached: then only for its own. */
function makesRoom({ claim }: Run, { body }: TaskRecord, queue: QueueStates[number] | undefined): boolean {
  if (queue === undefined) return true;
  const { maxRunning, maxRunningPerGroup } = queue.settings;
  const isSameQueue = claim.body.queue === body.queue;
  if (maxRunning !== undefined && queue.states.claimed >= maxRunning && !isSameQueue) return false;
  if (maxRunningPerGroup === undefined || body.group === undefined) return true;
  return isSameQueue && claim.body.group === body.group;
}

/** Tasks for which a run has been told to make way, and hasn't yet. */
function awaited(agents: Iterable<Agent>): ReadonlySet<string> {
  const tasks = new Set<string>();
  for (const agent of agents)
    for (const { holdsSlot, facts } of agent.runs())
      if (holdsSlot && facts.preemptedBy !== undefined) tasks.add(facts.preemptedBy);
  return tasks;
}
