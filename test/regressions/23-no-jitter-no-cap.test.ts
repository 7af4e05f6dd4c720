import { expect, test } from 'vitest';
import { createRandom } from '../../src/core/runtime/random.ts';
import { resolveRetry, retryDelay } from '../../src/scheduler/retry.ts';

/** Defect 23: retries had no jitter and no cap: a thousand tasks that failed together came back together, and attempt 20 after six days. */
type Implementation = (config: { maxRetries: number; retryDelay: number }) => (attempt: number) => number;

export function scenario(create: Implementation): void {
  const delay = create({ maxRetries: 30, retryDelay: 1_000 });
  const herd = Array.from({ length: 1_000 }, () => delay(3));
  const perWindow = new Map<number, number>();
  for (const ms of herd) perWindow.set(Math.floor(ms / 100), (perWindow.get(Math.floor(ms / 100)) ?? 0) + 1);
  expect(Math.max(...perWindow.values()), 'tasks that come back in the same 100 ms').toBeLessThan(200);
  for (let attempt = 1; attempt <= 30; attempt++) expect(delay(attempt)).toBeLessThanOrEqual(30_000);
}

const naive: Implementation =
  ({ retryDelay: base }) =>
  (attempt) =>
    base * 2 ** (attempt - 1);

const uncapped: Implementation = (config) => {
  const random = createRandom(1);
  return (attempt) => naive(config)(attempt) * random.next();
};

const ours: Implementation = (config) => {
  const policy = resolveRetry(config);
  const random = createRandom(1);
  return (attempt) => retryDelay(policy, attempt, random);
};

test('defect 23: delays are spread, and capped at 30 s', () => {
  expect(() => scenario(naive)).toThrow(/same 100 ms/);
  expect(() => scenario(uncapped)).toThrow(/30000/);
  scenario(ours);
});
