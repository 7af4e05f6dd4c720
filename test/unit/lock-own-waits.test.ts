import { expect, test } from 'vitest';
import { MemoryLockStore } from '../../src/backends/memory/lock-store.ts';
import { createMemoryCore } from '../../src/backends/memory/memory-core.ts';
import type { LockMode, LockRequest } from '../../src/core/ports/locks.ts';
import type { BackendTime } from '../../src/core/ports/words.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

function request(id: string, owner: string, mode: LockMode, more: Partial<LockRequest> = {}): LockRequest {
  return {
    id,
    items: [{ resource: '/', mode }],
    owner: { id: owner, priority: 2, since: 0 as BackendTime, defeats: 0 },
    priority: 2,
    order: { ageStepMs: 10_000, maxOvertakes: 32 },
    wait: true,
    lease: 'session',
    reentrant: false,
    ...more,
  };
}

test('what an owner comes to hold by an upgrade is not in the way of its other waits', () => {
  const core = createMemoryCore({ clock: createTestClock() });
  const store = new MemoryLockStore(core);
  const { session } = core.sessions.open({ boot: 'b', leaseMs: 60_000, writer: 1, report: REPORT });
  let sequence = 0;
  const ask = (asked: LockRequest) => store.request({ session, sequence: ++sequence }, [asked]).answers[0];

  const held = ask(request('held', 'me', 'intent-shared'));
  if (held?.status !== 'granted') throw new Error(held?.status);
  expect(ask(request('other', 'other', 'exclusive'))?.status).toBe('waiting');
  expect(ask(request('mine', 'me', 'intent-exclusive'))?.status).toBe('waiting');
  expect(ask(request('up', 'me', 'intent-exclusive', { upgradeOf: held }))?.status).toBe('granted');
  // Nobody else could end this wait: its owner has all that it asks for.
  expect(store.keep(session, [{ id: 'mine' }]).answers[0]?.status).toBe('granted');
});
