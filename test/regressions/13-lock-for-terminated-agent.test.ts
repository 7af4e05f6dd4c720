import { expect, test } from 'vitest';
import { createDesk } from '../support/locks/lock-desk.ts';

/** Defect 13: a terminated agent was granted a lock. */
interface Locks {
  acquire(resource: string, agentId: string): Promise<unknown>;
  release(resource: string, agentId: string): Promise<void>;
  agentLeft(agentId: string): Promise<unknown>;
  getAllocations(): ReadonlyMap<string, string>;
}

export async function scenario(locks: Locks): Promise<void> {
  await locks.acquire('x', 'holder');
  let granted = false;
  const wait = locks.acquire('x', 'dead').then(
    () => {
      granted = true;
    },
    () => undefined,
  );
  const next = locks.acquire('x', 'alive');
  await locks.agentLeft('dead');
  await locks.release('x', 'holder');
  await Promise.race([Promise.all([wait, next]), new Promise((resolve) => setImmediate(resolve))]);
  expect(granted).toBe(false);
  expect(locks.getAllocations().get('x')).toBe('alive');
  await locks.release('x', 'alive');
  await expect(locks.acquire('x', 'dead')).rejects.toThrow('dead');
  expect(locks.getAllocations().has('x')).toBe(false);
}

/** The predecessor's: what an agent holds is released, its waiting requests stay. */
function naive(): Locks {
  const owners = new Map<string, string>();
  const queue: { resource: string; agentId: string; grant: () => void }[] = [];
  const release = (resource: string): Promise<void> => {
    owners.delete(resource);
    const at = queue.findIndex((request) => request.resource === resource);
    const [next] = at < 0 ? [] : queue.splice(at, 1);
    if (next !== undefined) {
      owners.set(resource, next.agentId);
      next.grant();
    }
    return Promise.resolve();
  };
  return {
    getAllocations: () => owners,
    release,
    acquire(resource, agentId) {
      if (!owners.has(resource)) {
        owners.set(resource, agentId);
        return Promise.resolve();
      }
      return new Promise((resolve) => {
        queue.push({ resource, agentId, grant: () => resolve(undefined) });
      });
    },
    async agentLeft(agentId) {
      for (const [resource, owner] of owners) if (owner === agentId) await release(resource);
    },
  };
}

test('defect 13: an agent that left is never granted a lock', async () => {
  await expect(scenario(naive())).rejects.toThrow();
  await scenario(createDesk().locks);
});
