import type { ConflictRecord, Resolution } from '../core/coordination-types.ts';
import { CoordinationError, describe } from '../core/errors.ts';
import type { ConflictDecision } from './conflict-strategy.ts';

/** What a strategy's answer amounts to: a resolution, or the reason why there is none. */
export type Verdict = { readonly resolution: Resolution } | { readonly escalate: string };

/** Turns a strategy's answer into a verdict. @throws CONFLICT_UNRESOLVED when it is none, or names a winner that isn't in the conflict */
export function judge(
  conflict: ConflictRecord,
  strategy: string,
  decision: ConflictDecision,
  at: number,
): Verdict {
  if (decision === undefined) return { escalate: `${strategy} can't decide` };
  if (typeof decision !== 'object' || decision === null) throw unusable(describe(decision));
  if ('escalate' in decision) return { escalate: `${strategy}: ${String(decision.escalate)}` };
  const { winner, reason, merged } = decision;
  if (!conflict.agents.includes(winner))
    throw unusable(`winner ${describe(winner)}, who isn't in the conflict`);
  if (merged !== undefined && typeof merged !== 'string')
    throw unusable(`merged content that is ${describe(merged)}`);
  return {
    resolution: Object.freeze({
      conflictId: conflict.id,
      type: strategy,
      winner,
      losers: Object.freeze(conflict.agents.filter((agent) => agent !== winner)),
      reason: typeof reason === 'string' ? reason : '',
      at,
      ...(merged === undefined ? {} : { merged }),
    }),
  };
}

function unusable(what: string): CoordinationError {
  return new CoordinationError('CONFLICT_UNRESOLVED', `it answered with ${what}`, {
    hint: 'Answer with { winner, reason } of an agent of the conflict, or with { escalate: reason }.',
  });
}
