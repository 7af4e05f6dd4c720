import { CoordinationError } from '../core/errors.ts';

/** A lock was not granted in time. Nothing is held or waited for by the request any more. */
export class LockTimeoutError extends CoordinationError {
  declare readonly code: 'LOCK_TIMEOUT';
  /** What was asked for; the first of several. */
  readonly resource: string;
  /** Agents or owners that held it when the wait began or was last looked at; at most 5. */
  readonly holders: readonly string[];

  constructor(resource: string, holders: readonly string[], timeoutMs: number) {
    const by = holders.length === 0 ? '' : `, held by ${holders.join(', ')}`;
    super('LOCK_TIMEOUT', `${resource} was not granted within ${timeoutMs} ms${by}`, {
      retryAfterMs: 0,
      hint: 'Try again, wait longer with `timeoutMs`, or ask `whyWaiting` what holds it up.',
    });
    this.name = 'LockTimeoutError';
    this.resource = resource;
    this.holders = holders;
  }
}
