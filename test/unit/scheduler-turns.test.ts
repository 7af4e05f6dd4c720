import { expect, test } from 'vitest';
import { createScheduler } from '../support/mesh.ts';

/** What the dispatcher may claim before timers and I/O of the application get their turn: two batches of 512. */
const MOST_A_TURN = 1_024;

test('timers and I/O get their turn: a pump with endless work yields after 512 claims', async () => {
  const { scheduler, clock } = createScheduler();
  const tasks = 5 * MOST_A_TURN;
  let ran = 0;
  scheduler.registerAgent({
    id: 'a',
    maxConcurrentTasks: 64,
    handler: () => void (ran += 1),
  });
  await scheduler.queues.pause('t');
  const handles = await Promise.all(
    Array.from({ length: tasks }, async () => scheduler.submitTask({ type: 't' })),
  );
  await clock.settle();
  expect(ran).toBe(0);
  await scheduler.queues.resume('t');

  const turns: number[] = [];
  while (ran < tasks && turns.length < tasks) {
    const before = ran;
    // A native turn lets every microtask run out; the pump's own next turn is the test clock's, which stands still meanwhile.
    await new Promise<void>((resolve) => void setImmediate(resolve));
    turns.push(ran - before);
    await clock.settle();
  }
  await Promise.all(handles.map((handle) => handle.result()));
  expect(ran).toBe(tasks);
  expect(Math.max(...turns)).toBeGreaterThan(0);
  expect(Math.max(...turns)).toBeLessThanOrEqual(MOST_A_TURN);
});
