import { isCoordinationError } from '../../src/core/errors.ts';
import type { TestClock } from '../../src/testing/test-clock.ts';

function bite(): never {
  throw new Error('bites');
}

class Custom {
  readonly field = 1;
}

function cyclic(): object {
  const value: Record<string, unknown> = {};
  value['self'] = value;
  return value;
}

function deep(levels: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < levels; i++) value = [value];
  return value;
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

const everyTrap = Object.fromEntries(
  Reflect.ownKeys(Reflect).flatMap((trap) => (typeof trap === 'string' ? [[trap, bite]] : [])),
) as ProxyHandler<object>;

const getters = (...names: string[]): object =>
  Object.defineProperties(
    {},
    Object.fromEntries(names.map((name) => [name, { enumerable: true, get: bite }])),
  );

/** What semantics.md asks to be tried on every public call; each made anew, because some of it can't be used twice. */
export const HOSTILE: readonly (readonly [what: string, make: () => unknown])[] = [
  ['undefined', () => undefined],
  ['null', () => null],
  ['true', () => true],
  ['0', () => 0],
  ['−0', () => -0],
  ['NaN', () => Number.NaN],
  ['Infinity', () => Number.POSITIVE_INFINITY],
  ['−Infinity', () => Number.NEGATIVE_INFINITY],
  ['−1', () => -1],
  ['a fraction', () => 0.5],
  ['2³¹', () => 2 ** 31],
  ['2⁵³', () => 2 ** 53],
  ['a bigint', () => 5n],
  ['a symbol', () => Symbol('s')],
  ['an empty string', () => ''],
  ['1,000 characters', () => 'x'.repeat(1_000)],
  ['64 bytes', () => 'y'.repeat(64)],
  ['characters that mean something elsewhere', () => ': { } * ? [ \\ % \' "'],
  ['a line break', () => 'a\nb'],
  ['NUL', () => 'a\u0000b'],
  ['text from right to left', () => '\u202Eabc'],
  ['a lone surrogate', () => '\uD800'],
  ['51 emoji', () => '😀'.repeat(51)],
  ['__proto__', () => '__proto__'],
  ['constructor', () => 'constructor'],
  ['toString', () => 'toString'],
  ['an empty array', () => []],
  ['a sparse array', () => new Array<unknown>(3)],
  ['an empty object', () => ({})],
  ['an object without prototype', () => Object.create(null) as object],
  ['an own __proto__', () => JSON.parse('{"__proto__": {"polluted": true}}') as object],
  ['a function', () => () => undefined],
  ['a function that throws', () => bite],
  ['a function that rejects', () => () => Promise.reject(new Error('bites'))],
  ['an invalid Date', () => new Date(Number.NaN)],
  ['a Map', () => new Map([['a', 1]])],
  ['a Buffer', () => Buffer.from('bytes')],
  ['an instance of a class', () => new Custom()],
  ['an object that refers to itself', cyclic],
  ['10,000 levels', () => deep(10_000)],
  ['a toJSON that throws', () => ({ toJSON: bite })],
  [
    'getters that throw',
    () => getters('id', 'name', 'type', 'input', 'then', 'signal', 'timeoutMs', 'length', 'handler'),
  ],
  ['a thenable that throws', () => ({ then: bite })],
  ['a Proxy that refuses everything', () => new Proxy({}, everyTrap)],
  ['a Proxy that refuses to be called', () => new Proxy(() => undefined, everyTrap)],
  ['a revoked Proxy', revoked],
];

/** What a call has come to. */
export interface Outcome {
  readonly what: string;
  state: 'pending' | 'resolved' | 'rejected';
  error: unknown;
}

/** Carries a call out, whatever it does. */
export function attempt(what: string, call: () => unknown): Outcome {
  const outcome: Outcome = { what, state: 'pending', error: undefined };
  try {
    const answer = call();
    if (!(answer instanceof Promise)) outcome.state = 'resolved';
    else
      answer.then(
        () => (outcome.state = 'resolved'),
        (error: unknown) => Object.assign(outcome, { state: 'rejected', error }),
      );
  } catch (error) {
    Object.assign(outcome, { state: 'rejected', error });
  }
  return outcome;
}

/** The arguments with each in turn replaced by something hostile, and each field of those that are records. */
export function* spoilt(
  args: readonly unknown[],
): Generator<readonly [what: string, args: readonly unknown[]]> {
  for (const [i, given] of args.entries()) {
    const put = (value: unknown): readonly unknown[] => args.with(i, value);
    for (const [what, make] of HOSTILE) {
      yield [`argument ${i + 1} is ${what}`, put(make())];
      if (Array.isArray(given)) yield [`an item of argument ${i + 1} is ${what}`, put([make()])];
      if (!isRecord(given)) continue;
      for (const key of Object.keys(given)) yield [`${key} is ${what}`, put({ ...given, [key]: make() })];
    }
  }
}

/** Written as `{ … }`. */
export function isRecord(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

/** Calls that ended with an error that has no code, or that never end. */
export function complaints(outcomes: readonly Outcome[]): readonly string[] {
  return outcomes
    .filter(
      ({ state, error }) => state === 'pending' || (state === 'rejected' && !isCoordinationError(error)),
    )
    .map(({ what, state, error }) => `${what}: ${state === 'pending' ? 'never ends' : shown(error)}`);
}

function shown(error: unknown): string {
  try {
    return error instanceof Error ? String(error.stack).split('\n').slice(0, 3).join(' ') : String(error);
  } catch {
    return 'an unreadable error';
  }
}

/** Lets a promise have simulated time until it is settled. */
export async function within<T>(clock: TestClock, ms: number, promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = (): void => void (settled = true);
  promise.then(done, done);
  for (let passed = 0; !settled && passed <= ms; passed += 100) await clock.advance(100);
  if (!settled) throw new Error(`not settled within ${ms} ms of simulated time`);
  return promise;
}
