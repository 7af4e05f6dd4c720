import { CoordinationError } from '../core/errors.ts';

/** The lease of a lock ran out. */
export function lostError(names: readonly string[]): CoordinationError {
  return new CoordinationError('LEASE_LOST', `The lease on ${names.join(', ')} ran out`, {
    hint: 'Stop writing; somebody else may hold it. Write through `fenced`, so that late writes are refused.',
  });
}

/** Nobody knows of a wait any more. */
export function lostWait(names: readonly string[], isUpgrade: boolean): CoordinationError {
  const what = isUpgrade ? 'upgrade of' : 'wait for';
  const why = isUpgrade ? 'the lock is not held any more' : 'its session is over';
  return new CoordinationError('LEASE_LOST', `The ${what} ${names.join(', ')} ended: ${why}`, {
    hint: 'Acquire it again.',
  });
}

/** Somebody took a lock back. */
export function revokedError(names: readonly string[], why: string): CoordinationError {
  return new CoordinationError('LOCK_REVOKED', `The lock on ${names.join(', ')} was taken back: ${why}`, {
    hint: 'Stop and release it; it ends by itself after the grace.',
  });
}
