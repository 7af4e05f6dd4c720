import { CoordinationError } from '../core/errors.ts';
import type { LockAnswer } from '../core/ports/locks.ts';

/** The error for a request that the store refused for good. */
export function refusalError(
  answer: LockAnswer & { readonly status: 'refused' },
  names: readonly string[],
  owner: string,
): CoordinationError {
  const what = names.join(', ');
  switch (answer.why) {
    case 'reentrant':
      return new CoordinationError('INVALID_ARGUMENT', `${owner} holds ${answer.resource} already`, {
        hint: 'Use the lease it has, `lease.upgrade()` for a stronger mode, or `reentrant: true` to take it again.',
        retryable: false,
      });
    case 'upgrade-conflict':
      return new CoordinationError(
        'UPGRADE_CONFLICT',
        `Another holder of ${what} waits to upgrade it: both would wait for each other`,
        { retryAfterMs: 0, hint: 'Release it and acquire it exclusively, or take it as `update` at first.' },
      );
    case 'capacity':
      return new CoordinationError(
        'INVALID_ARGUMENT',
        `${what} is in use with another capacity or as a lock, or ${owner} would hold more units than there are`,
        { hint: 'Ask for a semaphore with the same `of` everywhere.' },
      );
    case 'owner-gone':
      return new CoordinationError('LEASE_LOST', `${owner} is gone; ${what} was not granted`);
    default:
      return new CoordinationError('LOCK_TIMEOUT', `${what} is held`);
  }
}
