import { describe, expect, test } from 'vitest';
import { isCoordinationError } from '../../src/core/errors.ts';
import { createDesk } from '../support/locks/lock-desk.ts';

const codeOf = (error: unknown): unknown => (isCoordinationError(error) ? error.code : error);

describe('L1: tokens of a resource strictly increase while the clock stands still', () => {
  test.each([
    ['nobody in particular', () => ({})],
    ['one agent', () => ({ owner: 'ann' })],
    ['agents in turn', (n: number) => ({ owner: `agent-${n}` })],
  ])('L1: taken and given back by %s', async (_who, options) => {
    const { locks } = createDesk();
    const tokens: number[] = [];
    for (let n = 0; n < 100; n++) {
      const lease = await locks.acquire('x', options(n));
      tokens.push(lease.token);
      await lease.release();
    }
    expect(tokens).toEqual([...new Set(tokens)].toSorted((a, b) => a - b));
  });

  test('L1: handed on to who waits, and taken anew after that', async () => {
    const { locks } = createDesk();
    const tokens: number[] = [];
    for (let n = 0; n < 20; n++) {
      const first = await locks.acquire('x', { owner: 'ann' });
      const waiting = locks.acquire('x', { owner: 'bob' });
      await first.release();
      const second = await waiting;
      await second.release();
      tokens.push(first.token, second.token);
    }
    expect(tokens).toEqual([...new Set(tokens)].toSorted((a, b) => a - b));
  });
});

test('L7: a waiter that is stuck behind those who pass it is passed 32 times, then somebody loses a wait', async () => {
  const { locks, named } = createDesk();
  await locks.acquire('a', { owner: 'ann' });
  let got = false;
  const set = locks.acquireAll(['a', 'b'], { owner: 'bob' }).then(
    () => void (got = true),
    (error: unknown) => codeOf(error),
  );
  // The set waits for ann and stands in her way at b: passing it is the only way on that costs nobody anything.
  let passed = 0;
  for (let n = 0; n < 40 && named('deadlock:detected').length === 0; n++) {
    const lease = await locks.acquire('b', { owner: 'ann' }).catch(codeOf);
    if (named('deadlock:detected').length > 0) break;
    expect(lease).toMatchObject({ owner: 'ann' });
    expect(got).toBe(false);
    passed += 1;
    await (lease as { release(): Promise<void> }).release();
  }
  expect(passed).toBe(32);
  expect(named('deadlock:detected')).toHaveLength(1);
  await locks.releaseAllForAgent('ann');
  await set;
});
