import { invalid } from '../core/check.ts';
import { describe } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import type { Logger } from '../core/ports/runtime.ts';
import { guardedLogger } from '../core/runtime/guarded-logger.ts';

/** The documented order differs from other classes', so a logger and a bus in each other's place are told apart here. */
const ORDER = 'The arguments are (name, options, logger, events).';

/** @throws INVALID_ARGUMENT */
export function checkLogger(value: unknown): Logger | undefined {
  if (value === undefined || value === null) return undefined;
  const { debug, info, warn } = value as Partial<Logger>;
  if ([debug, info, warn].every((method) => typeof method === 'function'))
    return guardedLogger(value as Logger);
  throw invalid(`Expected a logger with debug, info, warn and error, got ${describe(value)}`, ORDER);
}

/** @throws INVALID_ARGUMENT */
export function checkSink(value: unknown): EventSink | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof (value as Partial<EventSink>).emit === 'function') return value as EventSink;
  throw invalid(`Expected an event bus, got ${describe(value)}`, ORDER);
}
