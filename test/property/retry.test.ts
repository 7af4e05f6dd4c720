import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createRandom } from '../../src/core/runtime/random.ts';
import { decideRetry, resolveRetry, retryDelay, type RetryOptions } from '../../src/scheduler/retry.ts';

const policies = fc.record({
  maxAttempts: fc.integer({ min: 1, max: 50 }),
  delayMs: fc.oneof(fc.integer({ min: 0, max: 100_000 }), fc.double({ min: 0, max: 1e9, noNaN: true })),
  factor: fc.double({ min: 1, max: 100, noNaN: true }),
  maxDelayMs: fc.oneof(fc.integer({ min: 0, max: 100_000 }), fc.constant(Number.POSITIVE_INFINITY)),
  jitter: fc.constantFrom('full', 'equal', 'none'),
}) satisfies fc.Arbitrary<Omit<RetryOptions, 'decide'>>;
const attempts = fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 1_000_000 }));

test('a delay is finite, within its jitter, and never above the cap', () => {
  fc.assert(
    fc.property(policies, attempts, fc.string(), (given, attempt, seed) => {
      const policy = resolveRetry({ retry: given });
      const delay = retryDelay(policy, attempt, createRandom(seed));
      const whole = retryDelay({ ...policy, jitter: 'none' }, attempt, createRandom(seed));
      expect(Number.isFinite(delay)).toBe(true);
      expect(delay).toBeLessThanOrEqual(Math.min(whole, policy.maxDelayMs));
      const least = { full: 0, equal: whole / 2, none: whole };
      expect(delay).toBeGreaterThanOrEqual(least[policy.jitter]);
    }),
  );
});

test('without jitter delays never shrink from one attempt to the next', () => {
  fc.assert(
    fc.property(policies, attempts, (given, attempt) => {
      const policy = resolveRetry({ retry: { ...given, jitter: 'none' } });
      const random = createRandom(1);
      expect(retryDelay(policy, attempt + 1, random)).toBeGreaterThanOrEqual(
        retryDelay(policy, attempt, random),
      );
    }),
  );
});

test('a task that always fails gets exactly maxAttempts attempts, whatever it throws', () => {
  const errors = fc.oneof(
    fc.anything(),
    fc
      .constantFrom('DEADLOCK', 'TASK_TIMEOUT', 'ERROR')
      .map((code) => Object.assign(new Error('x'), { code })),
    fc.integer({ min: 0, max: 1e6 }).map((retryAfterMs) => ({ retryAfterMs })),
  );
  fc.assert(
    fc.property(policies, errors, fc.string(), (given, error, seed) => {
      const policy = resolveRetry({ retry: given });
      const random = createRandom(seed);
      let attempt = 1;
      for (; attempt < 100; attempt++) {
        const decision = decideRetry(policy, { attempt, error }, random);
        if (decision === 'bury') break;
        expect(decision.retryInMs).toBeGreaterThanOrEqual(
          (error as { retryAfterMs?: number } | null)?.retryAfterMs ?? 0,
        );
      }
      const final = (error as { retryable?: unknown } | null | undefined)?.retryable === false;
      expect(attempt).toBe(final ? 1 : policy.maxAttempts);
    }),
  );
});

test('the same seed gives the same delays, another seed others', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), (seed) => {
      const policy = resolveRetry({});
      const delays = (from: string): number[] => {
        const random = createRandom(from);
        return [1, 2, 3].map((attempt) => retryDelay(policy, attempt, random));
      };
      expect(delays(seed)).toEqual(delays(seed));
      expect(delays(seed)).not.toEqual(delays(`${seed}/other`));
    }),
  );
});
