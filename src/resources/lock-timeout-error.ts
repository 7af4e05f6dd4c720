import { CoordinationError } from '../core/errors.ts';

/** A lock was not granted in time. Nothing is held or waited for by the request any more. */
export class LockTimeoutError extends CoordinationError {
  declare readonly code: 'LOCK_TIMEOUT';
  /** What was asked for; the first of several. */
  readonly resource: string;
  /** Agents or owners that held it, as far as is known: in this process at the end of the wait, else at its beginning. At most 5. */
  readonly holders: readonly string[];

  constructor(resource: string, holders: readonly string[], timeoutMs: number) {
    const by = holders.length === 0 ? '' : `: ${holders.join(', ')} held it`;
    super('LOCK_TIMEOUT', `${resource} was not granted within ${timeoutMs} ms${by}`, {
      hint: 'Wait longer with `timeoutMs`, or ask `whyWaiting` about its holders, which are in `holders`.',
    });
    this.name = 'LockTimeoutError';
    this.resource = resource;
    this.holders = holders;
  }
}
