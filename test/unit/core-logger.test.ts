import { describe, expect, test } from 'vitest';
import { CoordinationError } from '../../src/core/errors.ts';
import { Logger, silentLogger } from '../../src/core/runtime/logger.ts';

function lines(level?: 'debug' | 'info' | 'warn' | 'error' | 'silent'): string[] {
  const written: string[] = [];
  const write = (line: string): void => void written.push(line.replace(/^\S+ /, ''));
  const logger = new Logger(level === undefined ? { write } : { level, write });
  logger.debug('a');
  logger.info('b', { x: 1 });
  logger.warn('c');
  logger.error('d');
  return written;
}

test('a level lets itself and the more severe ones through', () => {
  expect(lines('debug')).toEqual(['debug a', 'info b {"x":1}', 'warn c', 'error d']);
  expect(lines('info')).toEqual(['info b {"x":1}', 'warn c', 'error d']);
  expect(lines()).toEqual(['warn c', 'error d']);
  expect(lines('error')).toEqual(['error d']);
  expect(lines('silent')).toEqual([]);
});

test('a line begins with the time', () => {
  const written: string[] = [];
  new Logger({ write: (line) => void written.push(line) }).error('x');
  expect(written[0]).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z error x$/);
});

test('facts that are not JSON do not throw', () => {
  const written: string[] = [];
  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;
  new Logger({ write: (line) => void written.push(line) }).error('x', cyclic);
  expect(written[0]).toContain('[facts that are not JSON]');
});

test('isDebug tells whether debug lines are written', () => {
  expect(new Logger({ level: 'debug' }).isDebug).toBe(true);
  expect(new Logger().isDebug).toBe(false);
  expect(silentLogger.isDebug).toBe(false);
});

describe('errors among the facts', () => {
  const written: string[] = [];
  const logger = new Logger({ write: (line) => void written.push(line) });
  const lastFacts = (): Record<string, unknown> => {
    const line = written.at(-1) ?? '';
    return JSON.parse(line.slice(line.indexOf('{'))) as Record<string, unknown>;
  };

  test('are written with name, message, code, stack and cause', () => {
    const cause = Object.assign(new TypeError('no space'), { code: 'ENOSPC' });
    const error = new Error('disk full', { cause });
    logger.error('failed', { error, nested: [{ deep: error }] });
    const expected = {
      name: 'Error',
      message: 'disk full',
      stack: expect.stringContaining('core-logger') as string,
      cause: { name: 'TypeError', message: 'no space', code: 'ENOSPC', stack: expect.any(String) as string },
    };
    expect(lastFacts()).toEqual({ error: expected, nested: [{ deep: expected }] });
  });

  test('may be the facts themselves; a hint is written', () => {
    logger.error('failed', new CoordinationError('QUEUE_FULL', 'full', { hint: 'wait' }));
    expect(lastFacts()).toMatchObject({ name: 'CoordinationError', code: 'QUEUE_FULL', hint: 'wait' });
  });

  test('that are their own cause end', () => {
    const error = new Error('round');
    error.cause = error;
    logger.error('failed', { error });
    expect(lastFacts()).toMatchObject({ error: { message: 'round', cause: { message: 'round' } } });
  });

  test('a bigint, a Map and a Set are no reason to lose the rest', () => {
    logger.error('x', { big: 5n, map: new Map([['a', 1]]), set: new Set([1]), kept: true });
    expect(lastFacts()).toEqual({ big: '5n', map: { a: 1 }, set: [1], kept: true });
  });
});
