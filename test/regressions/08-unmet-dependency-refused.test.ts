import { expect, test } from 'vitest';
import { createScheduler } from '../support/mesh.ts';

/** Defect 8: a task with an unmet dependency was refused instead of waiting; forward references threw. */

export interface Queue {
  submit(id: string, dependencies: readonly string[]): Promise<unknown>;
  /** Runs everything that can run; returns the ids in order. */
  run(): Promise<readonly string[]>;
}

/** Rejects when a task can't be submitted before what it depends on, or runs before it. */
export async function scenario(queue: Queue): Promise<void> {
  await queue.submit('second', ['first']);
  await queue.submit('first', []);
  const order = (await queue.run()).join(' ');
  if (order !== 'first second') throw new Error(`ran ${order}`);
}

function naiveQueue(): Queue {
  const done = new Set<string>();
  const tasks: string[] = [];
  return {
    async submit(id, dependencies) {
      for (const dependency of dependencies)
        if (!done.has(dependency)) throw new Error(`Dependency ${dependency} not completed`);
      tasks.push(id);
    },
    run: async () => tasks.splice(0).map((id) => (done.add(id), id)),
  };
}

test('defect 8: the naive queue refuses the task', async () => {
  await expect(scenario(naiveQueue())).rejects.toThrow('Dependency first not completed');
});

test('defect 8: the scheduler lets it wait', async () => {
  const { scheduler, clock } = createScheduler();
  const ran: string[] = [];
  const queue: Queue = {
    submit: (id, dependencies) => scheduler.submitTask({ id, type: 't', dependencies }),
    async run() {
      scheduler.registerAgent({ id: 'a', handler: ({ task }) => void ran.push(task.id) });
      await clock.settle();
      return ran;
    },
  };
  await expect(scenario(queue)).resolves.toBeUndefined();
});
