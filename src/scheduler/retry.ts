import { OPTIONS } from '../core/option-table.ts';
import { checkOption, readOptions, resolveOptions } from '../core/options.ts';
import { CoordinationError, describe } from '../core/errors.ts';
import type { Random } from '../core/ports/runtime.ts';

/** What is done about a failed attempt. */
export type RetryDecision = { readonly retryInMs: number } | 'bury';

/** A failed attempt as {@link RetryOptions.decide} sees it. */
export interface RetryFacts {
  /** The attempt that failed, from 1. */
  readonly attempt: number;
  readonly error: unknown;
  /** What the policy would wait, ms. */
  readonly delayMs: number;
}

export interface RetryOptions {
  /** All attempts, the first included (`maxRetries` + 1). @default 4 */
  readonly maxAttempts: number;
  /** Delay before the first retry, ms (`retryDelay`). @default 1,000 */
  readonly delayMs: number;
  /** Growth of the delay with each retry. @default 2 */
  readonly factor: number;
  /** Cap of the delay, ms. @default 30,000 */
  readonly maxDelayMs: number;
  /** `full`: 0…d, `equal`: d/2…d, `none`: d. @default 'equal' */
  readonly jitter: 'full' | 'equal' | 'none';
  /** Last word on a failure that may be retried at all, the last attempt's included; `undefined`: as the policy says. Pure and synchronous. */
  readonly decide?: ((facts: RetryFacts) => RetryDecision | undefined) | undefined;
}

/** `agentMesh`: 2ⁿ s (2, 4, 8, 16, 32), without jitter, dead at the sixth failure. */
export const RETRY_PRESETS: { readonly agentMesh: RetryOptions } = {
  agentMesh: { maxAttempts: 6, delayMs: 2_000, factor: 2, maxDelayMs: 32_000, jitter: 'none' },
};

/** The part of a config that concerns retries. */
export interface RetryConfig {
  /** `false`: one attempt. */
  readonly retry?: Partial<RetryOptions> | keyof typeof RETRY_PRESETS | false | undefined;
  /** The predecessor's name: retries after the first attempt, so `maxAttempts` − 1. */
  readonly maxRetries?: number | undefined;
  /** The predecessor's name of `delayMs`. */
  readonly retryDelay?: number | undefined;
}

const LEGACY_NAMES = [
  ['maxRetries', 'maxAttempts'],
  ['retryDelay', 'delayMs'],
] as const;

/**
 * The retry policy of a config, and of a task whose own settings go before it.
 * @throws INVALID_OPTION for unknown names, values out of bounds, and when a value is given under both its names
 */
export function resolveRetry(
  config: object | undefined,
  override?: Partial<RetryOptions> | false,
): RetryOptions {
  const { retry, ...legacy } = readOptions('scheduling', (config ?? {}) as RetryConfig);
  const given = givenRetry(retry);
  const renamed: Record<string, unknown> = {};
  for (const [old, name] of LEGACY_NAMES) {
    const value = legacy[old];
    if (value === undefined) continue;
    checkOption(old, OPTIONS.manager[old], value);
    if (given[name] !== undefined) throw givenTwice(old, name, retry);
    renamed[name] = old === 'maxRetries' ? value + 1 : value;
  }
  const policy = checkDecide(resolveOptions('retry', { ...given, ...renamed }, true) as RetryOptions);
  return overrideRetry(policy, override);
}

/** A task's own settings over a policy. @throws INVALID_OPTION */
export function overrideRetry(policy: RetryOptions, override?: Partial<RetryOptions> | false): RetryOptions {
  if (override === undefined) return policy;
  return checkDecide(resolveOptions('retry', { ...policy, ...givenRetry(override) }, true) as RetryOptions);
}

/**
 * The delay after attempt `attempt` (from 1) failed: delayMs × factor^(attempt − 1), capped, then jittered, so that it is never above the
 * cap. Full and equal jitter as in Brooker, "Exponential Backoff And Jitter" (2015).
 */
export function retryDelay(policy: RetryOptions, attempt: number, random: Random): number {
  if (policy.delayMs === 0) return 0;
  const raw = policy.delayMs * policy.factor ** (attempt - 1);
  const delay = Math.min(raw, policy.maxDelayMs, Number.MAX_SAFE_INTEGER);
  switch (policy.jitter) {
    case 'full':
      return delay * random.next();
    case 'equal':
      // Two halves of the smallest numbers there are can be more than the whole.
      return Math.min(delay, delay / 2 + (delay / 2) * random.next());
    default:
      return delay;
  }
}

