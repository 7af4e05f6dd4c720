import { expect, test } from 'vitest';
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
