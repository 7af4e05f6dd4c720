import { expect, test } from 'vitest';
import { createScheduler, gate } from '../support/mesh.ts';

/** Defect 21: switching on advanced scheduling (another strategy) dropped running tasks. */

export interface Scheduler {
  submit(id: string): Promise<unknown>;
  switchStrategy(): void;
  /** Lets what runs finish; returns the ids that completed. */
  finish(): Promise<readonly string[]>;
}

/** Rejects when a task is lost by a change of strategy. */
export async function scenario(scheduler: Scheduler): Promise<void> {
  await scheduler.submit('running');
  await scheduler.submit('waiting');
  scheduler.switchStrategy();
  const done = (await scheduler.finish()).toSorted().join(' ');
  if (done !== 'running waiting') throw new Error(`completed: ${done}`);
}

function naiveScheduler(): Scheduler {
  let tasks: string[] = [];
  return {
    submit: async (id) => void tasks.push(id),
    switchStrategy: () => {
      tasks = [];
    },
    finish: async () => tasks,
  };
}

test('defect 21: the naive scheduler starts anew without them', async () => {
  await expect(scenario(naiveScheduler())).rejects.toThrow('completed: ');
});

test('defect 21: ours keeps what runs and what waits', async () => {
  const { scheduler, clock } = createScheduler();
  const hold = gate();
  const done: string[] = [];
  scheduler.registerAgent({
    id: 'a',
    maxConcurrentTasks: 1,
    handler: async ({ task }) => {
      if (task.id === 'running') await hold.promise;
      done.push(task.id);
    },
  });
  const ours: Scheduler = {
    submit: async (id) => {
      await scheduler.submitTask({ id, type: 't' });
      await clock.settle();
    },
    switchStrategy: () => scheduler.setDefaultStrategy('weighted-hybrid'),
    async finish() {
      hold.open();
      await clock.settle();
      return done;
    },
  };
  await expect(scenario(ours)).resolves.toBeUndefined();
});
