import { handled, isPromise } from '../awaitable.ts';
import type { Logger } from '../ports/runtime.ts';

/** A logger of the user's whose exceptions and rejections stay its own: a line that can't be written changes no state (G5). */
class GuardedLogger implements Logger {
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get isDebug(): boolean {
    try {
      return this.#logger.isDebug ?? true;
    } catch {
      return false;
    }
  }
  debug(message: string, facts?: object): void {
    this.#log('debug', message, facts);
  }
  info(message: string, facts?: object): void {
    this.#log('info', message, facts);
  }
  warn(message: string, facts?: object): void {
    this.#log('warn', message, facts);
  }
  error(message: string, facts?: object): void {
    this.#log('error', message, facts);
  }

  #log(level: 'debug' | 'info' | 'warn' | 'error', message: string, facts: object | undefined): void {
    try {
      // Without facts it gets one argument: some loggers write an `undefined` too.
      const answer: unknown =
        facts === undefined ? this.#logger[level](message) : this.#logger[level](message, facts);
      if (isPromise(answer)) handled(answer);
    } catch {
      // Nobody is left to tell.
    }
  }
}

/** The logger, so that it never throws; one that was guarded before as it is. */
export function guardedLogger(logger: Logger): Logger {
  return logger instanceof GuardedLogger ? logger : new GuardedLogger(logger);
}
