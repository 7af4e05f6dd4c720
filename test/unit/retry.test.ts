import { describe, expect, test } from 'vitest';
import { DeadlockError } from '../../src/core/deadlock-error.ts';
import { CoordinationError } from '../../src/core/errors.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import {
  decideRetry,
  overrideRetry,
  resolveRetry,
  RETRY_PRESETS,
  retryDelay,
} from '../../src/scheduler/retry.ts';

const random = createRandom('retry');
/** Chance in hand: always this. */
const always = (value: number): typeof random => ({ next: () => value, fork: () => always(value) });
const invalid = expect.objectContaining({ code: 'INVALID_OPTION' });

describe('resolveRetry', () => {
  test('defaults: four attempts, 1 s doubling, capped at 30 s, equal jitter', () => {
    expect(resolveRetry(undefined)).toMatchObject({
      maxAttempts: 4,
      delayMs: 1_000,
      factor: 2,
      maxDelayMs: 30_000,
      jitter: 'equal',
      decide: undefined,
    });
  });

  test("the predecessor's names: maxRetries is one less than maxAttempts; keys of other parts are passed over", () => {
    const config = { maxRetries: 3, retryDelay: 250, deadlockDetection: true, resourceTimeout: 30_000 };
    expect(resolveRetry(config)).toMatchObject({ maxAttempts: 4, delayMs: 250 });
    expect(resolveRetry({ maxRetries: 0 }).maxAttempts).toBe(1);
  });

  test.each([
    [{ maxRetries: 3, retry: { maxAttempts: 4 } }],
    [{ retryDelay: 3, retry: { delayMs: 3 } }],
    [{ maxRetries: 3, retry: false }],
    [{ maxRetries: 3, retry: 'agentMesh' }],
  ])('%o says the same thing twice', (config) => {
    expect(() => resolveRetry(config)).toThrow(invalid);
    expect(() => resolveRetry(config)).toThrow(/twice/);
  });

  test('one of the old names beside another new one is fine', () => {
    expect(resolveRetry({ maxRetries: 1, retry: { delayMs: 5 } })).toMatchObject({
      maxAttempts: 2,
      delayMs: 5,
    });
  });

  test.each([
    [{ maxRetries: -1 }],
    [{ maxRetries: 1.5 }],
    [{ retryDelay: Number.NaN }],
    [{ retry: { maxAttempts: 0 } }],
    [{ retry: { maxAttemps: 3 } }],
    [{ retry: { jitter: 'some' } }],
    [{ retry: { decide: 'bury' } }],
    [{ retry: 'agent-mesh' }],
    [{ retry: 'constructor' }],
    [{ retry: 7 }],
    [{ retry: [] }],
  ])('%o is refused', (config) => {
    expect(() => resolveRetry(config)).toThrow(invalid);
  });

  test('false is one attempt; a task overrides what it names and nothing else', () => {
    expect(resolveRetry({ retry: false }).maxAttempts).toBe(1);
    const policy = resolveRetry({ retry: 'agentMesh' }, { maxAttempts: 2 });
    expect(policy).toMatchObject({ ...RETRY_PRESETS.agentMesh, maxAttempts: 2 });
    expect(resolveRetry({ maxRetries: 9 }, false).maxAttempts).toBe(1);
    expect(overrideRetry(policy)).toBe(policy);
  });
});

describe('retryDelay', () => {
  test('equal jitter of the smallest numbers there are is not above the cap: their halves are rounded up', () => {
    const policy = resolveRetry({ retry: { delayMs: 1.5e-323, jitter: 'equal' } });
    for (const chance of [0, 0.5, 0.999])
      expect(retryDelay(policy, 1, always(chance))).toBeLessThanOrEqual(1.5e-323);
  });

  test('agentMesh: 2, 4, 8, 16, 32 s, dead at the sixth failure', () => {
    const policy = resolveRetry({ retry: 'agentMesh' });
    const decisions = [1, 2, 3, 4, 5, 6].map((attempt) =>
      decideRetry(policy, { attempt, error: 'x' }, random),
    );
    expect(decisions).toEqual([...[2, 4, 8, 16, 32].map((s) => ({ retryInMs: s * 1_000 })), 'bury']);
  });

  test.each([
    ['full', 0, 0],
    ['full', 0.5, 4_000],
    ['equal', 0, 4_000],
    ['equal', 0.5, 6_000],
    ['none', 0.5, 8_000],
  ] as const)('jitter %s at chance %s: %s of 8,000 ms', (jitter, chance, expected) => {
    expect(retryDelay(resolveRetry({ retry: { jitter } }), 4, always(chance))).toBe(expected);
  });

  test('never above the cap, whatever the attempt; no delay stays none', () => {
    const policy = resolveRetry({ retry: { jitter: 'none' } });
    expect([1, 5, 6, 40, 5_000].map((attempt) => retryDelay(policy, attempt, random))).toEqual([
      1_000, 16_000, 30_000, 30_000, 30_000,
    ]);
    expect(retryDelay(resolveRetry({ retryDelay: 0 }), 5_000, random)).toBe(0);
    const uncapped = resolveRetry({ retry: { maxDelayMs: Number.POSITIVE_INFINITY, jitter: 'none' } });
    expect(retryDelay(uncapped, 5_000, random)).toBe(Number.MAX_SAFE_INTEGER);
  });
});

