import type { QueueCounts, TaskState } from '../../../core/ports/tasks.ts';
import { STATE_NAMES } from './row.ts';
import type { TaskTable } from './table.ts';
import { DEFAULT_SETTINGS, type TaskQueue } from './task-queue.ts';

const NO_TASKS = Object.fromEntries(STATE_NAMES.map((name) => [name, 0])) as Record<TaskState, number>;

/** Counters of all queues, or of those named; a queue that was never used has zeros. */
export function countsOf(table: TaskTable, names: readonly string[] | undefined): readonly QueueCounts[] {
  if (names === undefined) return [...table.queues.values()].map(counted);
  return names.map((name) => {
    const queue = table.queues.get(name);
    return queue === undefined ? unused(name) : counted(queue);
  });
}

function counted(queue: TaskQueue): QueueCounts {
  const states = { ...NO_TASKS };
  for (const [code, name] of STATE_NAMES.entries()) states[name] = queue.states[code] as number;
  const { oldestReadyAt } = queue;
  return {
    queue: queue.name,
    settings: queue.settings,
    revision: queue.revision,
    states,
    totals: { ...queue.totals },
    readyWeight: queue.readyWeight,
    ...(oldestReadyAt === undefined ? {} : { oldestReadyAt }),
  };
}

function unused(queue: string): QueueCounts {
  return {
    queue,
    settings: DEFAULT_SETTINGS,
    revision: 0,
    states: NO_TASKS,
    totals: { enqueued: 0, pruned: 0, attempts: 0, staleSettles: 0, duplicates: 0 },
    readyWeight: 0,
  };
}
