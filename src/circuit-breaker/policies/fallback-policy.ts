import { checkFunction } from '../../core/check.ts';
import { attempt, type Call } from '../attempt.ts';
import type { Policy } from './policy.ts';

/**
 * Answers with `fallback(error)` when the call fails, unless its own signal aborted; `when` says for which errors. The fallback answers
 * with the same type as the calls it stands in for, which the compiler can't check.
 * @throws what the fallback throws; INVALID_ARGUMENT
 */
export function fallbackPolicy(
  fallback: (error: unknown) => unknown,
  when: (error: unknown) => boolean = () => true,
): Policy {
  checkFunction(fallback, 'the fallback');
  checkFunction(when, 'the condition of a fallback');
  return {
    execute: async <R>(
      call: Call<R>,
      how: { readonly signal?: AbortSignal | undefined } = {},
    ): Promise<R> => {
      const { signal } = how;
      signal?.throwIfAborted();
      try {
        return await attempt(call, signal);
      } catch (error) {
        if (signal?.aborted === true || !when(error)) throw error;
        return (await fallback(error)) as R;
      }
    },
  };
}
