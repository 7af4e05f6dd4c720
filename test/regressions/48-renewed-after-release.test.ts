import { expect, test } from 'vitest';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';
import { createDesk } from '../support/locks/lock-desk.ts';
import { remoteLocks } from '../support/locks/remote-locks.ts';

/** Defect 48: renewal went on after the release, so a lock was kept for nobody (Redisson #7272), or stopped for good after one lost answer (#3194). */
interface Locks {
  acquire(
    resource: string,
    leaseMs: number,
  ): Promise<{ release(): Promise<void>; readonly signal: AbortSignal }>;
  readonly clock: TestClock;
  /** Renewals sent so far. */
  renewals(): number;
  /** Loses the answer to the next renewal. */
  cutNext(): void;
}

export async function scenario(locks: Locks): Promise<void> {
  const lease = await locks.acquire('x', 3_000);
  await locks.clock.advance(2_500);
  expect(locks.renewals()).toBeGreaterThan(0);
  locks.cutNext();
  await locks.clock.advance(10_000);
  expect(lease.signal.aborted).toBe(false);
  await lease.release();
  const sent = locks.renewals();
  await locks.clock.advance(60_000);
  expect(locks.renewals()).toBe(sent);
}

/** A watchdog that is never told of the release. */
function naive(): Locks {
  const clock = createTestClock();
  let renewals = 0;
  const controller = new AbortController();
  return {
    clock,
    renewals: () => renewals,
    cutNext: () => undefined,
    acquire: (_resource, leaseMs) => {
      const renew = (): void => {
        renewals += 1;
        clock.after(leaseMs / 3, renew);
      };
      clock.after(leaseMs / 3, renew);
      return Promise.resolve({ signal: controller.signal, release: () => Promise.resolve() });
    },
  };
}

function ours(): Locks {
  let renewals = 0;
  let cut = false;
  const desk = createDesk({}, (store) =>
    remoteLocks(store, async (label, call) => {
      const answer = call();
      if (label !== 'keep') return answer;
      renewals += 1;
      if (!cut) return answer;
      cut = false;
      throw new Error('the connection was cut');
    }),
  );
  return {
    clock: desk.clock,
    renewals: () => renewals,
    cutNext: () => {
      cut = true;
    },
    acquire: (resource, leaseMs) => desk.locks.acquire(resource, { leaseMs }),
  };
}

test('defect 48: renewal ends with the lock and survives a lost answer', async () => {
  await expect(scenario(naive())).rejects.toThrow();
  await scenario(ours());
});
