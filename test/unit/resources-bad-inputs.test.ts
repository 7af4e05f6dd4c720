import { describe, expect, test } from 'vitest';
import { isCoordinationError } from '../../src/core/errors.ts';
import { ResourceManager } from '../../src/resources/resource-manager.ts';
import { OptimisticLockManager } from '../../src/resources/optimistic-lock-manager.ts';
import { createDesk } from '../support/locks/lock-desk.ts';

const IDS: readonly unknown[] = [
  '',
  'x'.repeat(1_000),
  'a\u0000b',
  'line\nbreak',
  '\ud800',
  undefined,
  null,
  7,
  Number.NaN,
  {},
  [],
  Symbol('id'),
  10n,
  () => 'x',
];
const NUMBERS: readonly unknown[] = [Number.NaN, Number.NEGATIVE_INFINITY, -1, '5', null, {}, 10n];
const STRANGE_IDS = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  ': { } * ? [ \\',
  '\u202e rtl',
  '🔒',
  ' ',
];

/** Every refusal is a CoordinationError about the caller's mistake, as a rejection for calls that answer a promise. */
async function refused(call: () => unknown): Promise<void> {
  let thrown: unknown;
  try {
    await call();
  } catch (error) {
    thrown = error;
  }
  expect(isCoordinationError(thrown) ? thrown.code : thrown).toMatch(/^INVALID_(ARGUMENT|OPTION)$/);
}

