import { describe, expect, test } from 'vitest';
import { runInNewContext } from 'node:vm';
import { DeadlockError } from '../../src/core/deadlock-error.ts';
import {
  CoordinationError,
  describe as describeValue,
  ERROR_CODES,
  errorSignature,
  isCoordinationError,
  toStoredError,
} from '../../src/core/errors.ts';

describe('CoordinationError', () => {
  test('carries code, hint, cause and the time to wait, and nothing it was not given', () => {
    const cause = new Error('cause');
    const error = new CoordinationError('RATE_LIMITED', 'slow down', {
      cause,
      retryAfterMs: 5,
      hint: 'wait',
    });
    expect(error).toMatchObject({
      name: 'CoordinationError',
      code: 'RATE_LIMITED',
      message: 'slow down',
      cause,
      retryAfterMs: 5,
      hint: 'wait',
    });
    const bare = new CoordinationError('QUEUE_FULL', 'x');
    expect('cause' in bare || 'hint' in bare || 'retryAfterMs' in bare).toBe(false);
  });

  test('has the hint of its code unless it was given a better one', () => {
    const codes = [
      'REPLY_TIMEOUT',
      'UNKNOWN_TASK',
      'UNKNOWN_AGENT',
      'STOPPED',
      'STALE_CLAIM',
      'LEASE_LOST',
      'OUTCOME_UNKNOWN',
    ] as const;
    for (const code of codes) expect(new CoordinationError(code, 'x').hint).toMatch(/^[A-Z].*\.$/);
    expect(new CoordinationError('OUTCOME_UNKNOWN', 'x').hint).toContain('with the same `id`');
    expect(new CoordinationError('STOPPED', 'x', { hint: 'Rest.' }).hint).toBe('Rest.');
  });

  test('isCoordinationError matches any code, one code, and errors of another copy', () => {
    const error = new CoordinationError('DEADLOCK', 'x');
    expect(isCoordinationError(error)).toBe(true);
    expect(isCoordinationError(error, 'DEADLOCK')).toBe(true);
    expect(isCoordinationError(error, 'STOPPED')).toBe(false);
    expect(isCoordinationError(Object.assign(new Error('x'), { code: 'DEADLOCK' }), 'DEADLOCK')).toBe(true);
    expect(isCoordinationError(Object.assign(new Error('x'), { code: 'ENOENT' }))).toBe(false);
    for (const other of [undefined, null, 'DEADLOCK', { code: 'DEADLOCK' }, new Error('x')])
      expect(isCoordinationError(other)).toBe(false);
  });

  test('the codes are unique and in capitals', () => {
    expect(new Set(ERROR_CODES).size).toBe(ERROR_CODES.length);
    for (const code of ERROR_CODES) expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/);
  });

  test('DeadlockError says who waits for whom', () => {
    const error = new DeadlockError({
      cycle: [
        { waiter: 'a', holder: 'b', by: 'lock', what: 'x' },
        { waiter: 'b', holder: 'a', by: 'semaphore', what: 'y' },
      ],
      agents: ['a', 'b'],
      resources: ['x', 'y'],
      survivor: 'b',
    });
    expect(error).toMatchObject({ code: 'DEADLOCK', name: 'DeadlockError', survivor: 'b' });
    expect(error.message).toBe('Deadlock: a waits for b (lock x), b waits for a (semaphore y)');
    expect(isCoordinationError(error, 'DEADLOCK')).toBe(true);
  });
});

describe('toStoredError', () => {
  const hostile = new Proxy(
    {},
    {
      get: () => {
        throw new Error('no');
      },
      getPrototypeOf: () => {
        throw new Error('no');
      },
    },
  );
  test.each([
    ['a string', 'boom', { code: 'THROWN', name: 'string', message: '"boom"' }],
    ['undefined', undefined, { code: 'THROWN', name: 'undefined', message: 'undefined' }],
    ['null', null, { code: 'THROWN', name: 'object', message: 'null' }],
    ['a symbol', Symbol('s'), { code: 'THROWN', name: 'symbol', message: 'Symbol(s)' }],
    ['a bigint', 5n, { code: 'THROWN', name: 'bigint', message: '5n' }],
    ['a function', () => 1, { code: 'THROWN', name: 'function', message: 'a function' }],
    ['a hostile proxy', hostile, { code: 'THROWN' }],
  ])('keeps %s that was thrown', (_, thrown, expected) => {
    expect(toStoredError(thrown)).toMatchObject(expected);
  });

  test('cuts message, stack, name and code; ends cyclic causes; is JSON-safe', () => {
    const error = Object.assign(new Error('m'.repeat(10_000_000)), { code: 'c'.repeat(1_000) });
    error.name = 'n'.repeat(1_000);
    error.stack = 's'.repeat(10_000_000);
    error.cause = error;
    const stored = toStoredError(error);
    expect(JSON.stringify(stored).length).toBeLessThan(5 * (4_096 + 8_192 + 400));
    let depth = 0;
    for (let at: typeof stored | undefined = stored; at !== undefined; at = at.cause) depth += 1;
    expect(depth).toBe(5);
  });

  test('an error whose properties throw is still an error', () => {
    const error = new Error('x');
    Object.defineProperty(error, 'message', {
      get: () => {
        throw new Error('no');
      },
    });
    expect(toStoredError(error)).toEqual({
      code: 'THROWN',
      name: 'unknown',
      message: 'an error that could not be read was thrown',
    });
  });

  test('our code is kept', () => {
    expect(toStoredError(new CoordinationError('TASK_TIMEOUT', 'x')).code).toBe('TASK_TIMEOUT');
    expect(toStoredError(new Error('x')).code).toBe('ERROR');
  });
});

test('errorSignature groups alike failures', () => {
  const of = (message: string): string => errorSignature({ code: 'E', name: 'Error', message });
  expect(of('no answer from 10.0.0.7 after 350 ms\n at x')).toBe(of('no answer from 10.1.2.9 after 12 ms'));
  expect(of('commit deadbeef01 failed')).toBe('E: commit # failed');
  expect(of('a')).not.toBe(of('b'));
  expect(of('x'.repeat(1_000)).length).toBe(160);
});

test('describe never throws and stays short', () => {
  const nameless = Object.create(null) as object;
  const trap = {
    get constructor(): never {
      throw new Error('no');
    },
  };
  expect(
    [
      'x'.repeat(1_000),
      new Date(0),
      [1, 2],
      nameless,
      new Map(),
      new Date(Number.NaN),
      new (class A {
        readonly kind = 'a';
      })(),
      trap,
      -0,
      Number.NaN,
      runInNewContext('({})') as unknown,
    ].map((value) => describeValue(value)),
  ).toEqual([
    `"${'x'.repeat(80)}…"`,
    'a Date',
    'an array of 2',
    'an object',
    'a Map',
    'an invalid Date',
    'an A',
    'an unreadable value',
    '0',
    'NaN',
    'an object',
  ]);
});
