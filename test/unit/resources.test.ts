import { describe, expect, test } from 'vitest';
import { MemoryLockStore } from '../../src/backends/memory/lock-store.ts';
import { standalone } from '../../src/backends/memory/standalone.ts';
import { isCoordinationError } from '../../src/core/errors.ts';
import { DeadlockError } from '../../src/core/deadlock-error.ts';
import { EventBus } from '../../src/core/event-bus.ts';
import type { EventName } from '../../src/core/events.ts';
import { LockTimeoutError } from '../../src/resources/lock-timeout-error.ts';
import { ResourceManager } from '../../src/resources/resource-manager.ts';
import { createDesk } from '../support/locks/lock-desk.ts';

const codeOf = (error: unknown): unknown => (isCoordinationError(error) ? error.code : error);

describe('the documented form', () => {
  test('acquire in try, release in finally, and the next one goes on', async () => {
    const { locks } = createDesk();
    try {
      await locks.acquire('database-lock', 'agent1', 1);
      const next = locks.acquire('database-lock', 'agent2', 1);
      expect(locks.getAllocations()).toEqual(new Map([['database-lock', 'agent1']]));
      expect(locks.getWaitingRequests()).toEqual(new Map([['database-lock', ['agent2']]]));
      await locks.release('database-lock', 'agent1');
      await next;
    } finally {
      await locks.release('database-lock', 'agent1');
    }
    expect(locks.getAllocations()).toEqual(new Map([['database-lock', 'agent2']]));
    await locks.release('database-lock', 'agent2');
    expect(locks.getAllocations()).toEqual(new Map());
  });

  test('L8: the agent that holds it gets the same lease at once; one release gives it back', async () => {
    const { locks } = createDesk();
    const first = await locks.acquire('file-lock', 'agent1');
    const again = await locks.acquire('file-lock', 'agent1', 9);
    expect(again).toBe(first);
    expect(again.token).toBe(first.token);
    const next = locks.acquire('file-lock', 'agent2');
    await locks.release('file-lock', 'agent1');
    expect((await next).owner).toBe('agent2');
  });

  test('two calls of one agent that wait for the same get the same lease', async () => {
    const { locks } = createDesk();
    await locks.acquire('x', 'holder');
    const both = Promise.all([locks.acquire('x', 'agent1'), locks.acquire('x', 'agent1')]);
    await locks.release('x', 'holder');
    const [first, second] = await both;
    expect(second).toBe(first);
    await locks.release('x', 'agent1');
    expect(locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
  });

  test('releasing what is not held does nothing', async () => {
    const { locks } = createDesk();
    await locks.release('nothing', 'agent1');
    await locks.acquire('x', 'agent1');
    await locks.release('x', 'agent2');
    expect(locks.getAllocations().get('x')).toBe('agent1');
  });

  test('releaseAllForAgent gives back all, ends its waits and tells how many', async () => {
    const { locks } = createDesk();
    await locks.acquire('a', 'agent1');
    const lease = await locks.acquire('b', { owner: 'run-7', agent: 'agent1' });
    await locks.acquire('c', 'agent2');
    const wait = locks.acquire('c', 'agent1').catch(codeOf);
    expect(await locks.releaseAllForAgent('agent1')).toBe(2);
    expect(await wait).toBe('LEASE_LOST');
    expect(lease.signal.aborted).toBe(true);
    expect([...locks.getAllocations().keys()]).toEqual(['c']);
    await locks.acquire('a', 'agent1');
  });

  test('an agent with many locks finds each of them', async () => {
    const { locks } = createDesk();
    for (let i = 0; i < 60; i++) await locks.acquire(`r${i}`, 'agent1');
    for (let i = 59; i >= 0; i -= 2) await locks.release(`r${i}`, 'agent1');
    expect(locks.getAllocations().size).toBe(30);
    for (let i = 0; i < 60; i += 2) await locks.release(`r${i}`, 'agent1');
    expect(locks.getAllocations().size).toBe(0);
  });
});

describe('waits', () => {
  test('L6: a wait ends after resourceTimeout with the holders, and leaves nothing behind', async () => {
    const { locks, clock, named } = createDesk({ resourceTimeout: 1_000 });
    await locks.acquire('x', 'agent1');
    const wait = locks.acquire('x', 'agent2').catch((error: unknown) => error);
    await clock.advance(999);
    expect(locks.getWaitingRequests().size).toBe(1);
    await clock.advance(1);
    const error = await wait;
    expect(error).toBeInstanceOf(LockTimeoutError);
    expect(error).toMatchObject({ code: 'LOCK_TIMEOUT', resource: 'x', holders: ['agent1'] });
    expect(locks.getWaitingRequests().size).toBe(0);
    expect(named('resource:abandoned')).toEqual([
      { resourceId: 'x', agentId: 'agent2', waitedMs: 1_000, code: 'LOCK_TIMEOUT' },
    ]);
    await locks.release('x', 'agent1');
    expect(locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
  });

  test('different time limits run side by side', async () => {
    const { locks, clock } = createDesk();
    await locks.acquire('x', 'holder');
    const ended: string[] = [];
    for (const [agent, timeoutMs] of [
      ['slow', 900],
      ['quick', 100],
      ['late', 500],
    ] as const) {
      locks.acquire('x', agent, 1, { timeoutMs }).catch(() => ended.push(agent));
    }
    locks
      .acquire('x', 'patient', 1, { timeoutMs: Number.POSITIVE_INFINITY })
      .catch(() => ended.push('patient'));
    await clock.advance(400);
    locks.acquire('x', 'quick-too', 1, { timeoutMs: 100 }).catch(() => ended.push('quick-too'));
    await clock.advance(10_000);
    expect(ended).toEqual(['quick', 'late', 'quick-too', 'slow']);
  });

  test('L6: an aborted wait rejects with the reason of the signal', async () => {
    const { locks } = createDesk();
    await locks.acquire('x', 'agent1');
    const abort = new AbortController();
    const reason = new Error('enough');
    const wait = locks
      .acquire('x', { owner: 'agent2', signal: abort.signal })
      .catch((error: unknown) => error);
    abort.abort(reason);
    expect(await wait).toBe(reason);
    expect(locks.getWaitingRequests().size).toBe(0);
    await expect(locks.acquire('y', { signal: abort.signal })).rejects.toBe(reason);
    expect(locks.getAllocations().has('y')).toBe(false);
  });

  test('tryAcquire answers at once', async () => {
    const { locks } = createDesk();
    const lease = await locks.tryAcquire('x');
    expect(lease?.resources).toEqual(['x']);
    expect(await locks.tryAcquire('x')).toBeUndefined();
    expect(await locks.tryAcquire({ resource: 'x', mode: 'shared' })).toBeUndefined();
    await lease?.release();
    expect(await locks.tryAcquire(['x', 'y'])).toBeDefined();
  });

  test('acquireAll takes all or none, and sets never deadlock among themselves', async () => {
    const { locks, named } = createDesk();
    const done: string[] = [];
    const take = async (name: string, resources: string[]): Promise<void> => {
      const lease = await locks.acquireAll(resources, { owner: name });
      await Promise.resolve();
      done.push(name);
      await lease.release();
    };
    await Promise.all([
      take('ab', ['a', 'b']),
      take('ba', ['b', 'a']),
      take('bc', ['b', 'c']),
      take('ca', ['c', 'a']),
    ]);
    expect(done).toHaveLength(4);
    expect(named('deadlock:detected')).toEqual([]);
  });

  test('withLock gives back whatever becomes of its function', async () => {
    const { locks } = createDesk();
    expect(await locks.withLock('x', (lease) => lease.resources)).toEqual(['x']);
    await expect(locks.withLock('x', () => Promise.reject(new Error('late')))).rejects.toThrow('late');
    await expect(
      locks.withLock(['x', 'y'], () => {
        throw new Error('early');
      }),
    ).rejects.toThrow('early');
    expect(locks.getAllocations()).toEqual(new Map());
    const order: number[] = [];
    await Promise.all(
      [1, 2, 3].map((n) =>
        locks.withLock('x', async () => {
          order.push(n);
          await Promise.resolve();
          order.push(n);
        }),
      ),
    );
    expect(order).toEqual([1, 1, 2, 2, 3, 3]);
  });

  test('await using gives back at the end of the block', async () => {
    const { locks } = createDesk();
    {
      await using lease = await locks.acquire('x');
      expect(locks.getAllocations().get('x')).toBe(lease.owner);
    }
    expect(locks.getAllocations().size).toBe(0);
  });

  test('whyWaiting follows holders to the one that is at work', async () => {
    const { locks, clock } = createDesk();
    await locks.acquire('a', 'ann');
    await locks.acquire('b', 'bob');
    void locks.acquire('b', 'ann').catch(() => undefined);
    await clock.advance(250);
    void locks.acquire('a', { owner: 'run-1', agent: 'cid' }).catch(() => undefined);
    expect(locks.whyWaiting('run-1')).toEqual([
      { kind: 'lock', subject: 'a', holder: 'ann', sinceMs: 0 },
      { kind: 'lock', subject: 'b', holder: 'bob' },
    ]);
    expect(locks.whyWaiting('ann')).toEqual([{ kind: 'lock', subject: 'b', holder: 'bob', sinceMs: 250 }]);
    expect(locks.whyWaiting('bob')).toEqual([]);
    const { agentId } = { agentId: 'nobody' };
    expect(locks.whyWaiting(agentId)).toEqual([]);
  });

  test('whyWaiting knows owners that were made for one request', async () => {
    const { locks, bus } = createDesk();
    await locks.acquire('a', 'ann');
    const waited = bus.waitFor('resource:waited');
    void locks.acquire('a').catch(() => undefined);
    const { agentId } = await waited;
    expect(locks.whyWaiting(agentId)).toMatchObject([{ subject: 'a', holder: 'ann' }]);
  });

  test('requestTimes tells since when agents hold or want it', async () => {
    const { locks, clock } = createDesk();
    await locks.acquire('x', 'ann');
    await clock.advance(1_000);
    void locks.acquire('x', 'bob').catch(() => undefined);
    await clock.advance(500);
    const times = locks.requestTimes('x', ['ann', 'bob', 'cid']);
    expect(clock.wall() - (times.get('ann')?.getTime() ?? 0)).toBe(1_500);
    expect(clock.wall() - (times.get('bob')?.getTime() ?? 0)).toBe(500);
    expect(times.has('cid')).toBe(false);
  });
});

describe('agents that leave', () => {
  test('L6: an agent that left gives everything back, gets nothing, and is refused until it joins again', async () => {
    const { locks } = createDesk();
    const lease = await locks.acquire('x', 'agent1');
    await locks.acquire('y', 'agent3');
    const wait = locks.acquire('y', 'agent1').catch(codeOf);
    const next = locks.acquire('x', 'agent2');
    expect(await locks.agentLeft('agent1')).toBe(1);
    expect(await wait).toBe('UNKNOWN_AGENT');
    expect(codeOf(lease.signal.reason)).toBe('UNKNOWN_AGENT');
    expect((await next).owner).toBe('agent2');
    await locks.release('y', 'agent3');
    expect(locks.getAllocations().has('y')).toBe(false);
    await expect(locks.acquire('y', 'agent1')).rejects.toMatchObject({ code: 'UNKNOWN_AGENT' });
    await expect(locks.acquire('y', { owner: 'run', agent: 'agent1' })).rejects.toMatchObject({
      code: 'UNKNOWN_AGENT',
    });
    locks.agentJoined('agent1');
    await locks.acquire('y', 'agent1');
  });

  test('releaseOwner takes back what a run holds, and its waits', async () => {
    const { locks } = createDesk();
    await locks.acquireFor({ node: 'task-1', agent: 'agent1', priority: 2 }, ['a', { path: 'src/a.ts' }]);
    await locks.acquire('b', 'agent2');
    const wait = locks.acquireFor({ node: 'task-1', agent: 'agent1', priority: 2 }, ['b']).catch(codeOf);
    expect(await locks.releaseOwner('task-1')).toBe(1);
    expect(await wait).toBe('LEASE_LOST');
    expect([...locks.getAllocations().keys()]).toEqual(['b']);
    expect(await locks.releaseOwner('nobody')).toBe(0);
  });

  test('two runs of one agent are two owners: one waits for the other without a deadlock', async () => {
    const { locks, named } = createDesk();
    const first = await locks.acquireFor({ node: 'task-1', agent: 'agent1', priority: 2 }, ['a']);
    const second = locks.acquireFor({ node: 'task-2', agent: 'agent1', priority: 2 }, ['a']);
    await first.release();
    expect((await second).owner).toBe('task-2');
    expect(named('deadlock:detected')).toEqual([]);
  });
});

describe('deadlocks', () => {
  test('D1: the lowest priority of a cycle loses its wait, keeps its locks, and is told who survives', async () => {
    const { locks, named } = createDesk();
    await locks.acquire('a', 'ann');
    await locks.acquire('b', 'bob');
    const ann = locks.acquire('b', 'ann', 5);
    const error = await locks.acquire('a', 'bob', 1).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DeadlockError);
    expect(error).toMatchObject({
      code: 'DEADLOCK',
      agents: ['bob', 'ann'],
      resources: ['a', 'b'],
      survivor: 'ann',
    });
    expect(named('deadlock:detected')).toMatchObject([{ victim: 'bob', agents: ['bob', 'ann'] }]);
    expect(locks.getAllocations()).toEqual(
      new Map([
        ['a', 'ann'],
        ['b', 'bob'],
      ]),
    );
    expect(named('deadlock:resolved')).toEqual([]);
    await locks.release('b', 'bob');
    await ann;
    expect(named('deadlock:resolved')).toMatchObject([{ victim: 'bob' }]);
  });

  test('among equals the youngest loses', async () => {
    const { locks, clock } = createDesk();
    await locks.acquire('a', 'old');
    await clock.advance(10);
    await locks.acquire('b', 'young');
    const old = locks.acquire('b', 'old');
    await expect(locks.acquire('a', 'young')).rejects.toMatchObject({ code: 'DEADLOCK', survivor: 'old' });
    await locks.releaseAllForAgent('young');
    await old;
  });

  test('D5: the victim keeps its age: among those who lost as often, who began last loses next', async () => {
    const { locks, clock, named } = createDesk();
    const lose = async (name: string): Promise<void> => {
      await locks.acquire('own', name);
      await locks.acquire('other', 'strong');
      const wait = locks.acquire('other', name).catch(codeOf);
      const strong = locks.acquire('own', 'strong', 9);
      expect(await wait).toBe('DEADLOCK');
      await locks.releaseAllForAgent(name);
      await strong;
      await locks.releaseAllForAgent('strong');
    };
    await lose('first');
    await clock.advance(100);
    await lose('second');
    // They come back the other way round.
    await clock.advance(100);
    await locks.acquire('b', 'second');
    await clock.advance(100);
    await locks.acquire('a', 'first');
    const waits = [locks.acquire('b', 'first').catch(codeOf), locks.acquire('a', 'second').catch(codeOf)];
    expect(named('deadlock:detected').map(({ victim }) => victim)).toEqual(['first', 'second', 'second']);
    await locks.releaseAllForAgent('second');
    await Promise.all(waits);
    await locks.releaseAllForAgent('first');
  });

  test('the victim may be chosen; a choice that fails or names a bystander is reported and ignored', async () => {
    let choose: (nodes: readonly string[]) => string | undefined = () => 'ann';
    const { locks, named } = createDesk({
      victim: (_cycle, candidates) => choose(candidates.map(({ node }) => node)),
    });
    const crossing = async (round: string): Promise<unknown[]> => {
      await locks.acquire(`a${round}`, 'ann');
      await locks.acquire(`b${round}`, 'bob');
      const both = [locks.acquire(`b${round}`, 'ann', 5), locks.acquire(`a${round}`, 'bob', 1)].map((wait) =>
        wait.catch(codeOf),
      );
      const victim = named('deadlock:detected').at(-1)?.victim as string;
      await locks.releaseAllForAgent(victim);
      const outcome = [victim, ...(await Promise.all(both)).filter((value) => value === 'DEADLOCK')];
      await locks.releaseAllForAgent('ann');
      await locks.releaseAllForAgent('bob');
      return outcome;
    };
    expect(await crossing('1')).toEqual(['ann', 'DEADLOCK']);
    choose = () => 'a bystander';
    expect(await crossing('2')).toEqual(['bob', 'DEADLOCK']);
    choose = () => {
      throw new Error('no idea');
    };
    expect(await crossing('3')).toEqual(['bob', 'DEADLOCK']);
    choose = () => undefined;
    expect(await crossing('4')).toEqual(['bob', 'DEADLOCK']);
    expect(named('strategy:failed').map(({ strategy }) => strategy)).toEqual(['victim', 'victim']);
  });

  test('with deadlockDetection off, waits end by time', async () => {
    const { locks, clock, named } = createDesk({ deadlockDetection: false, resourceTimeout: 500 });
    await locks.acquire('a', 'ann');
    await locks.acquire('b', 'bob');
    const both = Promise.all([
      locks.acquire('b', 'ann').catch(codeOf),
      locks.acquire('a', 'bob').catch(codeOf),
    ]);
    await clock.advance(500);
    expect(await both).toEqual(['LOCK_TIMEOUT', 'LOCK_TIMEOUT']);
    expect(named('deadlock:detected')).toEqual([]);
  });

  test('D1: a cycle through a semaphore that others will free is no deadlock', async () => {
    const { locks, named } = createDesk();
    const gpu = { semaphore: 'gpu', of: 3 } as const;
    await locks.acquire(gpu, { owner: 'ann' });
    await locks.acquire(gpu, { owner: 'bob' });
    await locks.acquire(gpu, { owner: 'cid' });
    await locks.acquire('x', { owner: 'bob' });
    const ann = locks.acquire('x', { owner: 'ann' });
    const bob = locks.acquire(gpu, { owner: 'bob' });
    expect(named('deadlock:detected')).toEqual([]);
    await locks.releaseOwner('cid');
    await bob;
    await locks.releaseOwner('bob');
    await ann;
  });

  test('D2: a semaphore whose last holder waits too is one', async () => {
    const { locks, named } = createDesk();
    const gpu = { semaphore: 'gpu', of: 2 } as const;
    await locks.acquire(gpu, { owner: 'ann' });
    await locks.acquire(gpu, { owner: 'bob' });
    await locks.acquire('x', { owner: 'bob' });
    void locks.acquire('x', { owner: 'ann' }).catch(() => undefined);
    const bob = locks.acquire(gpu, { owner: 'bob' }).catch(codeOf);
    expect(named('deadlock:detected')).toHaveLength(1);
    expect(
      named('deadlock:detected')[0]
        ?.cycle.map(({ by }) => by)
        .sort(),
    ).toEqual(['lock', 'semaphore']);
    await locks.releaseOwner(named('deadlock:detected')[0]?.victim as string);
    await bob;
  });

  test('an owner that would have to wait for itself is told so', async () => {
    const { locks } = createDesk();
    const four = { semaphore: 'gpu', of: 4, units: 3 } as const;
    await locks.acquire(four, { owner: 'ann' });
    await expect(locks.acquire(four, { owner: 'ann' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('who only queues behind a request that waits for it goes first: nobody is a victim', async () => {
    const { locks, named } = createDesk();
    await locks.acquire('a', 'ann');
    const set = locks.acquireAll(['a', 'b'], { owner: 'bob' });
    const b = await locks.acquire('b', 'ann');
    expect(b.owner).toBe('ann');
    expect(named('deadlock:detected')).toEqual([]);
    await locks.releaseAllForAgent('ann');
    expect((await set).resources).toEqual(['a', 'b']);
  });

  test('the same among readers and writers', async () => {
    const { locks, named } = createDesk();
    await locks.acquire('x', 'ann');
    await locks.acquire({ resource: 'doc', mode: 'shared' }, { owner: 'bob' });
    void locks.acquire('doc', { owner: 'writer' }).catch(() => undefined);
    void locks.acquire('x', { owner: 'bob' }).catch(() => undefined);
    // Behind the writer, who waits for bob, who waits for ann: fairness alone would be the deadlock.
    const doc = await locks.acquire({ resource: 'doc', mode: 'shared' }, { owner: 'ann' });
    expect(doc.owner).toBe('ann');
    expect(named('deadlock:detected')).toEqual([]);
  });

  test('D4, D5: scopes that cross locks all finish, and nobody loses more than five times in a row', async () => {
    const { locks, bus } = createDesk();
    const rows = new Map<string, number>();
    let most = 0;
    bus.on('deadlock:detected', ({ victim }) => {
      rows.set(victim, (rows.get(victim) ?? 0) + 1);
      most = Math.max(most, rows.get(victim) as number);
    });
    const names = ['a', 'b', 'c', 'd'];
    await Promise.all(
      Array.from({ length: 12 }, async (_, n) => {
        for (let round = 0; round < 20; round++) {
          const order = n % 2 === 0 ? names : names.toReversed();
          await locks.scope(
            async (scope) => {
              for (const name of order) {
                await scope.acquire(name, { priority: 1 + (n % 3) });
                await Promise.resolve();
              }
            },
            { owner: `agent-${n}`, maxDefeats: 100 },
          );
          rows.delete(`agent-${n}`);
        }
      }),
    );
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(5);
    expect(locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
  });

  test('a scope passes on any other error, and gives up after so many defeats', async () => {
    const { locks, clock } = createDesk();
    await expect(locks.scope(() => Promise.reject(new Error('own')))).rejects.toThrow('own');
    await locks.acquire('a', 'rival', 9);
    let runs = 0;
    const scope = locks
      .scope(
        async (own) => {
          runs += 1;
          await own.acquire('b');
          if (runs === 1) void locks.acquire('b', 'rival', 9).catch(() => undefined);
          await own.acquire('a');
        },
        { maxDefeats: 0 },
      )
      .catch(codeOf);
    expect(await scope).toBe('DEADLOCK');
    expect(runs).toBe(1);
    await clock.advance(1);
    expect(locks.getAllocations().get('b')).toBe('rival');
  });
});

describe('by force', () => {
  test('L1: forceRelease tells the holder, and the next one gets a higher token once it is out', async () => {
    const { locks, clock } = createDesk();
    const held = await locks.acquire('x', 'agent1');
    const { signal } = held;
    const next = locks.acquire('x', 'agent2');
    expect(await locks.forceRelease('x', { graceMs: 1_000, reason: 'an operator wants it' })).toBe(1);
    expect(codeOf(signal.reason)).toBe('LOCK_REVOKED');
    expect(String(signal.reason)).toContain('an operator wants it');
    expect(locks.getAllocations().get('x')).toBe('agent1');
    expect(held.expiresInMs).toBeLessThanOrEqual(1_000);
    await clock.advance(1_001);
    expect((await next).token).toBeGreaterThan(held.token);
    expect(await locks.forceRelease('nothing')).toBe(0);
  });

  test('a holder that releases in time hands on at once', async () => {
    const { locks } = createDesk();
    const held = await locks.acquire('x', 'agent1');
    const next = locks.acquire('x', 'agent2');
    await locks.forceRelease('x');
    await held.release();
    expect((await next).owner).toBe('agent2');
  });

  test('moveLock gives a resource to an agent before everybody who waits', async () => {
    const { locks, clock } = createDesk();
    const held = await locks.acquire('x', 'agent1');
    const waiting = locks.acquire('x', 'agent2', 9);
    const moved = locks.moveLock('x', 'agent3', { graceMs: 100 });
    await clock.advance(0);
    expect(held.signal.aborted).toBe(true);
    await clock.advance(101);
    expect((await moved).owner).toBe('agent3');
    expect((await moved).token).toBeGreaterThan(held.token);
    await locks.release('x', 'agent3');
    expect((await waiting).owner).toBe('agent2');
  });

  test('moveLock to who waits already settles both calls, to who holds it changes nothing', async () => {
    const { locks } = createDesk();
    const held = await locks.acquire('x', 'agent1');
    const waiting = locks.acquire('x', 'agent2');
    const moved = locks.moveLock('x', 'agent2');
    await Promise.resolve();
    await Promise.resolve();
    await held.release();
    expect(await moved).toBe(await waiting);
    const again = await locks.moveLock('x', 'agent2');
    expect(again.signal.aborted).toBe(false);
  });
});

describe('life', () => {
  test('shutdown rejects waits, gives all back, refuses everything, and is idempotent', async () => {
    const { locks, clock } = createDesk();
    const lease = await locks.acquire('x', 'agent1');
    const wait = locks.acquire('x', 'agent2').catch(codeOf);
    await Promise.all([locks.shutdown(), locks.shutdown()]);
    expect(await wait).toBe('STOPPED');
    expect(codeOf(lease.signal.reason)).toBe('STOPPED');
    expect(locks.getAllocations().size).toBe(0);
    await expect(locks.acquire('x')).rejects.toMatchObject({ code: 'STOPPED' });
    await expect(locks.withLock('x', () => 1)).rejects.toMatchObject({ code: 'STOPPED' });
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('G6: nothing is armed while nobody waits and no lease is asked for', async () => {
    const { locks, clock } = createDesk();
    for (let i = 0; i < 10; i++) await locks.acquire(`r${i}`, 'agent1');
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    const wait = locks.acquire('r1', 'agent2');
    expect(clock.nextDue()).toBeLessThan(Number.POSITIVE_INFINITY);
    await locks.release('r1', 'agent1');
    await wait;
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('when the session is gone every lease is lost and every wait ends', async () => {
    const { locks } = createDesk();
    const lease = await locks.acquire('x', 'agent1');
    const wait = locks.acquire('x', 'agent2').catch(codeOf);
    locks.sessionLost();
    expect(lease.signal.reason).toMatchObject({
      code: 'SESSION_EXPIRED',
      hint: expect.stringContaining('Acquire it again') as string,
    });
    expect(await wait).toBe('SESSION_EXPIRED');
  });

  test('G5: listeners that call in, throw or reject disturb nothing', async () => {
    const { locks, bus } = createDesk();
    bus.on('resource:released', ({ resourceId }) => {
      void locks.acquire(`${resourceId}-too`, 'listener');
      throw new Error('listener');
    });
    bus.on('resource:acquired', () => Promise.reject(new Error('listener')));
    await locks.acquire('x', 'agent1');
    const next = locks.acquire('x', 'agent2');
    await locks.release('x', 'agent1');
    await next;
    await Promise.resolve();
    expect(locks.getAllocations().get('x-too')).toBe('listener');
  });

  test('events that nobody hears are counted, and heard by whoever listens from then on', async () => {
    const bus = new EventBus();
    const locks = new ResourceManager({}, bus);
    await (await locks.acquire('x')).release();
    const heard: string[] = [];
    const listening = bus.on('resource:acquired', ({ resourceId }) => void heard.push(resourceId));
    bus.on('resource:released', ({ resourceId }) => void heard.push(`no ${resourceId}`));
    await (await locks.acquire('y')).release();
    listening[Symbol.dispose]();
    await locks.acquire('z');
    expect(heard).toEqual(['y', 'no y']);
    const { 'resource:acquired': acquired, 'resource:released': released } = bus.getEventStats();
    expect([acquired?.count, released?.count]).toEqual([3, 2]);
  });

  test('a sink that only says whether it wants an event gets what it wants', async () => {
    const names: string[] = [];
    const wants = (name: EventName): boolean => name !== 'resource:released';
    const locks = new ResourceManager({}, { emit: (name) => void names.push(name), wants });
    const lease = await locks.acquire('x');
    const wait = locks.acquire('x');
    await lease.release();
    await (await wait).release();
    expect(names).toEqual(['resource:acquired', 'resource:waited', 'resource:acquired']);
  });

  test('L6: owners made for one request are listed while they hold or wait, and given back at the end', async () => {
    const { locks } = createDesk();
    const lease = await locks.acquire('x');
    const pair = await locks.acquireAll(['y', 'z']);
    const wait = locks.acquire('x').catch(codeOf);
    const given = await locks.acquire('w');
    await given.release();
    expect(locks.getAllocations()).toEqual(
      new Map([
        ['x', lease.owner],
        ['y', pair.owner],
        ['z', pair.owner],
      ]),
    );
    expect([...locks.getWaitingRequests().keys()]).toEqual(['x']);
    await locks.shutdown();
    expect(await wait).toBe('STOPPED');
    expect([lease.signal.aborted, pair.signal.aborted]).toEqual([true, true]);
    expect(locks.getAllocations()).toEqual(new Map());
    expect(locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
  });

  test('two managers on one store list only what is theirs', async () => {
    const { core, operations, runtime } = standalone({});
    const parts = { runtime, operations, store: new MemoryLockStore(core) };
    const [one, other] = [parts, parts].map((own) => new ResourceManager({}, undefined, undefined, own));
    await one?.acquire('x');
    expect([one?.getAllocations().size, other?.getAllocations().size]).toEqual([1, 0]);
    await other?.shutdown();
    expect(one?.lockUse().held).toBe(1);
  });

  test('alone, with nothing but a config, on the real clock', async () => {
    const locks = new ResourceManager({ resourceTimeout: 30_000, maxRetries: 3, deadlockDetection: true });
    const lease = await locks.acquire('x', 'agent1');
    expect(lease.token).toBeGreaterThan(1.6e15);
    await locks.shutdown();
  });
});
