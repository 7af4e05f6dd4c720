import { expect, test } from 'vitest';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';
import { createDesk } from '../support/locks/lock-desk.ts';

/** Defect 58: a waiter that had timed out still took its turn, and nobody gave it back (async-mutex #54). */
interface Locks {
  acquire(resource: string, agentId: string, timeoutMs: number): Promise<{ release(): Promise<void> | void }>;
  readonly clock: TestClock;
}

export async function scenario(locks: Locks): Promise<void> {
  const held = await locks.acquire('x', 'holder', 60_000);
  let timedOut = false;
  const impatient = locks.acquire('x', 'impatient', 100).catch(() => {
    timedOut = true;
  });
  const patient = locks.acquire('x', 'patient', 60_000);
  let served = false;
  void patient.then(() => {
    served = true;
  });
  await locks.clock.advance(100);
  await impatient;
  expect(timedOut).toBe(true);
  await held.release();
  await locks.clock.advance(1);
  expect(served).toBe(true);
}

/** A queue of turns and a race with a timer: losing the race doesn't leave the queue. */
function naive(): Locks {
  const clock = createTestClock();
  let last: Promise<void> = Promise.resolve();
  return {
    clock,
    acquire(_resource, _agentId, timeoutMs) {
      const turn = Promise.withResolvers<void>();
      const mine = last;
      last = turn.promise;
      const granted = mine.then(() => ({ release: () => turn.resolve() }));
      const late = new Promise<never>((_, reject) => {
        clock.after(timeoutMs, () => reject(new Error('timeout')));
      });
      late.catch(() => undefined);
      return Promise.race([granted, late]);
    },
  };
}

test('defect 58: a waiter that timed out does not take its turn', async () => {
  await expect(scenario(naive())).rejects.toThrow();
  const { locks, clock } = createDesk();
  await scenario({
    clock,
    acquire: (resource, agentId, timeoutMs) => locks.acquire(resource, agentId, 2, { timeoutMs }),
  });
});
