import { describe, expect, test } from 'vitest';
import { CoordinationManager, fromPino, type LoggerPort, Logger, ResourceManager } from '../../src/index.ts';

type Line = Readonly<Record<string, unknown>>;

/** What pino does with its arguments: facts first, the rest is text; a fact after a text is lost. Methods need their `this`. */
class PinoDouble {
  readonly lines: Line[] = [];
  readonly level: string;

  constructor(level = 'debug') {
    this.level = level;
  }
  isLevelEnabled(level: string): boolean {
    return this.level === 'debug' || level !== 'debug';
  }
  bindings(): Record<string, unknown> {
    return {};
  }
  debug(a: unknown, b?: unknown): void {
    this.#write('debug', a, b);
  }
  info(a: unknown, b?: unknown): void {
    this.#write('info', a, b);
  }
  warn(a: unknown, b?: unknown): void {
    this.#write('warn', a, b);
  }
  error(a: unknown, b?: unknown): void {
    this.#write('error', a, b);
  }
  #write(level: string, a: unknown, b?: unknown): void {
    if (typeof a === 'object') this.lines.push({ level, ...a, ...(b === undefined ? {} : { msg: b }) });
    else this.lines.push({ level, msg: a });
  }
}

/** The form of pino's own types: a generic overload whose message depends on the facts, and one for a message with placeholders. */
interface PinoTyped extends Record<'debug' | 'info' | 'warn' | 'error', PinoFunction> {
  isLevelEnabled(level: string): boolean;
  bindings(): Record<string, unknown>;
}
interface PinoFunction {
  <T>(obj: T, msg?: T extends string ? never : string, ...args: unknown[]): void;
  (msg: string, ...args: unknown[]): void;
}

async function logged(start: (logger: PinoDouble) => CoordinationManager): Promise<readonly Line[]> {
  const pino = new PinoDouble();
  const mesh = start(pino);
  await mesh.initialize();
  mesh.registerAgent({ id: 'a', handler: ({ logger }) => logger.info('hi', { a: 1 }) });
  await mesh.runTask({ type: 't' });
  await mesh.shutdown();
  return pino.lines;
}

describe('pino', () => {
  test('in the options of a manager gets message and facts', async () => {
    const lines = await logged((logger) => new CoordinationManager({ logger }));
    expect(lines).toContainEqual({ level: 'info', msg: 'hi', a: 1 });
  });

  test('as an argument of a manager gets message and facts', async () => {
    const lines = await logged((logger) => new CoordinationManager({}, undefined, logger));
    expect(lines).toContainEqual({ level: 'info', msg: 'hi', a: 1 });
  });

  test('through fromPino at a part alone; isDebug follows its level', () => {
    const logger = fromPino(new PinoDouble());
    expect(() => new ResourceManager({}, undefined, logger)).not.toThrow();
    expect(logger.isDebug).toBe(true);
    expect(fromPino(new PinoDouble('info')).isDebug).toBe(false);
  });

  test('gets errors as records, and `err` for its own serializer', () => {
    const pino = new PinoDouble();
    const logger = fromPino(pino);
    const error = Object.assign(new Error('disk full'), { code: 'ENOSPC' });
    logger.error('failed', { error, other: 1 });
    logger.error('failed', { err: error });
    logger.error('failed', error);
    logger.warn('plain');
    expect(pino.lines).toEqual([
      {
        level: 'error',
        msg: 'failed',
        other: 1,
        error: expect.objectContaining({ name: 'Error', message: 'disk full', code: 'ENOSPC' }) as object,
      },
      { level: 'error', msg: 'failed', err: error },
      { level: 'error', msg: 'failed', err: error },
      { level: 'warn', msg: 'plain' },
    ]);
  });

  test('compiles with the form of its types', () => {
    const typed = new PinoDouble() as PinoTyped;
    expect(() => new CoordinationManager({ logger: typed })).not.toThrow();
    expect(fromPino(typed)).toHaveProperty('info');
  });

  test('what lacks a method is refused', () => {
    for (const bad of [undefined, null, {}, { info() {} }])
      expect(() => fromPino(bad as never)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });
});

test('loggers that take the message first are used as they are', async () => {
  const lines: string[] = [];
  const logger: LoggerPort = new Logger({ level: 'debug', write: (line) => void lines.push(line) });
  const mesh = new CoordinationManager({ logger });
  await mesh.initialize();
  mesh.registerAgent({ id: 'a', handler: (context) => context.logger.info('hi', { a: 1 }) });
  await mesh.runTask({ type: 't' });
  await mesh.shutdown();
  expect(lines.some((line) => line.endsWith('info hi {"a":1}'))).toBe(true);
});
