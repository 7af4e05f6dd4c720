import { expect, test } from 'vitest';
import { createScheduler } from '../support/mesh.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

/** Defect 41: retries were immediate: an outage of seconds burnt all retries of a task within milliseconds. */
interface Worker {
  readonly clock: TestClock;
  /** Runs `call` with three retries. Answers whether it succeeded in the end. */
  run(call: () => void): Promise<boolean>;
}

export async function scenario(create: () => Worker): Promise<void> {
  const { clock, run } = create();
  const upAgain = clock.mono() + 2_500;
  let calls = 0;
  const ended = run(() => {
    calls += 1;
    if (clock.mono() < upAgain) throw new Error('down for a moment');
  });
  await clock.advance(60_000);
  expect(await ended, `succeeded in the end, after ${calls} calls`).toBe(true);
  expect(calls).toBeLessThanOrEqual(4);
}

const naive = (): Worker => ({
  clock: createTestClock(),
  async run(call) {
    for (let attempt = 0; attempt <= 3; attempt++) {
      try {
        call();
        return true;
      } catch {
        continue;
      }
    }
    return false;
  },
});

const ours = (): Worker => {
  const { scheduler, clock } = createScheduler({ maxRetries: 3, retryDelay: 1_000 });
  return {
    clock,
    async run(call) {
      scheduler.registerAgent({ id: 'a', handler: () => call() });
      const task = await scheduler.submitTask({ type: 't' });
      return task.result().then(
        () => true,
        () => false,
      );
    },
  };
};

test('defect 41: retries wait, longer each time', async () => {
  await expect(scenario(naive)).rejects.toThrow(/succeeded in the end, after 4 calls/);
  await scenario(ours);
});
