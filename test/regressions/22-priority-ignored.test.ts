import { expect, test } from 'vitest';
import { createScheduler } from '../support/mesh.ts';

/** Defect 22: task priority was read nowhere. */

export interface Queue {
  submit(id: string, priority: number): Promise<unknown>;
  order(): Promise<readonly string[]>;
}

/** Rejects when a more urgent task doesn't go first. */
export async function scenario(queue: Queue): Promise<void> {
  await queue.submit('low', 1);
  await queue.submit('high', 3);
  await queue.submit('medium', 2);
  const order = (await queue.order()).join(' ');
  if (order !== 'high medium low') throw new Error(`order: ${order}`);
}

function naiveQueue(): Queue {
  const ids: string[] = [];
  return { submit: async (id) => void ids.push(id), order: async () => ids };
}

test('defect 22: the naive queue keeps the order of submission', async () => {
  await expect(scenario(naiveQueue())).rejects.toThrow('order: low high medium');
});

test('defect 22: ours goes by priority', async () => {
  const { scheduler, clock } = createScheduler();
  const ran: string[] = [];
  const ours: Queue = {
    submit: (id, priority) => scheduler.submitTask({ id, type: 't', priority }),
    async order() {
      scheduler.registerAgent({
        id: 'a',
        maxConcurrentTasks: 1,
        handler: async ({ task }) => void ran.push(task.id),
      });
      await clock.settle();
      return ran;
    },
  };
  await expect(scenario(ours)).resolves.toBeUndefined();
});
