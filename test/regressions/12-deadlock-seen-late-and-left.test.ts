import { expect, test } from 'vitest';
import { isCoordinationError } from '../../src/core/errors.ts';
import { createDesk } from '../support/locks/lock-desk.ts';

/** Defect 12: detection ran every 10 s, saw only queue heads, chose a bystander as victim, left the deadlock in place, never told the victim. */
interface Locks {
  acquire(resource: string, agentId: string, priority?: number): Promise<unknown>;
  release(resource: string, agentId: string): Promise<void>;
  /** Lets this much time pass. */
  pass(ms: number): Promise<void>;
}

export async function scenario(locks: Locks): Promise<void> {
  const told = new Map<string, string>();
  const want = (resource: string, agentId: string, priority: number): void => {
    void locks.acquire(resource, agentId, priority).then(
      () => told.set(agentId, 'granted'),
      (error: unknown) => told.set(agentId, isCoordinationError(error) ? error.code : 'failed'),
    );
  };
  await locks.acquire('a', 'ann', 3);
  await locks.acquire('b', 'bob', 2);
  // Bystanders stand at the heads of both queues, before those whose waits make the cycle.
  want('a', 'passer-by', 1);
  want('b', 'looker-on', 1);
  want('b', 'ann', 3);
  want('a', 'bob', 2);
  await locks.pass(1_000);
  expect(told.get('bob')).toBe('DEADLOCK');
  expect(told.has('ann')).toBe(false);
  expect(told.has('passer-by')).toBe(false);
  expect(told.has('looker-on')).toBe(false);
  await locks.release('b', 'bob');
  await locks.pass(0);
  expect(told.get('ann')).toBe('granted');
  await locks.release('b', 'ann');
  await locks.release('a', 'ann');
  await locks.pass(0);
  expect(told.get('passer-by')).toBe('granted');
  expect(told.get('looker-on')).toBe('granted');
}

/** The predecessor's detection: a timer, queue heads only, and a victim whose lock is forgotten while its promise stays as it is. */
function naive(): Locks {
  const owners = new Map<string, string>();
  const queues = new Map<string, { agentId: string; grant: () => void }[]>();
  let now = 0;
  const detect = (): void => {
    const waitsFor = new Map<string, string>();
    for (const [resource, [head]] of queues) {
      const owner = owners.get(resource);
      if (head !== undefined && owner !== undefined) waitsFor.set(head.agentId, owner);
    }
    for (const start of waitsFor.keys()) {
      if (waitsFor.get(waitsFor.get(start) ?? '') === start) owners.delete(start);
    }
  };
  return {
    acquire(resource, agentId) {
      if (!owners.has(resource)) {
        owners.set(resource, agentId);
        return Promise.resolve();
      }
      return new Promise((resolve) => {
        const queue = queues.get(resource) ?? [];
        queue.push({ agentId, grant: () => resolve(undefined) });
        queues.set(resource, queue);
      });
    },
    release(resource) {
      const next = queues.get(resource)?.shift();
      if (next === undefined) owners.delete(resource);
      else {
        owners.set(resource, next.agentId);
        next.grant();
      }
      return Promise.resolve();
    },
    async pass(ms) {
      now += ms;
      if (now >= 10_000) detect();
      await new Promise<void>((resolve) => setImmediate(resolve));
    },
  };
}

test('defect 12: a crossed lock is found at once, its victim is part of it and is told, the others go on', async () => {
  await expect(scenario(naive())).rejects.toThrow();
  const { locks, clock } = createDesk();
  await scenario({
    acquire: (resource, agentId, priority) => locks.acquire(resource, agentId, priority),
    release: (resource, agentId) => locks.release(resource, agentId),
    pass: (ms) => clock.advance(ms),
  });
});
