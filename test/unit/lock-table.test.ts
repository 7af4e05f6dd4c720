import { describe, expect, test } from 'vitest';
import { MemoryLockStore } from '../../src/backends/memory/lock-store.ts';
import { createMemoryCore } from '../../src/backends/memory/memory-core.ts';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import { isCoordinationError } from '../../src/core/errors.ts';
import type { LockAnswer, LockRequest } from '../../src/core/ports/locks.ts';
import type { BackendTime, Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { compareVictims, type VictimCandidate } from '../../src/resources/victim.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { createLateDesk } from '../support/locks/late-desk.ts';
import { createDesk } from '../support/locks/lock-desk.ts';

const codeOf = (error: unknown): unknown => (isCoordinationError(error) ? error.code : error);
const shared = (resource: string) => ({ resource, mode: 'shared' }) as const;

describe('who may go on', () => {
  test('L7: a newcomer looks past a request that is covered by what its owner holds', async () => {
    const { locks, clock } = createDesk();
    await locks.acquire(shared('x'), { owner: 'ann' });
    await locks.acquire('y', { owner: 'holder' });
    const writer = locks.acquire('x', { owner: 'writer' }).catch(codeOf);
    const again = locks.acquireAll([shared('x'), 'y'], { owner: 'ann', reentrant: true }).catch(codeOf);
    let answer: unknown = 'not answered';
    void locks.tryAcquire(shared('x')).then((lease) => void (answer = lease));
    await clock.settle();
    // The writer was first.
    expect(answer).toBeUndefined();
    await locks.shutdown();
    expect(await Promise.all([writer, again])).toEqual(['STOPPED', 'STOPPED']);
  });

  test('L7: when the last of those passed too often leaves, the others still aren’t passed any more', async () => {
    const { locks } = createDesk({ maxOvertakes: 1 });
    const order: string[] = [];
    const ask = (name: string, priority: number, signal?: AbortSignal): Promise<unknown> =>
      locks
        .acquire('x', { owner: name, priority, ...(signal === undefined ? {} : { signal }) })
        .then((lease) => {
          order.push(name);
          return lease.release();
        }, codeOf);
    const held = await locks.acquire('x');
    const leaving = new AbortController();
    const waits = [ask('first', 1), ask('second', 1, leaving.signal), ask('urgent', 9)];
    leaving.abort('gone');
    waits.push(ask('too late', 9));
    await held.release();
    await Promise.all(waits);
    expect(order).toEqual(['urgent', 'first', 'too late']);
  });

  test('a lock that is handed on lets its owner’s other requests for it in as well', async () => {
    const { locks } = createDesk();
    const held = await locks.acquire('x', 'holder');
    const first = locks.acquire('x', 'ann');
    const second = locks.acquireAll(['x', 'y'], { owner: 'ann', reentrant: true });
    await held.release();
    expect(await Promise.all([first, second])).toMatchObject([{ owner: 'ann' }, { owner: 'ann' }]);
    expect(locks.lockUse()).toMatchObject({ held: 2, waiting: 0 });
  });
});

describe('L4: a lease ends by the clock, also when its timer is late', () => {
  test.each([
    ['by name', 'x'],
    ['in another mode', shared('x')],
  ] as const)('L4: whoever asks %s gets it at once', async (_how, request) => {
    const { locks, block } = createLateDesk();
    const old = await locks.acquire('x', { leaseMs: 200 });
    block(1_000);
    const lease = await (typeof request === 'string' ? locks.acquire(request) : locks.acquire(request));
    expect(lease.token).toBeGreaterThan(old.token);
    expect(old.signal.aborted).toBe(true);
  });

  test('L4: so does a lock without a lease of its own, once it was taken back', async () => {
    const { locks, block, clock, store } = createLateDesk();
    const old = await locks.acquire('x');
    await locks.forceRelease('x', { graceMs: 200 });
    block(1_000);
    const lease = await locks.acquire('x');
    expect(lease.token).toBeGreaterThan(old.token);
    await lease.release();
    // And the count of leases there is right afterwards.
    await locks.acquire('x', { leaseMs: 200 });
    block(1_000);
    expect(await locks.tryAcquire('x')).toBeDefined();
    await clock.advance(10_000);
    expect(store.live.counts()).toMatchObject({ held: 1 });
  });
});

test('L2: a set of new resources is held in whole, also when idle ones are forgotten meanwhile', async () => {
  const { locks } = createDesk();
  // One record less than what makes room.
  for (let n = 0; n < 16_383; n++) await (await locks.acquire(`idle-${n}`)).release();
  const set = await locks.acquireAll(['new-1', 'new-2', 'new-3']);
  for (const name of set.resources) expect(await locks.tryAcquire(name), name).toBeUndefined();
  await set.release();
  expect(await locks.tryAcquire(['new-1', 'new-2', 'new-3'])).toBeDefined();
});

/** The store by its port, with two sessions. */
function openStore() {
  const core = createMemoryCore(createRuntime({ clock: createTestClock() }));
  const store = new MemoryLockStore(core);
  let sequence = 0;
  const open = (boot: string): SessionNumber =>
    core.sessions.open({ boot, leaseMs: Number.POSITIVE_INFINITY, writer: 1, report: EMPTY_REPORT }).session;
  const ask = (session: SessionNumber, id: string, more: Partial<LockRequest>): LockAnswer => {
    const request: LockRequest = {
      id,
      items: [{ resource: 'x', mode: 'exclusive' }],
      owner: { id, priority: 2, since: 0 as BackendTime, defeats: 0 },
      order: { ageStepMs: 10_000, maxOvertakes: 32 },
      priority: 2,
      wait: true,
      lease: 'session',
      reentrant: false,
      ...more,
    };
    const op: Operation = { session, sequence: ++sequence };
    return store.request(op, [request]).answers[0] as LockAnswer;
  };
  return { core, store, open, ask };
}

test('with its session a grant and the upgrade that waits for it end once each', () => {
  const { core, ask, open } = openStore();
  const dying = open('dying');
  const living = open('living');
  const heard: string[] = [];
  const listener = (who: string) => ({
    lockChanged: ({ status }: LockAnswer) => void heard.push(`${who} ${status}`),
  });
  const items = [{ resource: 'x', mode: 'shared' }] as const;
  const held = ask(dying, 'held', { items, listener: listener('held') });
  ask(living, 'reader', { items });
  const { id, token } = held as Extract<LockAnswer, { status: 'granted' }>;
  ask(dying, 'upgrade', { upgradeOf: { id, token }, listener: listener('upgrade') });
  core.sessions.close(dying);
  expect(heard.toSorted()).toEqual(['held lost', 'upgrade lost']);
});

describe('the victim of a deadlock', () => {
  const candidate = (more: Partial<VictimCandidate>): VictimCandidate => ({
    node: 'n',
    priority: 2,
    defeats: 0,
    since: 1_000,
    locks: 1,
    ...more,
  });
  /** Each rule decides only where all before it are even; everything after it points the other way. */
  test.each([
    [
      'the one that lost less than four times in a row',
      { defeats: 0, priority: 9 },
      { defeats: 4, priority: 1 },
    ],
    ['the one of lower priority', { priority: 1, defeats: 3 }, { priority: 2, defeats: 0 }],
    ['the one with fewer defeats', { defeats: 0, since: 1 }, { defeats: 1, since: 9 }],
    ['the younger one', { since: 9, locks: 5 }, { since: 1, locks: 1 }],
    ['the one with fewer locks', { locks: 1, node: 'z' }, { locks: 5, node: 'a' }],
    ['the one whose id comes first', { node: 'a' }, { node: 'z' }],
  ])('D5: is %s', (_which, best, other) => {
    const both = [candidate(other), candidate(best)];
    expect(both.toSorted(compareVictims)[0]).toEqual(candidate(best));
    expect(both.toReversed().toSorted(compareVictims)[0]).toEqual(candidate(best));
  });
});
