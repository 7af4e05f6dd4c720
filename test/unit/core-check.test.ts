import { describe, expect, test } from 'vitest';
import {
  checkFunction,
  checkId,
  checkInteger,
  checkMs,
  checkNumber,
  checkObject,
  checkPriority,
  checkSignal,
} from '../../src/core/check.ts';

const refused = (message: RegExp): object =>
  expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) as string });

describe('ids', () => {
  test.each([
    ['a letter', 'a'],
    ['spaces and punctuation', 'a: {b} * ? [c] \\ / "d"'],
    ['__proto__', '__proto__'],
    ['constructor', 'constructor'],
    ['200 bytes', 'x'.repeat(200)],
    ['63 and 64 bytes', 'x'.repeat(63) + 'y'],
    ['right to left and emoji', 'שלום 😀'],
    ['200 bytes of wide characters', 'é'.repeat(100)],
  ])('%s is taken', (_, id) => {
    expect(checkId(id, 'id')).toBe(id);
  });

  test.each([
    ['nothing', '', /not to be empty/],
    ['1,000 characters', 'x'.repeat(1_000), /at most 200 bytes, got 1000 characters/],
    ['201 bytes', 'x'.repeat(201), /at most 200 bytes/],
    ['202 bytes of wide characters', 'é'.repeat(101), /at most 200 bytes/],
    ['a newline', 'a\nb', /control characters/],
    ['NUL', 'a\u0000', /control characters/],
    ['DEL', 'a\u007f', /control characters/],
    ['a lone surrogate', 'a\ud800', /lone surrogate/],
    ['a number', 5, /to be a string, got 5/],
    ['undefined', undefined, /to be a string, got undefined/],
    ['an object', { toString: () => 'x' }, /to be a string, got an object/],
    ['a boxed string', Object('x'), /to be a string, got a String/],
  ])('%s is refused', (_, id, message) => {
    expect(() => checkId(id, 'the id')).toThrow(refused(message));
  });
});

test('what a message cannot say in itself has a hint', () => {
  for (const refuse of [
    () => checkId('x'.repeat(201), 'the id'),
    () => checkId('a\nb', 'the id'),
    () => checkSignal({}, 'signal'),
    () => checkPriority('urgent'),
  ])
    expect(refuse).toThrow(expect.objectContaining({ hint: expect.stringMatching(/\.$/) as string }));
});

describe('numbers', () => {
  test.each([[Number.NaN], [-1], [Number.POSITIVE_INFINITY], ['5'], [null], [undefined], [5n], [{}]])(
    '%s is no duration',
    (value) => {
      expect(() => checkMs(value, 'delayMs')).toThrow(
        refused(/Expected delayMs to be a number of at least 0/),
      );
    },
  );
  test.each([[0], [-0], [0.5], [2 ** 31], [Number.MAX_SAFE_INTEGER]])('%s is a duration', (value) => {
    expect(checkMs(value, 'delayMs')).toBe(value);
  });
  test('bounds belong to the range and are named', () => {
    expect(checkNumber(1, 'x', 1, 2)).toBe(1);
    expect(checkNumber(2, 'x', 1, 2)).toBe(2);
    expect(() => checkNumber(2.1, 'x', 1, 2)).toThrow(refused(/from 1 to 2, got 2.1/));
    expect(() => checkNumber(0, 'x', 1)).toThrow(refused(/of at least 1/));
  });
  test('integers are whole', () => {
    expect(checkInteger(3, 'x', 0)).toBe(3);
    for (const value of [0.5, Number.NaN, '3', Number.POSITIVE_INFINITY, 2 ** 60])
      expect(() => checkInteger(value, 'x', 0)).toThrow(refused(/Expected x to be/));
  });
});

describe('priorities', () => {
  test.each([
    [undefined, 2],
    ['low', 1],
    ['medium', 2],
    ['high', 3],
    [0, 0],
    [-1_000, -1_000],
    [1_000, 1_000],
  ])('%s is %s', (given, number) => {
    expect(checkPriority(given)).toBe(number);
  });
  test.each([[Number.NaN], [1.5], [1_001], ['urgent'], [null], [{}], [Number.POSITIVE_INFINITY]])(
    '%s is refused',
    (value) => {
      expect(() => checkPriority(value)).toThrow(refused(/Expected priority to be/));
    },
  );
});

describe('the rest', () => {
  test('functions', () => {
    const f = (): number => 1;
    expect(checkFunction(f, 'handler')).toBe(f);
    expect(() => checkFunction('f', 'handler')).toThrow(
      refused(/Expected handler to be a function, got "f"/),
    );
  });
  test('signals', () => {
    const { signal } = new AbortController();
    expect(checkSignal(signal, 'signal')).toBe(signal);
    expect(checkSignal(undefined, 'signal')).toBeUndefined();
    for (const value of [null, {}, 'x', new AbortController()])
      expect(() => checkSignal(value, 'signal')).toThrow(refused(/to be an AbortSignal/));
  });
  test('objects', () => {
    expect(checkObject({}, 'task')).toEqual({});
    for (const value of [null, undefined, [], 'x', 1])
      expect(() => checkObject(value, 'task')).toThrow(refused(/Expected task to be an object/));
  });
});
