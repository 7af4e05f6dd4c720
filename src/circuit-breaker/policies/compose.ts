import { invalid } from '../../core/check.ts';
import { describe } from '../../core/errors.ts';
import { attempt, type Call } from '../attempt.ts';
import { type AnswerOf, type Policy, signalOf } from './policy.ts';

/**
 * One policy out of several, the outermost first: `compose(retry, breaker, timeout)` retries what the breaker lets through, and each
 * attempt has its own time limit. A policy may be an own object with `execute(call, { signal })`. The answer is the call's, or that of any
 * fallback among them.
 * @throws INVALID_ARGUMENT
 */
export function compose<const P extends readonly Policy<unknown>[]>(
  ...policies: P
): Policy<AnswerOf<P[number]>> {
  policies.forEach((policy, i) => {
    if (typeof (policy as Partial<Policy> | null | undefined)?.execute !== 'function') {
      throw invalid(`Expected argument ${i + 1} of compose to be a policy, got ${describe(policy)}`);
    }
  });
  type Answer = AnswerOf<P[number]>;
  const line = policies as readonly Policy<unknown>[] as readonly Policy<Answer>[];
  const through = <R>(i: number, call: Call<R>, signal: AbortSignal | undefined): Promise<R | Answer> => {
    const policy = line[i];
    if (policy === undefined) return attempt(call, signal);
    if (i === line.length - 1) return policy.execute(call, { signal });
    return policy.execute((inner) => through(i + 1, call, inner), { signal });
  };
  return { execute: async (call, options) => through(0, call, signalOf(options)) };
}
