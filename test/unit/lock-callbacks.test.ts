import { describe, expect, test } from 'vitest';
import { isCoordinationError } from '../../src/core/errors.ts';
import type { WaitSource } from '../../src/core/waits.ts';
import { createDesk } from '../support/locks/lock-desk.ts';

const codeOf = (error: unknown): unknown => (isCoordinationError(error) ? error.code : error);
const broken = (): never => {
  throw new Error('broken');
};

describe('a function of a user’s that throws', () => {
  test.each([
    ['throws', broken],
    ['rejects', () => Promise.reject(new Error('broken'))],
    [
      'throws something unreadable',
      () => {
        throw new Proxy({}, { get: broken });
      },
    ],
  ])('G5: `abort` of a declared wait that %s disturbs nobody’s acquire', async (_how, abort) => {
    const { locks, named, clock } = createDesk();
    await locks.acquire('a', { owner: 'ann', priority: 9 });
    const theirs = await locks.acquire('b', { owner: 'bob', priority: 1 });
    const options: object = { abort };
    locks.waitsFor('bob', 'ann', 'a phone call', options);
    const mine = locks.acquire('b', { owner: 'ann', priority: 9 });
    await clock.settle();
    expect(named('system:error')).toHaveLength(1);
    expect(named('system:error')).toMatchObject([{ part: 'locks' }]);
    await theirs.release();
    const lease = await mine;
    await lease.release();
    expect(await locks.tryAcquire('b')).toBeDefined();
  });

  test('G5: declaring a wait that closes a cycle works too', async () => {
    const { locks, named } = createDesk();
    await locks.acquire('a', { owner: 'ann' });
    const wait = locks.acquire('a', { owner: 'bob', priority: 9 }).catch(codeOf);
    expect(() => locks.waitsFor('ann', 'bob', 't', { abort: broken })).not.toThrow();
    expect(named('system:error')).toHaveLength(1);
    await locks.releaseOwner('ann');
    expect(await wait).toMatchObject({ owner: 'bob' });
  });

  test('G5: `begun` of a moved lock: the lease arrives', async () => {
    const { locks, named, clock } = createDesk();
    const held = await locks.acquire('a', 'ann');
    const moved = locks.moveLock('a', 'bob', { graceMs: 100, begun: broken });
    await clock.advance(200);
    expect(await moved).toMatchObject({ owner: 'bob' });
    expect(held.signal.aborted).toBe(true);
    expect(named('system:error')).toMatchObject([{ part: 'locks' }]);
  });

  test('a signal whose listeners can’t be added is refused, and leaves nothing behind', async () => {
    const { locks, store } = createDesk();
    const held = await locks.acquire('a');
    const signal = { aborted: false, addEventListener: broken, removeEventListener: broken };
    const error = await locks.acquire('a', { signal: signal as never }).catch(codeOf);
    expect(error).toBe('INVALID_ARGUMENT');
    await held.release();
    expect(store.live.counts()).toMatchObject({ held: 0, waiting: 0 });
  });
});

describe('sources of waits', () => {
  const working = { requirements: () => [], abort: () => false, waiting: () => [] };

  test.each([
    ['nothing', undefined],
    ['null', null],
    ['a number', 5],
    ['no methods', {}],
    ['a method that is none', { ...working, blocks: 1 }],
    ['an abortable that is neither', { ...working, abortable: 'no' }],
    [
      'getters that throw',
      {
        ...working,
        get abort() {
          return broken();
        },
      },
    ],
    ['a proxy that throws', new Proxy({}, { get: broken })],
  ])('%s is refused with a code', (_what, source) => {
    const { locks } = createDesk();
    expect(() => locks.waits.addSource(source as never)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  test.each(['entered', 'left', 'finished'] as const)('%s refuses what is no node', (method) => {
    const { locks } = createDesk();
    for (const node of [undefined, null, 1, '', 'a\nb', 'x'.repeat(1_000), {}, Symbol('s')]) {
      expect(() => locks.waits[method](node as never)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      );
    }
  });

  const methods = [
    'requirements',
    'abort',
    'waiting',
    'isWaiting',
    'blocks',
    'knows',
    'facts',
    'pass',
  ] as const;
  for (const method of methods) {
    test(`G5, D2: one whose ${method} throws is left out; cycles of locks are broken all the same`, async () => {
      const { locks, named } = createDesk();
      const all: WaitSource = {
        requirements: (node) =>
          node === 'ann'
            ? [{ by: 'declared', what: 't', blockers: [{ node: 'bob', frees: 1 }], needs: 1 }]
            : [],
        abort: () => true,
        waiting: () => ['ann'],
        isWaiting: (node) => node === 'ann',
        blocks: () => true,
        knows: () => false,
        facts: () => ({ priority: -5, since: 0 }),
        pass: () => false,
      };
      locks.waits.addSource({ ...all, [method]: broken });
      await locks.acquire('a', { owner: 'ann' });
      await locks.acquire('b', { owner: 'bob' });
      const first = locks.acquire('b', { owner: 'ann' }).catch(codeOf);
      const second = locks.acquire('a', { owner: 'bob' }).catch(codeOf);
      locks.waits.sweep();
      const outcome = await Promise.race([first, second]);
      expect(outcome).toBe('DEADLOCK');
      if (method !== 'knows') expect(named('system:error').length).toBeGreaterThan(0);
      await locks.shutdown();
    });
  }

  test('G5: answers that make no sense are reported, and the wait goes on', async () => {
    const { locks, named } = createDesk();
    locks.waits.addSource({
      ...working,
      requirements: () => null as never,
      isWaiting: () => true,
      blocks: () => true,
    });
    const held = await locks.acquire('a', { owner: 'ann' });
    const wait = locks.acquire('a', { owner: 'bob' });
    expect(named('system:error')).toMatchObject([{ part: 'locks' }]);
    await held.release();
    expect(await wait).toMatchObject({ owner: 'bob' });
  });

  test('a method is called on its source, and no getter is read twice', () => {
    class Waits implements WaitSource {
      reads = 0;
      asked = 0;
      get abort() {
        this.reads += 1;
        return () => false;
      }
      requirements() {
        this.asked += 1;
        return [];
      }
      waiting() {
        return ['ann'];
      }
    }
    const { locks } = createDesk();
    const source = new Waits();
    using _added = locks.waits.addSource(source);
    locks.waits.sweep();
    expect(source.asked).toBeGreaterThan(0);
    expect(source.reads).toBe(1);
  });
});

describe('declared waits', () => {
  test.each([
    ['null', null],
    ['a proxy that throws', new Proxy({}, { get: broken, ownKeys: broken })],
    ['a function', () => undefined],
    ['an unknown key', { cancel: () => undefined }],
    ['an abort that is none', { abort: 1 }],
  ])('options that are %s are refused with a code', (_what, options) => {
    const { locks } = createDesk();
    let error: unknown;
    try {
      locks.waitsFor('a', 'b', 'c', options as never);
    } catch (thrown) {
      error = thrown;
    }
    expect(isCoordinationError(error)).toBe(true);
    expect(locks.whyWaiting('a')).toEqual([]);
  });
});
