import { toStoredError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import type { Runtime } from '../core/ports/runtime.ts';

/** Says what failed where nobody waits for it. Never throws: whoever listens can't make it worse (G5). */
export function reportFailure(
  { runtime, events }: { readonly runtime: Pick<Runtime, 'logger'>; readonly events: EventSink },
  what: string,
  error: unknown,
  details: Readonly<Record<string, unknown>> = {},
): void {
  const { code, message } = toStoredError(error);
  runtime.logger.error(what, { ...details, code, message });
  try {
    events.emit('system:error', { part: 'scheduler', code, message });
  } catch {
    // It is in the log.
  }
}
