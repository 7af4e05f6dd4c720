import { checkFunction } from '../../core/check.ts';
import { describe, CoordinationError } from '../../core/errors.ts';
import { resolveOptions } from '../../core/options.ts';
import type { Clock } from '../../core/ports/runtime.ts';
import { attempt, type Call } from '../attempt.ts';
import { type BackoffRules, backoff } from './backoff.ts';
import { type CallOptions, type Policy, policyRuntime, type PolicyRuntime, signalOf } from './policy.ts';

export interface RetryOptions {
  /** All attempts, the first included. @default 4 */
  readonly maxAttempts?: number;
  /** ms before the second attempt. @default 1_000 */
  readonly delayMs?: number;
  /** Growth of the delay. @default 2 */
  readonly factor?: number;
  /** ms; the longest wait that is made. @default 30_000 */
  readonly maxDelayMs?: number;
  /** full: 0…d; equal: d/2…d; none: d. @default 'equal' */
  readonly jitter?: 'full' | 'equal' | 'none';
  /** Last word on a failure: wait so long, give up, or `undefined` for the rule. */
  readonly decide?: (error: unknown, attempt: number) => { readonly retryInMs: number } | 'bury' | undefined;
}

/**
 * Calls again after a failure. An error's `retryAfterMs` is honoured: the next attempt isn't made before it has passed, and if that is
 * longer than `maxDelayMs` there is none. Aborting ends the wait.
 * @throws the last error; INVALID_OPTION
 */
export function retryPolicy(options: RetryOptions = {}, runtime?: Partial<PolicyRuntime>): Policy {
  const { maxAttempts, decide, ...rules } = resolveOptions('retry', options, true);
  if (decide !== undefined) checkFunction(decide, 'retry.decide');
  const { clock, random } = policyRuntime(runtime);
  const nextDelay = (error: unknown, made: number): number | undefined => {
    if (made >= maxAttempts) return undefined;
    const decision = (decide as RetryOptions['decide'])?.(error, made);
    if (decision !== undefined) return decision === 'bury' ? undefined : decidedDelay(decision);
    return retryDelay(made + 1, rules, retryAfterOf(error), random.next());
  };
  return {
    execute: async <R>(call: Call<R>, options?: CallOptions): Promise<R> => {
      checkFunction(call, 'what is to be executed');
      const signal = signalOf(options);
      for (let made = 1; ; made++) {
        signal?.throwIfAborted();
        try {
          return await attempt(call, signal);
        } catch (error) {
          signal?.throwIfAborted();
          const delay = nextDelay(error, made);
          if (delay === undefined) throw error;
          await pause(clock, delay, signal);
        }
      }
    },
  };
}

/** The wait before the next attempt, or `undefined` when what the error asks for is longer than the rule allows. Pure. */
export function retryDelay(
  attempt: number,
  rules: BackoffRules,
  retryAfterMs: number,
  chance: number,
): number | undefined {
  if (retryAfterMs > rules.maxDelayMs) return undefined;
  return Math.max(retryAfterMs, backoff(attempt, rules, chance));
}

function retryAfterOf(error: unknown): number {
  const asked: unknown =
    typeof error === 'object' && error !== null ? (error as { retryAfterMs?: unknown }).retryAfterMs : 0;
  return typeof asked === 'number' && asked > 0 ? asked : 0;
}

function decidedDelay(decision: { readonly retryInMs: number }): number {
  const { retryInMs } = decision;
  if (typeof retryInMs === 'number' && retryInMs >= 0) return retryInMs;
  throw new CoordinationError(
    'INVALID_ARGUMENT',
    `Expected retry.decide to return { retryInMs } of at least 0, 'bury' or undefined, got ${describe(decision)}`,
  );
}

/** Waits. Rejects with the signal's reason when it aborts, and leaves nothing behind. */
function pause(clock: Clock, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    const timer = clock.after(
      ms,
      () => {
        signal?.removeEventListener('abort', stop);
        resolve();
      },
      true,
    );
    signal?.addEventListener('abort', stop, { once: true });
  });
}
