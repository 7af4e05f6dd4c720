import { checkFunction, invalid } from '../check.ts';
import { describe } from '../errors.ts';
import { checkOptions } from '../options.ts';
import type { Logger as LoggerPort } from '../ports/runtime.ts';
import { printable } from './printable.ts';

const LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LEVELS)[number];

/**
 * A small logger that writes one line an entry to stderr: time, level, message, facts as JSON. Errors are written with name, message,
 * code, stack and cause, as facts and among them. Anything with the same four methods (console, winston) fits instead; pino through
 * `fromPino`.
 */
export class Logger implements LoggerPort {
  readonly #rank: number;
  readonly #write: (line: string) => void;

  /** @param options level: the least that is written. @default level 'warn' */
  constructor(options: { readonly level?: LogLevel; readonly write?: (line: string) => void } = {}) {
    const given = checkOptions('logger', options, ['level', 'write']);
    const { level = 'warn', write = (line: string) => void process.stderr.write(`${line}\n`) } = given;
    if (!LEVELS.includes(level))
      throw invalid(`Expected level to be ${LEVELS.join(', ')}, got ${describe(level)}`);
    this.#rank = LEVELS.indexOf(level);
    this.#write = checkFunction(write, 'write');
  }

  get isDebug(): boolean {
    return this.#rank === 0;
  }
  debug(message: string, facts?: object): void {
    this.#log(0, message, facts);
  }
  info(message: string, facts?: object): void {
    this.#log(1, message, facts);
  }
  warn(message: string, facts?: object): void {
    this.#log(2, message, facts);
  }
  error(message: string, facts?: object): void {
    this.#log(3, message, facts);
  }

  #log(rank: number, message: string, facts?: object): void {
    if (rank < this.#rank) return;
    let tail = '';
    try {
      tail = facts === undefined ? '' : ` ${JSON.stringify(facts, printable)}`;
    } catch {
      tail = ' [facts that are not JSON]';
    }
    this.#write(`${new Date().toISOString()} ${LEVELS[rank]} ${message}${tail}`);
  }
}

/** Drops everything. */
export const silentLogger: LoggerPort = {
  isDebug: false,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
