import { checkNumber } from '../../core/check.ts';
import { CoordinationError } from '../../core/errors.ts';
import { attempt } from '../attempt.ts';
import { linkAbort, untilAborted } from '../linked-abort.ts';
import { type Policy, policyRuntime, type PolicyRuntime, signalOf } from './policy.ts';

/**
 * Rejects with TIMEOUT after `ms` and aborts the call's signal. A call that ignores its signal runs on, unheard.
 * @throws INVALID_ARGUMENT
 */
export function timeoutPolicy(ms: number, runtime?: Partial<PolicyRuntime>): Policy {
  checkNumber(ms, 'the timeout', 1);
  const { clock } = policyRuntime(runtime);
  return {
    execute: async (call, options) => {
      const link = linkAbort(signalOf(options));
      const timer = clock.after(
        ms,
        () => link.abort(new CoordinationError('TIMEOUT', `The call did not settle within ${ms} ms`)),
        true,
      );
      try {
        return await untilAborted(attempt(call, link.signal), link.signal);
      } finally {
        timer.cancel();
        link.unlink();
      }
    },
  };
}
