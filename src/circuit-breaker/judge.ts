import { handled, isPromise } from '../core/awaitable.ts';
import { describe } from '../core/errors.ts';
import { WithdrawnCall } from '../core/withdrawn-call.ts';
import type { Verdict } from './circuit.ts';
import { type CallOutcome, type Classify, everyRejection } from './classify.ts';

/** What a call counts as. @param failed hears why the classifier could not be heeded; the call counts as without it then */
export function judge(
  outcome: CallOutcome,
  classify: Classify | undefined,
  failed: (why: string) => void,
): Verdict {
  if (!outcome.ok && isWithdrawn(outcome.error)) return 'ignore';
  if (classify === undefined) return everyRejection(outcome);
  try {
    const verdict: unknown = classify(outcome);
    if (verdict === 'success' || verdict === 'failure' || verdict === 'ignore') return verdict;
    if (isPromise(verdict)) handled(verdict);
    failed(`it returned ${describe(verdict)}`);
  } catch (error) {
    failed(error instanceof Error ? String(error.message) : describe(error));
  }
  return everyRejection(outcome);
}

/** A stranger's proxy may refuse to be looked at. */
function isWithdrawn(error: unknown): boolean {
  try {
    return error instanceof WithdrawnCall;
  } catch {
    return false;
  }
}