describe('bad inputs', () => {
  const { locks } = createDesk();
  const any = locks as unknown as Record<string, (...args: readonly unknown[]) => unknown>;
  const fence = { semaphore: 'gpu', of: 4 };

  const calls: readonly (readonly [string, readonly unknown[], (value: unknown) => unknown])[] = [
    [
      'acquire(resource)',
      IDS.filter((id) => typeof id !== 'object' || id === null),
      (id) => any['acquire']?.(id, 'agent'),
    ],
    [
      'acquire(agent)',
      IDS.filter((id) => id !== undefined && (typeof id !== 'object' || id === null)),
      (id) => any['acquire']?.('x', id),
    ],
    ['acquire(request)', IDS, (id) => any['acquire']?.(id)],
    ['acquire({ resource })', IDS, (resource) => any['acquire']?.({ resource })],
    [
      'acquire({ path })',
      IDS.filter((id) => id !== undefined && id !== 'x'.repeat(1_000)),
      (path) => any['acquire']?.({ path }),
    ],
    [
      'acquire({ semaphore })',
      IDS.filter((id) => id !== undefined),
      (semaphore) => any['acquire']?.({ semaphore, of: 2 }),
    ],
    [
      'acquire(priority)',
      [...NUMBERS.filter((n) => n !== -1), 1.5, 1_001, 'urgent', Number.POSITIVE_INFINITY],
      (priority) => any['acquire']?.('x', 'agent', priority),
    ],
    [
      'options',
      [
        null,
        7,
        'x',
        [],
        { timeOutMs: 5 },
        { leaseMs: 0 },
        { leaseMs: 1 },
        { leaseMs: Number.NaN },
        { leaseMs: 2 ** 50 },
        { signal: {} },
        { renew: 'yes' },
        { reentrant: 1 },
        { owner: '' },
        { agent: 7 },
        { task: '\n' },
      ].filter((o) => o !== 'x'),
      (options) => any['acquire']?.('x', 'agent', 1, options),
    ],
    [
      'options of the other form',
      [{ timeoutMs: -1 }, { timeoutMs: Number.NaN }, { priority: Number.NaN }, { unknown: true }],
      (options) => any['acquire']?.('x', options),
    ],
    [
      'modes',
      ['none', 'intent-shared', 'intent-exclusive', 7, null, {}],
      (mode) => any['acquire']?.({ resource: 'x', mode }),
    ],
    ['path modes', ['update', 'none'], (mode) => any['acquire']?.({ path: 'x', mode })],
    ['units', [0, 5, -1, 1.5, Number.NaN, '2'], (units) => any['acquire']?.({ ...fence, units })],
    [
      'capacity',
      [0, -1, 1.5, Number.NaN, undefined, Number.POSITIVE_INFINITY],
      (of) => any['acquire']?.({ semaphore: 'gpu', of }),
    ],
    [
      'mixed requests',
      [{}, { resource: 'x', path: 'y' }, { path: 'x', of: 2 }, { resource: 'x', units: 2 }],
      (request) => any['acquire']?.(request),
    ],
    [
      'acquireAll',
      [
        [],
        'x',
        undefined,
        null,
        {},
        [[]],
        ['x', ''],
        [
          { semaphore: 'g', of: 2 },
          { semaphore: 'g', of: 3 },
        ],
        [
          { semaphore: 'g', of: 2, units: 2 },
          { semaphore: 'g', of: 2 },
        ],
        ['g', { semaphore: 'g', of: 2 }],
        Array.from({ length: 300 }, (_, i) => `r${i}`),
      ],
      (requests) => any['acquireAll']?.(requests),
    ],
    ['tryAcquire', IDS.filter((id) => id !== undefined), (id) => any['tryAcquire']?.(id)],
    ['withLock', [undefined, null, 7, 'f'], (use) => any['withLock']?.('x', use)],
    ['release(resource)', IDS, (id) => any['release']?.(id, 'agent')],
    ['release(agent)', IDS, (id) => any['release']?.('x', id)],
    ['releaseAllForAgent', IDS, (id) => any['releaseAllForAgent']?.(id)],
    ['releaseOwner', IDS, (id) => any['releaseOwner']?.(id)],
    ['agentLeft', IDS, (id) => any['agentLeft']?.(id)],
    ['agentJoined', IDS, (id) => any['agentJoined']?.(id)],
    ['forceRelease', IDS, (id) => any['forceRelease']?.(id)],
    [
      'forceRelease(options)',
      [{ graceMs: -1 }, { graceMs: Number.NaN }, { reason: '' }, { grace: 1 }],
      (options) => any['forceRelease']?.('x', options),
    ],
    ['moveLock(resource)', IDS, (id) => any['moveLock']?.(id, 'agent')],
    ['moveLock(agent)', IDS, (id) => any['moveLock']?.('x', id)],
    ['whyWaiting', IDS, (id) => any['whyWaiting']?.(id)],
    ['requestTimes', IDS, (id) => any['requestTimes']?.(id, [])],
    ['untilFinished', IDS, (id) => any['untilFinished']?.(id)],
    ['waitsFor', IDS, (id) => any['waitsFor']?.('a', id, 'what')],
    ['waitsFor(abort)', [7, 'x', {}], (abort) => any['waitsFor']?.('a', 'b', 'what', { abort })],
    ['scope', [undefined, 7, 'f'], (run) => any['scope']?.(run)],
    [
      'scope(options)',
      [{ maxDefeats: -1 }, { maxDefeats: 1.5 }, { owner: '' }, { other: 1 }],
      (options) => any['scope']?.(() => 1, options),
    ],
    ['list', [{ limit: 0 }, { limit: 1_001 }, { limit: Number.NaN }, {}], (page) => any['list']?.({}, page)],
    [
      'constructor',
      [
        { leaseMs: 0 },
        { leaseMs: '5' },
        { maxOvertakes: -1 },
        { resourceTimeout: Number.NaN },
        { deadlockDetection: 'no' },
        { victim: 7 },
        { leaseMS: 5 },
        7,
        'x',
        [],
      ],
      (config) => new ResourceManager(config as object),
    ],
    ['acquireLock', IDS, (id) => new OptimisticLockManager().acquireLock(id as string, 'agent')],
    ['validateAndUpdate', IDS, (id) => new OptimisticLockManager().validateAndUpdate('x', id as string, 1)],
    ['releaseLock', IDS, (id) => new OptimisticLockManager().releaseLock('x', id as string)],
  ];

  test.each(calls)('%s', async (_name, values, call) => {
    for (const value of values) await refused(() => call(value));
  });

  test('nothing of all that holds or waits for anything', () => {
    expect(locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
  });

  test('getters and proxies that throw are refused', async () => {
    const hostile = new Proxy(
      {},
      {
        ownKeys() {
          throw new Error('hostile');
        },
      },
    );
    await refused(() => any['acquire']?.(hostile));
    let reads = 0;
    const shifting = {
      get resource() {
        reads += 1;
        return reads === 1 ? 'first' : '';
      },
    };
    const lease = await locks.acquire(shifting);
    expect(lease.resources).toEqual(['first']);
    await lease.release();
  });

  test('strange names are names', async () => {
    for (const id of STRANGE_IDS) {
      await locks.acquire(id, id);
      expect(locks.getAllocations().get(id)).toBe(id);
      await locks.release(id, id);
      await locks.withLock({ semaphore: id, of: 1 }, () => undefined);
    }
    expect(locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
  });

  test('timeoutMs 0 ends the wait with the next ms, an aborted signal at once', async () => {
    const desk = createDesk();
    await desk.locks.acquire('x', 'ann');
    const wait = desk.locks.acquire('x', { timeoutMs: 0 }).catch((error: unknown) => error);
    await desk.clock.advance(1);
    expect(await wait).toMatchObject({ code: 'LOCK_TIMEOUT' });
    const reason = new Error('before');
    await expect(desk.locks.acquire('x', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await expect(desk.locks.tryAcquire('free', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(desk.locks.getAllocations().has('free')).toBe(false);
  });

  test('a clock that stands still or jumps ends nothing early', async () => {
    const desk = createDesk({ resourceTimeout: 1_000 });
    await desk.locks.acquire('x', 'ann');
    const wait = desk.locks.acquire('x', 'bob').catch((error: unknown) => error);
    await desk.clock.advance(0);
    expect(desk.locks.getWaitingRequests().size).toBe(1);
    await desk.clock.advance(86_400_000);
    expect(await wait).toMatchObject({ code: 'LOCK_TIMEOUT' });
  });

  test('L7: 100,000 waiters on one lock with 32 priorities: all served, and within a priority in their order', async () => {
    const desk = createDesk({ resourceTimeout: 600_000 });
    const first = await desk.locks.acquire('one', 'holder');
    const served = Array.from({ length: 32 }, () => [] as number[]);
    const waits = Array.from({ length: 100_000 }, (_, i) => {
      const priority = (i * 7_919) % 32;
      return desk.locks.acquire('one', `agent-${i}`, priority).then((lease) => {
        served[priority]?.push(i);
        return lease.release();
      });
    });
    await first.release();
    await Promise.all(waits);
    expect(served.flat()).toHaveLength(100_000);
    for (const row of served) expect(row.every((n, i) => i === 0 || n > (row[i - 1] as number))).toBe(true);
    expect(desk.locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
  }, 30_000);

  test('an agent that leaves while 1,000 wait for what it holds', async () => {
    const desk = createDesk();
    for (let i = 0; i < 100; i++) await desk.locks.acquire(`r${i}`, 'leaver');
    const waits = Array.from({ length: 1_000 }, (_, i) =>
      desk.locks.withLock(`r${i % 100}`, () => i, { owner: `w${i}` }),
    );
    expect(await desk.locks.agentLeft('leaver')).toBe(100);
    expect(await Promise.all(waits)).toHaveLength(1_000);
    expect(desk.locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
  });
});
