import { expect, test } from 'vitest';
import { OptimisticLockManager } from '../../src/resources/optimistic-lock-manager.ts';

/** Defect 18: an optimistic second reader overwrote the holder. */
interface Versions {
  acquireLock(resourceId: string, agentId: string): number;
  validateAndUpdate(resourceId: string, agentId: string, expectedVersion: number): boolean;
  releaseLock(resourceId: string, agentId: string): void;
}

export function scenario(versions: Versions): void {
  const ann = versions.acquireLock('doc', 'ann');
  const bob = versions.acquireLock('doc', 'bob');
  expect(versions.validateAndUpdate('doc', 'ann', ann)).toBe(true);
  expect(versions.validateAndUpdate('doc', 'bob', bob)).toBe(false);
  versions.releaseLock('doc', 'bob');
  const cid = versions.acquireLock('doc', 'cid');
  versions.releaseLock('doc', 'ann');
  expect(versions.validateAndUpdate('doc', 'cid', cid)).toBe(true);
}

/** The predecessor's: one record for each resource, written by whoever came last. */
function naive(): Versions {
  const records = new Map<string, { holder: string; version: number }>();
  return {
    acquireLock(resourceId, agentId) {
      const version = records.get(resourceId)?.version ?? 1;
      records.set(resourceId, { holder: agentId, version });
      return version;
    },
    validateAndUpdate(resourceId, agentId, expectedVersion) {
      const record = records.get(resourceId);
      if (record?.holder !== agentId || record.version !== expectedVersion) return false;
      record.version += 1;
      return true;
    },
    releaseLock: (resourceId, agentId) => {
      if (records.get(resourceId)?.holder === agentId) records.delete(resourceId);
    },
  };
}

test('defect 18: a second reader does not take the place of the first', () => {
  expect(() => scenario(naive())).toThrow();
  scenario(new OptimisticLockManager());
});
