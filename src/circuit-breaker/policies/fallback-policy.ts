import { checkFunction } from '../../core/check.ts';
import { attempt, type Call } from '../attempt.ts';
import { type CallOptions, type Policy, signalOf } from './policy.ts';

/**
 * Answers with `fallback(error)` when the call fails, unless its own signal aborted; `when` says for which errors.
 * @throws what the fallback throws; INVALID_ARGUMENT
 */
export function fallbackPolicy<F>(
  fallback: (error: unknown) => F | PromiseLike<F>,
  when: (error: unknown) => boolean = () => true,
): Policy<F> {
  checkFunction(fallback, 'the fallback');
  checkFunction(when, 'the condition of a fallback');
  return {
    execute: async <R>(call: Call<R>, options?: CallOptions): Promise<R | F> => {
      const signal = signalOf(options);
      try {
        return await attempt(call, signal);
      } catch (error) {
        if (signal?.aborted === true || !when(error)) throw error;
        return await fallback(error);
      }
    },
  };
}
