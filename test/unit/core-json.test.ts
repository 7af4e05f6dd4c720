import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CoordinationError } from '../../src/core/errors.ts';
import { checkJson, PAYLOAD_LIMITS, RESULT_LIMITS, sameJson } from '../../src/core/json.ts';

function refusal(value: unknown, limits = PAYLOAD_LIMITS): string | undefined {
  try {
    checkJson(value, 'input', limits);
    return undefined;
  } catch (error) {
    if (!(error instanceof CoordinationError) || error.code !== 'INVALID_ARGUMENT') throw error;
    return error.message;
  }
}

function nested(depth: number, wrap: (inner: unknown) => unknown): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = wrap(value);
  return value;
}

class Point {
  x = 1;
}

const cyclic: Record<string, unknown> = {};
cyclic['self'] = cyclic;
const wideCycle: unknown[] = [];
for (let i = 0; i < 10; i++) wideCycle.push(wideCycle);

describe('what is refused', () => {
  const bad: readonly (readonly [string, unknown, RegExp])[] = [
    ['10,000 levels of arrays', nested(10_000, (inner) => [inner]), /deeper than 64/],
    ['10,000 levels of objects', nested(10_000, (inner) => ({ inner })), /deeper than 64/],
    ['65 levels', nested(65, (inner) => [inner]), /deeper than 64/],
    ['a cyclic object', cyclic, /deeper than 64 levels, or refers to itself/],
    ['a cyclic array with many branches', wideCycle, /deeper|larger/],
    ['a bigint', { a: 1n }, /input\.a is 1n/],
    ['NaN', { a: [0, Number.NaN] }, /input\.a\[1\] is NaN/],
    ['NaN itself', Number.NaN, /input is NaN/],
    ['Infinity', [Number.POSITIVE_INFINITY], /input\[0\] is Infinity/],
    ['-Infinity', { deep: { er: Number.NEGATIVE_INFINITY } }, /input\.deep\.er is -Infinity/],
    ['a symbol', Symbol('x'), /input is Symbol\(x\)/],
    ['a function', { f: () => 1 }, /input\.f is a function/],
    ['undefined in an array', [undefined], /input\[0\] is undefined/],
    ['a sparse array', Array.from({ length: 2 }), /input\[0\] is undefined/],
    ['a huge sparse array', new Array<unknown>(2 ** 31), /input\[0\] is undefined/],
    ['a Date', { at: new Date(0) }, /input\.at is a Date: .*toISOString/],
    ['a Map', new Map(), /input is a Map/],
    ['a Set', new Set([1]), /input is a Set/],
    ['a Buffer', Buffer.from('x'), /input is a Buffer/],
    ['a typed array', new Uint8Array(2), /input is a Uint8Array/],
    ['a class instance', { p: new Point() }, /input\.p is a Point/],
    ['an Error', new Error('x'), /input is an Error/],
    ['a Promise', Promise.resolve(1), /input is a Promise/],
    ['a RegExp', /x/, /input is a RegExp/],
    ['a boxed string', Object('x') as unknown, /input is a String/],
    ['an object with a prototype of its own', Object.create({ inherited: 1 }), /send plain data/],
    ['the key __proto__', JSON.parse('{"a":{"__proto__":1}}') as unknown, /input\.a\.__proto__ .*refused/],
    ['toJSON', { toJSON: () => 1 }, /input\.toJSON is a function/],
    [
      'a getter that throws',
      {
        get a(): never {
          throw new Error('no');
        },
      },
      /can't be read: a getter or proxy threw/,
    ],
    [
      'a toJSON getter that throws',
      {
        get toJSON(): never {
          throw new Error('no');
        },
      },
      /can't be read/,
    ],
    [
      'a proxy that throws',
      new Proxy(
        {},
        {
          ownKeys: () => {
            throw new Error('no');
          },
        },
      ),
      /can't be read/,
    ],
    [
      'a revoked proxy',
      (() => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return proxy;
      })(),
      /can't be read/,
    ],
    ['a string of 64 MiB', 'x'.repeat(64 * 2 ** 20), /larger than 262144 bytes/],
    ['many small values', Array.from({ length: 100_000 }, () => true), /larger than 262144 bytes/],
    ['a huge key', { ['k'.repeat(300_000)]: 1 }, /larger than 262144 bytes/],
    ['wide characters above the limit', '漢'.repeat(100_000), /larger than 262144 bytes/],
    ['escapes above the limit', '\u0000'.repeat(100_000), /larger than 262144 bytes/],
  ];
  test.each(bad)('%s', (_, value, message) => {
    expect(refusal(value)).toMatch(message);
  });
});

