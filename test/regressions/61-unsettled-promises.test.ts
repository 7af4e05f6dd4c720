import { expect, test } from 'vitest';
import { createScheduler } from '../support/mesh.ts';

/** Defect 61: `clear()` left promises unsettled. */

export interface Queue {
  /** Adds work that never starts; returns the promise of its result. */
  add(): Promise<unknown>;
  /** Throws everything away. */
  clear(): Promise<void>;
}

/** Rejects when somebody would wait for ever. */
export async function scenario(queue: Queue): Promise<void> {
  const results = [queue.add(), queue.add(), queue.add()];
  let settled = 0;
  for (const result of results)
    result.then(
      () => settled++,
      () => settled++,
    );
  await queue.clear();
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  if (settled < results.length) throw new Error(`${results.length - settled} promises never settle`);
}

function naiveQueue(): Queue {
  let waiting: (() => void)[] = [];
  return {
    add: () => new Promise<void>((resolve) => waiting.push(resolve)),
    clear: async () => {
      waiting = [];
    },
  };
}

test('defect 61: the naive queue forgets whoever waits', async () => {
  await expect(scenario(naiveQueue())).rejects.toThrow('3 promises never settle');
});

test('defect 61: cancelling settles them', async () => {
  const { scheduler, clock } = createScheduler();
  const ids: string[] = [];
  const ours: Queue = {
    async add() {
      const handle = await scheduler.submitTask({ type: 't' });
      ids.push(handle.id);
      return handle.result();
    },
    clear: async () => {
      await clock.settle();
      await Promise.all(ids.map((id) => scheduler.cancelTask(id)));
    },
  };
  await expect(scenario(ours)).resolves.toBeUndefined();
});

test('defect 61: shutdown settles them', async () => {
  const { scheduler } = createScheduler();
  const ours: Queue = {
    add: async () => (await scheduler.submitTask({ type: 't' })).result(),
    clear: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      await scheduler.shutdown();
    },
  };
  await expect(scenario(ours)).resolves.toBeUndefined();
});
