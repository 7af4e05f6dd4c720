import type { CircuitOpenError } from './circuit-breaker/circuit-open-error.ts';
import type { DeadlockError } from './core/deadlock-error.ts';
import type { DependencyCycleError } from './core/dependency-cycle-error.ts';
import { type CoordinationError, type ErrorCode, isCoordinationError as hasCode } from './core/errors.ts';
import type { LockTimeoutError } from './resources/lock-timeout-error.ts';
import type { TaskFailedError } from './scheduler/outcome.ts';

/** The codes whose errors have a class, and fields, of their own. */
export interface ErrorsByCode {
  readonly CIRCUIT_OPEN: CircuitOpenError;
  readonly DEADLOCK: DeadlockError;
  readonly DEPENDENCY_CYCLE: DependencyCycleError;
  readonly LOCK_TIMEOUT: LockTimeoutError;
  readonly TASK_FAILED: TaskFailedError;
}

type Plain<C extends ErrorCode> = [C] extends [never] ? never : CoordinationError & { readonly code: C };

/** What an error of this code (one of these codes) is. */
export type ErrorOf<C extends ErrorCode> =
  | (C extends keyof ErrorsByCode ? ErrorsByCode[C] : never)
  | Plain<Exclude<C, keyof ErrorsByCode>>;

/**
 * True for errors of this library (of this code), whichever copy of the package made them. What was kept of an error in a store, such as
 * the `cause` of a task that is looked up later, comes back with code and texts, without the fields of its class.
 */
export function isCoordinationError<C extends ErrorCode>(error: unknown, code?: C): error is ErrorOf<C> {
  return hasCode(error, code);
}
