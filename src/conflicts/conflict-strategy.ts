import { checkFunction, checkId, checkObject, reading } from '../core/check.ts';
import type { ConflictRecord } from '../core/coordination-types.ts';
import type { Awaitable } from '../core/ports/words.ts';
import type { ConflictFacts } from './conflict-facts.ts';

/** Who wins and why, or why it can't be said. `undefined` is the latter without a reason. */
export type ConflictDecision =
  | {
      readonly winner: string;
      readonly reason: string;
      /** The content that all keep, when there is one. */
      readonly merged?: string | undefined;
    }
  | { readonly escalate: string }
  | undefined;

/**
 * Decides a conflict. The same conflict and facts give the same decision; where facts are missing it escalates and never guesses. A throw, or
 * a winner that isn't in the conflict, leaves the conflict open.
 */
export interface ConflictStrategy {
  readonly name: string;
  resolve(conflict: ConflictRecord, facts: ConflictFacts): Awaitable<ConflictDecision>;
}

/** Types and checks a strategy. @throws INVALID_ARGUMENT */
export function defineConflictStrategy(strategy: ConflictStrategy): ConflictStrategy {
  checkObject(strategy, 'a conflict strategy');
  return reading('a conflict strategy', () => {
    checkId(strategy.name, 'the name of a conflict strategy');
    checkFunction(strategy.resolve, `resolve of conflict strategy ${strategy.name}`);
    return strategy;
  });
}
