import { expect, test } from 'vitest';
import { createScheduler, gate } from '../support/mesh.ts';

/** Defect 40: the queue was LIFO: under steady load the oldest task never ran. */
interface Queue {
  submit(id: string, priority?: number): Promise<void>;
  /** Lets everything run, one task at a time; the order in which tasks began. */
  drain(): Promise<readonly string[]>;
}

export async function scenario(create: () => Queue): Promise<void> {
  const queue = create();
  for (const id of ['first', 'second', 'third']) await queue.submit(id);
  await queue.submit('urgent', 5);
  await queue.submit('fourth');
  expect(await queue.drain()).toEqual(['urgent', 'first', 'second', 'third', 'fourth']);
}

const naive = (): Queue => {
  const stack: { readonly id: string; readonly priority: number }[] = [];
  return {
    submit: async (id, priority = 2) => void stack.push({ id, priority }),
    async drain() {
      const order: string[] = [];
      for (let next = stack.pop(); next !== undefined; next = stack.pop()) order.push(next.id);
      return order;
    },
  };
};

const ours = (): Queue => {
  const { scheduler, clock } = createScheduler();
  const hold = gate();
  const order: string[] = [];
  scheduler.registerAgent({
    id: 'only',
    maxConcurrentTasks: 1,
    handler: async ({ task }) => (task.id === 'blocker' ? hold.promise : void order.push(task.id)),
  });
  const blocked = scheduler.submitTask({ id: 'blocker', type: 't', queue: 'q' });
  return {
    async submit(id, priority) {
      await blocked;
      await clock.settle();
      await scheduler.submitTask({
        id,
        type: 't',
        queue: 'q',
        ...(priority === undefined ? {} : { priority }),
      });
    },
    async drain() {
      hold.open();
      await clock.advance(1_000);
      return order;
    },
  };
};

test('defect 40: first in, first out, by rank', async () => {
  await expect(scenario(naive)).rejects.toThrow(/deeply equal/);
  await scenario(ours);
});
