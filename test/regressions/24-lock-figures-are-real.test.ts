import { expect, test } from 'vitest';
import { createDesk } from '../support/locks/lock-desk.ts';

/** Defect 24 (locks): hard-coded or random resource figures. */
interface Locks {
  acquire(resource: string, agentId: string): Promise<unknown>;
  release(resource: string, agentId: string): Promise<void>;
  getAllocations(): ReadonlyMap<string, string>;
  getWaitingRequests(): ReadonlyMap<string, readonly string[]>;
}

export async function scenario(locks: Locks): Promise<void> {
  const expected = new Map<string, string>();
  for (let i = 0; i < 40; i++) {
    await locks.acquire(`r${i}`, `agent-${i % 7}`);
    expected.set(`r${i}`, `agent-${i % 7}`);
  }
  expect(new Map(locks.getAllocations())).toEqual(expected);
  const waits = ['agent-x', 'agent-y', 'agent-z'].map((agent) => locks.acquire('r0', agent));
  expect(new Map(locks.getWaitingRequests())).toEqual(new Map([['r0', ['agent-x', 'agent-y', 'agent-z']]]));
  for (const [resource, agent] of expected) await locks.release(resource, agent);
  await waits[0];
  expect(new Map(locks.getAllocations())).toEqual(new Map([['r0', 'agent-x']]));
  expect(new Map(locks.getWaitingRequests())).toEqual(new Map([['r0', ['agent-y', 'agent-z']]]));
}

/** The predecessor's: figures that nobody counted. */
function naive(): Locks {
  return {
    acquire: () => Promise.resolve(),
    release: () => Promise.resolve(),
    getAllocations: () => new Map([['resource-1', 'agent-1']]),
    getWaitingRequests: () => new Map(),
  };
}

test('defect 24: allocations and waiting requests are what is held and wanted', async () => {
  await expect(scenario(naive())).rejects.toThrow();
  await scenario(createDesk().locks);
});
