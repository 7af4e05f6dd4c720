import { describe, expect, test } from 'vitest';
import { nearestName } from '../../src/core/nearest-name.ts';
import { OPTIONS, type OptionSpec, type OptionTable, type Part } from '../../src/core/option-table.ts';
import { checkOption, refuseUnknown, resolveOptions } from '../../src/core/options.ts';

const refused = (message: RegExp, hint?: RegExp): object =>
  expect.objectContaining({
    code: 'INVALID_OPTION',
    message: expect.stringMatching(message) as string,
    ...(hint === undefined ? {} : { hint: expect.stringMatching(hint) as string }),
  });
const parts = Object.entries(OPTIONS) as [Part, OptionTable][];

describe('defaults', () => {
  test.each(parts)(
    '%s: every default is within its own bounds, every option has a sentence',
    (part, table) => {
      const resolved = resolveOptions(part, undefined) as Readonly<Record<string, unknown>>;
      for (const [name, spec] of Object.entries(table)) {
        expect(resolved[name]).toBe(spec.default);
        expect(spec.doc).toMatch(/[.`]$/);
        if (spec.default !== undefined) expect(checkOption(name, spec, spec.default)).toBe(spec.default);
      }
      expect(Object.keys(resolved)).toEqual(Object.keys(table));
    },
  );

  test('undefined means not given', () => {
    expect(resolveOptions('breakers', { timeout: undefined }).timeout).toBe(OPTIONS.breakers.timeout.default);
  });

  test('null and undefined are empty options', () => {
    expect(resolveOptions('retry', null as never)).toEqual(resolveOptions('retry', {}));
  });
});

describe('unknown keys', () => {
  test.each([
    [
      'breakers',
      { failureTreshold: 5 },
      /Unknown option "failureTreshold" of `breakers`/,
      /failureThreshold/,
    ],
    ['retry', { maxattempts: 5 }, /Unknown option "maxattempts"/, /maxAttempts/],
    ['workStealing', { stealTreshold: 1 }, /Unknown option/, /stealThreshold/],
  ] as const)('%s refuses %j and names the nearest', (part, given, message, hint) => {
    expect(() => resolveOptions(part, given)).toThrow(refused(message, hint));
  });

  test('something far from everything gets the list', () => {
    expect(() => resolveOptions('retry', { xyzzyplughtwisty: 1 })).toThrow(
      refused(/Unknown option "xyzzyplughtwisty"/, /^Known are: maxAttempts, delayMs/),
    );
  });

  test('keys of other parts are known, unless the object belongs to the part alone', () => {
    const config = {
      maxRetries: 3,
      retryDelay: 1_000,
      deadlockDetection: true,
      resourceTimeout: 30_000,
      messageTimeout: 10_000,
    };
    for (const [part] of parts) expect(() => resolveOptions(part, config)).not.toThrow();
    expect(() => resolveOptions('breakers', { maxRetries: 3 }, true)).toThrow(refused(/Unknown option/));
  });

  test('keys of Object.prototype are unknown like any other', () => {
    for (const key of ['toString', 'constructor', 'hasOwnProperty'])
      expect(() => resolveOptions('retry', { [key]: 1 })).toThrow(refused(/Unknown option/));
    expect(() => resolveOptions('retry', JSON.parse('{"__proto__":1}') as object)).toThrow(
      refused(/Unknown option "__proto__"/),
    );
  });

  test('refuseUnknown', () => {
    expect(() => refuseUnknown('x', { a: 1 }, ['a'])).not.toThrow();
    expect(() => refuseUnknown('x', { leaseMS: 1 }, ['leaseMs'])).toThrow(refused(/"leaseMS"/, /leaseMs/));
  });

  test.each([['x'], [5], [[]], [true]])('options that are %j are refused', (given) => {
    expect(() => resolveOptions('retry', given as never)).toThrow(refused(/to be an object/));
  });
});

describe('values', () => {
  const ms: OptionSpec = { kind: 'ms', default: 1, doc: '' };
  const count: OptionSpec = { kind: 'count', default: 1, min: 1, doc: '' };
  const ratio: OptionSpec = { kind: 'ratio', default: 0.5, doc: '' };
  const percent: OptionSpec = { kind: 'percent', default: 50, doc: '' };
  const number: OptionSpec = { kind: 'number', default: 2, min: 1, max: 100, doc: '' };
  const flag: OptionSpec = { kind: 'flag', default: true, doc: '' };
  const choice: OptionSpec = { kind: 'choice', of: ['a', 'b'], default: 'a', doc: '' };
  const other: OptionSpec = { kind: 'other', default: undefined, doc: '' };
  const inf = Number.POSITIVE_INFINITY;

  test.each([
    [ms, [0, 0.5, 2 ** 31, inf]],
    [count, [1, 10_000, inf]],
    [ratio, [0, 0.5, 1]],
    [percent, [0, 100]],
    [number, [1, 1.5, 100]],
    [flag, [true, false]],
    [choice, ['a', 'b']],
    [other, [null, 'x', 5]],
  ] as const)('$kind takes %j', (spec, values) => {
    for (const value of values) expect(checkOption('x', spec, value)).toBe(value);
  });

  test.each([
    [ms, [-1, Number.NaN, '5', null, -inf, 5n]],
    [count, [0, 1.5, -1, Number.NaN, '1']],
    [ratio, [1.1, -0.1, inf, Number.NaN]],
    [percent, [101, -1]],
    [number, [0.9, 101, inf]],
    [flag, [0, 'true', null]],
    [choice, ['c', 1, null, 'constructor']],
  ] as const)('$kind refuses %j', (spec, values) => {
    for (const value of values)
      expect(() => checkOption('part.x', spec, value)).toThrow(refused(/^Expected `part\.x` to be .*, got /));
  });

  test('resolveOptions names the part', () => {
    expect(() => resolveOptions('retry', { maxAttempts: 0 })).toThrow(
      refused(/Expected `retry.maxAttempts` to be an integer from 1, got 0/),
    );
  });
});

test('nearestName finds a slip of the pen and nothing far away', () => {
  const known = ['timeout', 'maxLength', 'keepMs'];
  expect(nearestName('timeuot', known)).toBe('timeout');
  expect(nearestName('MAXLENGTH', known)).toBe('maxLength');
  expect(nearestName('zzzzzzz', known)).toBeUndefined();
  expect(nearestName('x'.repeat(100_000), known)).toBeUndefined();
});
