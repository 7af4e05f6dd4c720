import { expect, test } from 'vitest';
import { createScheduler } from '../support/mesh.ts';

/** Defect 9: dependents were cancelled at the parent's first failed attempt although a retry was due. */

export interface Queue {
  /** Runs a parent that fails `failures` times, with `retries` retries, and a child of it; returns how the child ended. */
  childOf(failures: number, retries: number): Promise<string>;
}

/** Rejects when a child is lost although its parent succeeds in the end, or lives although it doesn't. */
export async function scenario(queue: Queue): Promise<void> {
  const saved = await queue.childOf(1, 1);
  if (saved !== 'completed') throw new Error(`the child of a retried parent was ${saved}`);
  const lost = await queue.childOf(2, 1);
  if (lost !== 'cancelled') throw new Error(`the child of a dead parent was ${lost}`);
}

const naiveQueue: Queue = {
  childOf: async (failures) => (failures > 0 ? 'cancelled' : 'completed'),
};

test('defect 9: the naive queue cancels the child at the first failure', async () => {
  await expect(scenario(naiveQueue)).rejects.toThrow('retried parent was cancelled');
});

test('defect 9: the scheduler waits for the last attempt', async () => {
  const queue: Queue = {
    async childOf(failures, retries) {
      const { scheduler, clock } = createScheduler({ maxRetries: retries });
      scheduler.registerAgent({
        id: 'a',
        handler: ({ task, attempt }) => {
          if (task.id === 'parent' && attempt <= failures) throw new Error('not yet');
        },
      });
      await scheduler.submitTask({ id: 'parent', type: 't' });
      await scheduler.submitTask({ id: 'child', type: 't', dependencies: ['parent'] });
      await clock.advance(60_000);
      return (await scheduler.getTask('child'))?.status ?? 'gone';
    },
  };
  await expect(scenario(queue)).resolves.toBeUndefined();
});