describe('decideRetry', () => {
  const policy = resolveRetry({ retry: { jitter: 'none' } });

  test.each([
    ['a cancellation', new CoordinationError('TASK_CANCELLED', 'enough')],
    ['retryable: false', Object.assign(new Error('no such file'), { retryable: false })],
    ['a plain object with retryable: false', { retryable: false }],
  ])('%s is final, and decide is not asked', (_name, error) => {
    const asked = overrideRetry(policy, { decide: () => ({ retryInMs: 1 }) });
    expect(decideRetry(asked, { attempt: 1, error }, random)).toBe('bury');
  });

  test.each([undefined, null, 'text', 7n, new Error('x'), { retryable: 'no' }])('%o is retried', (error) => {
    expect(decideRetry(policy, { attempt: 1, error }, random)).toEqual({ retryInMs: 1_000 });
  });

  test('an error that cannot be read is retried', () => {
    expect(decideRetry(policy, { attempt: 1, error: unreadable() }, random)).toEqual({ retryInMs: 1_000 });
  });

  test('the victim of a deadlock is counted, but its delay does not grow', () => {
    const error = new DeadlockError({ cycle: [], agents: [], resources: [], survivor: 'b' });
    const decisions = [1, 2, 3, 4].map((attempt) => decideRetry(policy, { attempt, error }, always(0.5)));
    expect(decisions).toEqual([{ retryInMs: 500 }, { retryInMs: 500 }, { retryInMs: 500 }, 'bury']);
  });

  test('retryAfterMs, of the facts or the error, is a floor, above the cap too', () => {
    const busy = new CoordinationError('RATE_LIMITED', 'later', { retryAfterMs: 45_000 });
    expect(decideRetry(policy, { attempt: 1, error: busy }, random)).toEqual({ retryInMs: 45_000 });
    expect(decideRetry(policy, { attempt: 1, error: busy, retryAfterMs: 1_500 }, random)).toEqual({
      retryInMs: 1_500,
    });
    expect(decideRetry(policy, { attempt: 1, error: { retryAfterMs: Number.NaN } }, random)).toEqual({
      retryInMs: 1_000,
    });
    expect(decideRetry(policy, { attempt: 9, error: busy }, random)).toBe('bury');
  });

  test('decide has the last word, on the last attempt too, and sees what the policy would do', () => {
    const seen: unknown[] = [];
    const answers = [{ retryInMs: 7 }, 'bury', undefined] as const;
    const error = new Error('x');
    for (const answer of answers) {
      const asked = overrideRetry(policy, { decide: (facts) => (seen.push(facts), answer) });
      expect(decideRetry(asked, { attempt: 4, error }, random)).toEqual(answer ?? 'bury');
    }
    expect(seen[0]).toEqual({ attempt: 4, error, delayMs: 8_000 });
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('bug');
      },
    ],
    ['answers a number', () => 5],
    ['answers a negative delay', () => ({ retryInMs: -1 })],
    ['answers NaN', () => ({ retryInMs: Number.NaN })],
    ['is async', async () => 'bury'],
    ['answers null', () => null],
  ])('a decide that %s is reported, and the policy decides (G5)', (_name, decide) => {
    const reported: unknown[] = [];
    const asked = overrideRetry(policy, { decide: decide as never });
    expect(decideRetry(asked, { attempt: 1, error: 'x' }, random, (error) => reported.push(error))).toEqual({
      retryInMs: 1_000,
    });
    expect(reported).toHaveLength(1);
  });
});

function unreadable(): unknown {
  return new Proxy(
    {},
    {
      get() {
        throw new Error('unreadable');
      },
    },
  );
}
