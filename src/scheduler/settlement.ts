import { CoordinationError, errorSignature, isCoordinationError, toStoredError } from '../core/errors.ts';
import type { ClaimRef, Settlement } from '../core/ports/tasks.ts';
import type { StopCause } from './agent.ts';
import { isFinal } from './retry.ts';

/** What the retry policy says of a failed attempt. */
export type RetryDecision = { readonly retryInMs: number } | 'bury';

/**
 * How a failed attempt is settled. Pure. A last attempt is buried as `ATTEMPTS`, or as `REFUSED` when the error says that no repetition
 * heals it.
 * @param bury why it is the last, when the policy has no say: `DEADLINE`, `POISON`
 */
export function settleFailure(
  claim: ClaimRef,
  error: unknown,
  decision: RetryDecision,
  bury: 'DEADLINE' | 'POISON' | undefined,
): Settlement {
  const stored = toStoredError(error);
  if (bury === undefined && decision !== 'bury')
    return { claim, as: 'retry', delayMs: decision.retryInMs, error: stored };
  const reason = bury ?? (isFinal(error) ? 'REFUSED' : 'ATTEMPTS');
  return { claim, as: 'bury', reason, error: stored, signature: errorSignature(stored) };
}

/**
 * How an attempt is settled whose own end the store refuses for good: as a dead letter, rather than claimed as long as this process lives.
 * `undefined`: it is one already, or says no more than that somebody else may have the task. Pure.
 */
export function settleRefused(settlement: Settlement, refusal: unknown): Settlement | undefined {
  if (settlement.as !== 'complete' && settlement.as !== 'retry') return undefined;
  const error = toStoredError(refusal);
  return { claim: settlement.claim, as: 'bury', reason: 'REFUSED', error, signature: errorSignature(error) };
}

/** What a handler meets when the session it was claimed under is over: claim, locks and fences went with it. */
const LOST_WITH_SESSION: ReadonlySet<unknown> = new Set([
  'SESSION_EXPIRED',
  'STALE_CLAIM',
  'STALE_FENCE',
  'LEASE_LOST',
]);

/** Whether a failure says no more than that the session was lost. */
export function isOfLostSession(error: unknown): boolean {
  if (!isCoordinationError(error)) return false;
  return LOST_WITH_SESSION.has(error.code) || isCoordinationError(error.cause, 'SESSION_EXPIRED');
}

/** Its attempt isn't counted, and whoever has room begins another. */
export function giveBack(claim: ClaimRef, reason: string): Settlement {
  return { claim, as: 'release', delayMs: 0, reason, refundAttempt: true };
}

/** It was to be completed in a transaction of its handler, which was rolled back. */
export function notCommitted(taskId: string): CoordinationError {
  return new CoordinationError(
    'STALE_CLAIM',
    `The transaction in which task ${taskId} was completed was not committed`,
    { hint: 'Commit it before the handler returns, or let the handler throw.' },
  );
}

/** A result that can't be stored: the same handler returns the same again. */
export function unusableResult(refusal: unknown): CoordinationError {
  const { message } = toStoredError(refusal);
  return new CoordinationError('INVALID_ARGUMENT', message, {
    cause: refusal,
    hint: 'Return plain JSON (a Date as text, a Map as an object). The task is not tried again: no repetition heals this.',
    retryable: false,
  });
}

/** A lock that the run has already, taken once more: the same handler does it again. */
export function heldAlready(taskId: string, refusal: CoordinationError): CoordinationError {
  const message = `Task ${taskId} asks for a lock that it has: ${refusal.message}`;
  return new CoordinationError('INVALID_ARGUMENT', message, {
    cause: refusal,
    hint: `The task has it by its \`locks\` or by an outer withLock, until that ends: use it without taking it again. The task is not tried again: no repetition heals this.`,
    retryable: false,
  });
}

/**
 * How a run that was told to stop is settled when its handler gave up; `undefined`: as the failure `error` says. Pure.
 * @param toAgent who is to run a task whose agent left, `null`: anybody, `undefined`: the one it is pinned to
 */
export function settleStopped(
  claim: ClaimRef,
  cause: StopCause,
  reason: string,
  toAgent: string | null | undefined,
): Settlement | undefined {
  switch (cause) {
    case 'cancel':
      return { claim, as: 'cancel', reason };
    case 'preempt':
    case 'shutdown-release':
      return { claim, as: 'release', delayMs: 0, reason, refundAttempt: true };
    case 'agent-left':
      return {
        claim,
        as: 'release',
        delayMs: 0,
        reason,
        refundAttempt: true,
        ...(toAgent === undefined ? {} : { toAgent }),
      };
    default:
      return undefined;
  }
}

/** Whether what a handler did after this says nothing about what it calls: somebody else's doing stopped it. */
export function isWithdrawn(cause: StopCause): boolean {
  return cause !== 'timeout' && cause !== 'deadline';
}

/** Whether a value that a stopped handler returned all the same still counts: it does, unless its time was over. */
export function countsAfterStop(cause: StopCause): boolean {
  return cause !== 'timeout' && cause !== 'deadline' && cause !== 'taken';
}

/** Pause after a refusal by a half-open breaker, whose probes are under way, ms. */
export const PROBE_PAUSE_MS = 100;

/** The wait until a breaker admits calls again, when this failure is its refusal; `undefined` for other failures. */
export function breakerDelay(error: unknown): number | undefined {
  return isCoordinationError(error, 'CIRCUIT_OPEN')
    ? Math.max(PROBE_PAUSE_MS, error.retryAfterMs ?? 0)
    : undefined;
}

/** The error a run's signal aborts with. */
export function stopError(cause: StopCause, taskId: string, reason: string): CoordinationError {
  switch (cause) {
    case 'timeout':
      return new CoordinationError('TASK_TIMEOUT', `Task ${taskId} took longer than ${reason}`);
    case 'deadline':
      return new CoordinationError('TASK_TIMEOUT', `Task ${taskId} passed its deadline`);
    case 'cancel':
      return new CoordinationError('TASK_CANCELLED', `Task ${taskId} was cancelled: ${reason}`);
    case 'preempt':
      return new CoordinationError('TASK_PREEMPTED', `Task ${taskId} gave its slot to ${reason}`);
    case 'agent-left':
      return new CoordinationError('TASK_PREEMPTED', `Task ${taskId} was given back: ${reason}`);
    case 'taken':
      return new CoordinationError('STALE_CLAIM', `Task ${taskId} was taken over: ${reason}`);
    default:
      return new CoordinationError('STOPPED', `Task ${taskId} was stopped: ${reason}`);
  }
}
