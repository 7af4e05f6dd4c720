import { expect, test } from 'vitest';
import { createDesk } from '../support/locks/lock-desk.ts';

/** Defect 1: a contended hand-off told the new owner "request cancelled" while it owned the lock: of 20 contenders 1 got it, 18 timed out. */
interface Locks {
  acquire(resource: string, agentId: string, priority?: number): Promise<unknown>;
  release(resource: string, agentId: string): Promise<void>;
}

export async function scenario(locks: Locks): Promise<void> {
  let inside = 0;
  let served = 0;
  const contenders = Array.from({ length: 20 }, async (_, i) => {
    await locks.acquire('file', `agent-${i}`, 1 + (i % 3));
    inside += 1;
    expect(inside).toBe(1);
    await Promise.resolve();
    inside -= 1;
    served += 1;
    await locks.release('file', `agent-${i}`);
  });
  const outcomes = await Promise.allSettled(contenders);
  expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([]);
  expect(served).toBe(20);
}

/** The predecessor's hand-off: the granted request is taken out of the queue, and what is not in the queue was cancelled. */
function naive(): Locks {
  let owner: string | undefined;
  const queue: { agentId: string; check: () => void }[] = [];
  return {
    acquire(_resource, agentId) {
      if (owner === undefined) {
        owner = agentId;
        return Promise.resolve();
      }
      return new Promise((resolve, reject) => {
        const request = {
          agentId,
          check: () => {
            if (!queue.includes(request)) reject(new Error('request cancelled'));
            else if (owner === agentId) resolve(undefined);
          },
        };
        queue.push(request);
      });
    },
    release() {
      const next = queue.shift();
      owner = next?.agentId;
      next?.check();
      return Promise.resolve();
    },
  };
}

test('defect 1: all of 20 contenders get the lock, one after the other', async () => {
  const waitsForEver = Promise.race([
    scenario(naive()),
    new Promise((_, reject) => setImmediate(() => reject(new Error('contenders wait for ever')))),
  ]);
  await expect(waitsForEver).rejects.toThrow();
  await scenario(createDesk().locks);
});
