import { describe, expect, test } from 'vitest';
import type { LockStore } from '../../src/core/ports/locks.ts';
import { createDesk } from '../support/locks/lock-desk.ts';

const shared = (resource: string) => ({ resource, mode: 'shared' }) as const;

describe('LOCK_TIMEOUT', () => {
  /** The error of a wait that ends by time. */
  async function timeoutOf(
    { clock }: { readonly clock: { advance(ms: number): Promise<void> } },
    wait: Promise<unknown>,
  ): Promise<Error & { readonly holders?: readonly string[] }> {
    const error = wait.then(
      () => new Error('it was granted'),
      (thrown: unknown) => thrown as Error,
    );
    await clock.advance(50);
    return error;
  }

  test('says who held it, not who merely waited in front; and promises nothing', async () => {
    const desk = createDesk();
    const { locks } = desk;
    await locks.acquire('db', 'ann');
    const first = locks.acquire('db', 'bob');
    const error = await timeoutOf(desk, locks.acquire('db', 'carol', 2, { timeoutMs: 50 }));
    expect(error.message).toBe('db was not granted within 50 ms: ann held it');
    expect(error.holders).toEqual(['ann']);
    const json = JSON.parse(JSON.stringify(error)) as object;
    expect(json).toMatchObject({ code: 'LOCK_TIMEOUT', resource: 'db', holders: ['ann'] });
    expect(json).not.toHaveProperty('retryAfterMs');
    await locks.release('db', 'ann');
    await first;
  });

  test('names a holder once, and at most five', async () => {
    const desk = createDesk();
    const { locks } = desk;
    for (let n = 0; n < 9; n++) await locks.acquire(shared('db'), { agent: `agent-${n % 7}` });
    const error = await timeoutOf(desk, locks.acquire('db', { timeoutMs: 50 }));
    expect(error.holders?.length).toBeGreaterThan(2);
    expect(error.holders?.length).toBeLessThanOrEqual(5);
    expect(new Set(error.holders).size).toBe(error.holders?.length);
  });

  test('a reader behind a writer is told who keeps that one waiting', async () => {
    const desk = createDesk();
    const { locks } = desk;
    await locks.acquire(shared('db'), { agent: 'reader' });
    const writer = locks.acquire('db', 'writer');
    const error = await timeoutOf(desk, locks.acquire(shared('db'), { timeoutMs: 50 }));
    expect(error.holders).toEqual(['reader']);
    await locks.releaseAllForAgent('reader');
    await writer;
  });

  test('so is one that wants more, of which nothing is in its way', async () => {
    const desk = createDesk();
    const { locks } = desk;
    await locks.acquire({ path: 'src/other' }, { agent: 'olga' });
    await locks.acquire(shared('db'), { agent: 'reader' });
    const writer = locks.acquire('db', 'writer');
    const wait = locks.acquireAll([shared('db'), { path: 'src/mine' }], { timeoutMs: 50 });
    expect((await timeoutOf(desk, wait)).holders).toEqual(['reader']);
    await locks.releaseAllForAgent('reader');
    await writer;
  });

  test('of a set only what was in the way counts, and never what the owner holds itself', async () => {
    const desk = createDesk();
    const { locks } = desk;
    await locks.acquire('a', { owner: 'ann' });
    await locks.acquire({ semaphore: 's', of: 2, units: 2 }, { owner: 'sam' });
    await locks.acquire({ path: 'src/other' }, { owner: 'olga' });
    const wait = locks.acquireAll(['b', { semaphore: 's', of: 2 }, { path: 'src/mine' }], {
      owner: 'ann',
      timeoutMs: 50,
    });
    expect((await timeoutOf(desk, wait)).holders).toEqual(['sam']);
  });

  test('its hint can be followed: the owner doesn’t wait any more, its holders may', async () => {
    const desk = createDesk();
    const { locks } = desk;
    await locks.acquire('log', 'carol');
    await locks.acquire('db', 'ann');
    const blocked = locks.acquire('log', 'ann');
    const error = await timeoutOf(desk, locks.acquire('db', 'bob', 2, { timeoutMs: 50 }));
    expect((error as { hint?: string }).hint).toContain('`whyWaiting` about its holders');
    expect(locks.whyWaiting('bob')).toEqual([]);
    expect(locks.whyWaiting(error.holders?.[0] as string)).toMatchObject([
      { subject: 'log', holder: 'carol' },
    ]);
    await locks.releaseAllForAgent('carol');
    await blocked;
  });
});

describe('a move whose holders can’t be told', () => {
  /** Revocations fail. */
  const broken = (): ReturnType<typeof createDesk> =>
    createDesk({}, (store) => ({
      quick: store.quick,
      live: store.live,
      request: (op, requests) => store.request(op, requests),
      keep: (session, refs) => store.keep(session, refs),
      publish: (session, edges) => store.publish(session, edges),
      snapshot: (around) => store.snapshot(around),
      abort: (op, wait, cycle, witnesses) => store.abort(op, wait, cycle, witnesses),
      list: (filter, page) => store.list(filter, page),
      release: (op, items): ReturnType<LockStore['release']> => {
        if (items.some(({ revoke }) => revoke !== undefined)) throw new Error('no');
        return store.release(op, items);
      },
    }));

  test('leaves nobody in the queue: the lock goes to whoever asks next', async () => {
    const { locks, store, clock } = broken();
    const held = await locks.acquire('db', 'ann');
    await expect(locks.moveLock('db', 'bob', { graceMs: 100 })).rejects.toThrow('no');
    expect(store.live.counts()).toMatchObject({ held: 1, waiting: 0 });
    await held.release();
    await clock.advance(1_000);
    expect(store.live.counts()).toMatchObject({ held: 0, waiting: 0 });
    expect(await locks.tryAcquire('db')).toBeDefined();
  });

  test('what the target holds already stays', async () => {
    const { locks } = broken();
    const theirs = await locks.acquire('db', 'bob');
    await expect(locks.moveLock('db', 'bob', { graceMs: 100 })).resolves.toBe(theirs);
    expect(locks.getAllocations().get('db')).toBe('bob');
    expect(await locks.tryAcquire('db')).toBeUndefined();
  });
});