/**
 * What is done about a failed attempt. Pure but for the random numbers it draws.
 *
 * - Cancellation (`TASK_CANCELLED`) and errors with `retryable: false` are final; `decide` isn't asked.
 * - The victim of a deadlock is counted like any failure, but waits 0…delayMs, not growing: it makes way, nothing is broken.
 * - `retryAfterMs`, given or of the error, is a floor that may lie above the cap: an earlier try would be refused again.
 * @param report hears of a `decide` that threw or answered with something else; the policy's own answer is used then (G5).
 */
export function decideRetry(
  policy: RetryOptions,
  facts: { readonly attempt: number; readonly error: unknown; readonly retryAfterMs?: number | undefined },
  random: Random,
  report?: (error: unknown) => void,
): RetryDecision {
  const { attempt, error } = facts;
  const code = property(error, 'code');
  if (code === 'TASK_CANCELLED' || isFinal(error)) return 'bury';
  const backoff =
    code === 'DEADLOCK'
      ? Math.min(policy.delayMs, policy.maxDelayMs, Number.MAX_SAFE_INTEGER) * random.next()
      : retryDelay(policy, attempt, random);
  const delayMs = Math.max(backoff, floorOf(facts.retryAfterMs ?? property(error, 'retryAfterMs')));
  const own: RetryDecision = attempt < policy.maxAttempts ? { retryInMs: delayMs } : 'bury';
  if (policy.decide === undefined) return own;
  try {
    const answer = policy.decide({ attempt, error, delayMs });
    return answer === undefined ? own : checkDecision(answer);
  } catch (thrown) {
    report?.(thrown);
    return own;
  }
}

/** Whether an error says of itself that no repetition heals it. */
export function isFinal(error: unknown): boolean {
  return property(error, 'retryable') === false;
}

function checkDecision(answer: RetryDecision): RetryDecision {
  if (answer === 'bury') return answer;
  const retryInMs = property(answer, 'retryInMs');
  if (typeof retryInMs === 'number' && retryInMs >= 0) {
    return { retryInMs: Math.min(retryInMs, Number.MAX_SAFE_INTEGER) };
  }
  throw new CoordinationError(
    'INVALID_ARGUMENT',
    `Expected retry.decide to answer { retryInMs }, 'bury' or undefined, got ${describe(answer)}`,
  );
}

function givenRetry(retry: RetryConfig['retry']): Partial<RetryOptions> {
  if (retry === false) return { maxAttempts: 1 };
  if (retry === undefined || retry === null) return {};
  if (typeof retry === 'string') {
    if (Object.hasOwn(RETRY_PRESETS, retry)) return RETRY_PRESETS[retry];
    throw new CoordinationError('INVALID_OPTION', `Unknown preset ${describe(retry)} of \`retry\``, {
      hint: `Known are: ${Object.keys(RETRY_PRESETS).join(', ')}.`,
    });
  }
  if (typeof retry !== 'object') {
    throw new CoordinationError(
      'INVALID_OPTION',
      `Expected \`retry\` to be an object, a preset or false, got ${describe(retry)}`,
    );
  }
  return readOptions('retry', retry);
}

function checkDecide(policy: RetryOptions): RetryOptions {
  if (policy.decide === undefined || typeof policy.decide === 'function') return policy;
  throw new CoordinationError(
    'INVALID_OPTION',
    `Expected \`retry.decide\` to be a function, got ${describe(policy.decide)}`,
  );
}

function givenTwice(old: string, name: string, retry: RetryConfig['retry']): CoordinationError {
  const other = typeof retry === 'object' ? `retry.${name}` : `retry: ${JSON.stringify(retry)}`;
  return new CoordinationError('INVALID_OPTION', `\`${old}\` and \`${other}\` say the same thing twice`, {
    hint: `Leave one of them out; ${old} is the predecessor's name${old === 'maxRetries' ? ', maxAttempts = maxRetries + 1' : ''}.`,
  });
}

function floorOf(retryAfterMs: unknown): number {
  return typeof retryAfterMs === 'number' && retryAfterMs > 0
    ? Math.min(retryAfterMs, Number.MAX_SAFE_INTEGER)
    : 0;
}

/** A property of anything that may have been thrown; proxies and getters that throw count as without. */
function property(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  try {
    return (value as Record<string, unknown>)[key];
  } catch {
    return undefined;
  }
}