describe('what is taken', () => {
  const good: readonly (readonly [string, unknown])[] = [
    ['undefined (no payload)', undefined],
    ['null', null],
    ['0 B: an empty string', ''],
    ['an empty object', {}],
    ['64 levels', nested(64, (inner) => [inner])],
    ['-0, which JSON reads as 0', -0],
    ['the smallest and largest numbers', [5e-324, -1.7976931348623157e308]],
    ['undefined as a property, which JSON leaves out', { a: undefined }],
    ['lone surrogates and NUL, which JSON escapes', '\ud800 \u0000 \udfff'],
    ['constructor, toString and prototype as keys', { constructor: 1, toString: 'x', prototype: {} }],
    ['a property toJSON that is no function', { toJSON: 1 }],
    [
      'a getter that gives plain data',
      {
        get a(): number {
          return 1;
        },
      },
    ],
    ['an object without prototype', Object.assign(Object.create(null) as object, { a: 1 })],
    ['a plain object of another realm', runInNewContext('({ a: [1, { b: 2 }] })') as unknown],
    [
      'the same object twice',
      (() => {
        const one = { a: 1 };
        return [one, one];
      })(),
    ],
    ['a transparent proxy', new Proxy({ a: 1 }, {})],
    ['a string just below the limit', 'x'.repeat(PAYLOAD_LIMITS.maxBytes - 2)],
    ['50,000 numbers of one digit', Array.from({ length: 50_000 }, () => 7)],
  ];
  test.each(good)('%s', (_, value) => {
    expect(refusal(value)).toBeUndefined();
  });

  test('the same string one byte longer is too much', () => {
    expect(refusal('x'.repeat(PAYLOAD_LIMITS.maxBytes - 1))).toMatch(/larger/);
  });

  test('results may be four times as large', () => {
    const text = 'x'.repeat(PAYLOAD_LIMITS.maxBytes * 2);
    expect(refusal(text)).toMatch(/larger/);
    expect(refusal(text, RESULT_LIMITS)).toBeUndefined();
  });
});

describe('properties', () => {
  test('all JSON passes, and what passes means the same after a round trip', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
        fc.pre(!JSON.stringify(value).includes('"__proto__":')); // the one key that is refused
        expect(checkJson(value, 'input', RESULT_LIMITS)).toBeGreaterThan(0);
        expect(sameJson(value, JSON.parse(JSON.stringify(value)))).toBe(true);
      }),
    );
  });

  test('anything at all is either taken and round-trips, or refused with INVALID_ARGUMENT', () => {
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withTypedArray: true,
      withSparseArray: true,
      withNullPrototype: true,
      withBoxedValues: true,
      withUnicodeString: true,
    });
    fc.assert(
      fc.property(anything, (value) => {
        if (refusal(value) !== undefined || value === undefined) return;
        expect(sameJson(value, JSON.parse(JSON.stringify(value)))).toBe(true);
      }),
    );
  });

  test('below a half of the limit always passes, above three times never', () => {
    const piece = fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.integer({ min: 0, max: 9 }),
      fc.boolean(),
      fc.constant(null),
      fc.constantFrom('', 'x', '漢字', '\u0000\u0001', '"\\', '😀'),
      fc.constantFrom({}, [], { k: 1 }),
    );
    fc.assert(
      fc.property(
        fc.array(piece, { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 50, max: 4_000 }),
        (pieces, times, maxBytes) => {
          const value = Array.from({ length: times }, () => pieces);
          const bytes = Buffer.byteLength(JSON.stringify(value));
          const refused = refusal(value, { maxBytes, maxDepth: 64 }) !== undefined;
          if (bytes < maxBytes / 2) expect(refused).toBe(false);
          if (bytes > maxBytes * 3) expect(refused).toBe(true);
        },
      ),
    );
  });
});

describe('sameJson', () => {
  test.each([
    [{ a: 1, b: [2] }, { b: [2], a: 1 }, true],
    [{ a: undefined }, {}, true],
    [{ a: 1 }, { a: 2 }, false],
    [{ a: 1 }, { b: 1 }, false],
    [{ a: undefined, b: 1 }, { a: 1, b: undefined }, false],
    [[1, 2], [2, 1], false],
    [[], {}, false],
    [null, {}, false],
    [0, -0, true],
    ['1', 1, false],
    [{ toString: 1 }, {}, false],
    [{}, { constructor: 1 }, false],
  ])('%j and %j: %s', (a, b, same) => {
    expect(sameJson(a, b)).toBe(same);
    expect(sameJson(b, a)).toBe(same);
  });
});
