import { expect, test } from 'vitest';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';
import { createDesk } from '../support/locks/lock-desk.ts';
import { remoteLocks } from '../support/locks/remote-locks.ts';

/** Defect 46: a lock that took longer to come than its lease lasts was handed out as valid (redlock #296). */
interface Locks {
  /** Answers travel this long. */
  acquire(resource: string, leaseMs: number): Promise<{ readonly signal: AbortSignal }>;
  readonly clock: TestClock;
  /** Whether somebody else could take it now. */
  isFree(resource: string): boolean;
}
type Implementation = (answerMs: number) => Locks;

export async function scenario(create: Implementation): Promise<void> {
  const slow = create(400);
  const late = slow.acquire('x', 300).then(
    (lease) => (lease.signal.aborted ? 'lost' : 'held'),
    () => 'refused',
  );
  await slow.clock.advance(2_000);
  expect(await late).not.toBe('held');
  expect(slow.isFree('x')).toBe(true);
  const quick = create(50);
  const inTime = quick.acquire('x', 300).then((lease) => lease.signal.aborted);
  await quick.clock.advance(60);
  expect(await inTime).toBe(false);
}

/** Counts the lease from the arrival of the answer. */
const naive: Implementation = (answerMs) => {
  const clock = createTestClock();
  let expiresAt = 0;
  return {
    clock,
    isFree: () => clock.mono() >= expiresAt,
    acquire: (_resource, leaseMs) =>
      new Promise((resolve) => {
        expiresAt = clock.mono() + leaseMs;
        clock.after(answerMs, () => {
          const controller = new AbortController();
          clock.after(leaseMs, () => controller.abort());
          resolve({ signal: controller.signal });
        });
      }),
  };
};

const ours: Implementation = (answerMs) => {
  const desk = createDesk({}, (store, clock) =>
    remoteLocks(store, async (_label, call) => {
      const answer = call();
      await new Promise<void>((resolve) => void clock.after(answerMs, resolve));
      return answer;
    }),
  );
  return {
    clock: desk.clock,
    isFree: (resource) => desk.store.list({ resource }, { limit: 1 }).items.length === 0,
    acquire: (resource, leaseMs) => desk.locks.acquire(resource, { leaseMs }),
  };
};

test('defect 46: a lock whose lease was over on arrival is not handed out', async () => {
  await expect(scenario(naive)).rejects.toThrow();
  await scenario(ours);
});
