import { toStoredError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import type { Logger } from '../core/ports/runtime.ts';

/** Tells of something of a user's that threw where nobody could be told: as a warning, and as `system:error`. */
export type FailureReport = (what: string, error: unknown) => void;

export function failureReport(events: EventSink, logger: Logger): FailureReport {
  return (what, error) => {
    const { code, message } = toStoredError(error);
    logger.warn(`${what} threw`, { code, message });
    if (events.wants('system:error'))
      events.emit('system:error', { part: 'locks', code, message: `${what} threw: ${message}` });
  };
}

/** Runs a function of a user's for its effect; what it throws, or its promise rejects with, is reported. */
export function runGuarded(what: string, failed: FailureReport, run: () => unknown): void {
  try {
    const result = run();
    if (typeof result !== 'object' || result === null) return;
    if (typeof (result as { then?: unknown }).then !== 'function') return;
    Promise.resolve(result).catch((error: unknown) => failed(what, error));
  } catch (error) {
    failed(what, error);
  }
}
