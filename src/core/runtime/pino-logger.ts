import { reading } from '../check.ts';
import { checkMethods } from '../options.ts';
import type { Logger } from '../ports/runtime.ts';
import { printableError } from './printable.ts';

/** A logger that takes its facts first: pino's own, and bunyan's. Structural, so neither is a dependency. */
export interface FactsFirstLogger {
  debug(facts: object, message?: string): void;
  info(facts: object, message?: string): void;
  warn(facts: object, message?: string): void;
  error(facts: object, message?: string): void;
  isLevelEnabled?(level: 'debug'): boolean;
}

/** What tells pino from all others: its facts come first. */
export interface PinoLogger extends FactsFirstLogger {
  isLevelEnabled(level: 'debug'): boolean;
  bindings(): object;
}

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;

/**
 * Lets a logger that takes `(facts, message)` be used where `(message, facts)` is written. Errors among the facts become records with
 * name, message, code, stack and cause; one under the key `err`, and facts that are an error, are left to the logger's own serializer.
 * @throws INVALID_OPTION for a logger without one of the four methods
 */
export function fromPino(logger: FactsFirstLogger): Logger {
  checkMethods('logger', logger ?? null, LEVELS);
  return {
    get isDebug() {
      return logger.isLevelEnabled?.('debug') ?? true;
    },
    debug: (message, facts) => logger.debug(factsOf(facts), message),
    info: (message, facts) => logger.info(factsOf(facts), message),
    warn: (message, facts) => logger.warn(factsOf(facts), message),
    error: (message, facts) => logger.error(factsOf(facts), message),
  };
}

/** A pino logger through {@link fromPino}, any other as it is. */
export function asLogger(logger: Logger | PinoLogger): Logger {
  return isPino(logger) ? fromPino(logger) : logger;
}

function isPino(logger: Logger | PinoLogger): logger is PinoLogger {
  return reading('`logger`', () => {
    const { bindings, isLevelEnabled } = logger as Partial<PinoLogger>;
    return typeof bindings === 'function' && typeof isLevelEnabled === 'function';
  });
}

function factsOf(facts: object | undefined): object {
  if (facts === undefined) return {};
  if (facts instanceof Error) return { err: facts };
  const errors = Object.entries(facts).filter(([key, value]) => key !== 'err' && value instanceof Error);
  if (errors.length === 0) return facts;
  return {
    ...facts,
    ...Object.fromEntries(errors.map(([key, error]) => [key, printableError(error as Error)])),
  };
}
