import { assertType, describe, expectTypeOf, test } from 'vitest';
import {
  bulkheadPolicy,
  type CircuitBreaker,
  type CircuitBreakerManager,
  compose,
  fallbackPolicy,
  hedgePolicy,
  type Policy,
  retryPolicy,
  timeoutPolicy,
} from '../../src/index.ts';

declare const breaker: CircuitBreaker;
declare const breakers: CircuitBreakerManager;
declare const signal: AbortSignal;
const number = async (): Promise<number> => 1;

describe('a breaker', () => {
  test('answers as its call does', () => {
    expectTypeOf(breaker.execute(number)).toEqualTypeOf<Promise<number>>();
    expectTypeOf(breaker.execute(() => 'a', { signal })).toEqualTypeOf<Promise<string>>();
    expectTypeOf(breakers.execute('api', number)).toEqualTypeOf<Promise<number>>();
    assertType(breaker.execute((own) => own.aborted));
  });

  test('answers as its call or as its fallback', () => {
    expectTypeOf(breaker.execute(number, { fallback: () => 'none' })).toEqualTypeOf<
      Promise<number | string>
    >();
    expectTypeOf(breaker.execute(number, { fallback: async () => undefined })).toEqualTypeOf<
      Promise<number | undefined>
    >();
    expectTypeOf(breakers.execute('api', number, {}, { fallback: () => 'none' })).toEqualTypeOf<
      Promise<number | string>
    >();
    // @ts-expect-error it may be a text
    assertType<() => Promise<number>>(() => breaker.execute(number, { fallback: () => 'none' }));
    // @ts-expect-error a fallback is a function
    assertType(breaker.execute(number, { fallback: 7 }));
  });

  test('is a policy that answers nothing of its own', () => {
    assertType<Policy>(breaker);
  });
});

describe('policies', () => {
  test('answer as the call does', () => {
    expectTypeOf(retryPolicy().execute(number)).toEqualTypeOf<Promise<number>>();
    expectTypeOf(timeoutPolicy(5).execute(number, { signal })).toEqualTypeOf<Promise<number>>();
    expectTypeOf(bulkheadPolicy({ concurrency: 1 }).execute(number)).toEqualTypeOf<Promise<number>>();
    expectTypeOf(hedgePolicy({ delayMs: 5 }).execute(number)).toEqualTypeOf<Promise<number>>();
  });

  test('a fallback adds its own answer', () => {
    const policy = fallbackPolicy(() => 'text');
    expectTypeOf(policy).toEqualTypeOf<Policy<string>>();
    expectTypeOf(policy.execute(number)).toEqualTypeOf<Promise<number | string>>();
    expectTypeOf(fallbackPolicy(async () => null).execute(number)).toEqualTypeOf<Promise<number | null>>();
    // @ts-expect-error it answers with a text
    assertType<Policy>(policy);
  });

  test('compose adds up what its fallbacks answer', () => {
    const text = compose(
      fallbackPolicy(() => 'text'),
      retryPolicy(),
      breaker,
    );
    expectTypeOf(text.execute(number)).toEqualTypeOf<Promise<number | string>>();
    const both = compose(timeoutPolicy(5), text, fallbackPolicy(() => null)); // biome-ignore format: short
    expectTypeOf(both.execute(number)).toEqualTypeOf<Promise<number | string | null>>();
    // @ts-expect-error it may be a text
    assertType<() => Promise<number>>(() => text.execute(number));
  });

  test('compose without a fallback answers as the call does', () => {
    const own: Policy = { execute: async (call) => await call(signal) };
    const policy = compose(retryPolicy(), breaker, bulkheadPolicy({ concurrency: 1 }), own);
    expectTypeOf(policy).toEqualTypeOf<Policy>();
    expectTypeOf(policy.execute(number)).toEqualTypeOf<Promise<number>>();
    expectTypeOf(compose().execute(number)).toEqualTypeOf<Promise<number>>();
    const list: Policy[] = [own];
    expectTypeOf(compose(...list)).toEqualTypeOf<Policy>();
    // @ts-expect-error not a policy
    assertType(compose({ run: number }));
  });
});
