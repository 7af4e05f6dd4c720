import { CoordinationError, describe } from './errors.ts';

/** Checks of arguments at the public edge. Each returns its value, so a call can be checked in place. */

export function invalid(message: string, hint?: string): CoordinationError {
  return new CoordinationError('INVALID_ARGUMENT', message, hint === undefined ? {} : { hint });
}

const MAX_ID_BYTES = 200;
const TOO_LONG = 'Ids and names are kept short: put what they describe into the payload or the metadata.';

/**
 * An id or name: 1–200 bytes of UTF-8, well formed, without control characters. Anything else is allowed, `__proto__` and `*` too: ids
 * live in Maps and are never patterns.
 */
export function checkId(value: unknown, what: string): string {
  if (typeof value !== 'string') throw invalid(`Expected ${what} to be a string, got ${describe(value)}`);
  const { length } = value;
  if (length === 0) throw invalid(`Expected ${what} not to be empty`);
  if (length > MAX_ID_BYTES)
    throw invalid(
      `Expected ${what} to have at most ${MAX_ID_BYTES} bytes, got ${length} characters`,
      TOO_LONG,
    );
  let ascii = true;
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i);
    if (code < 0x20 || code === 0x7f)
      throw invalid(
        `Expected ${what} to have no control characters, got ${describe(value)}`,
        'Escape them, for example with JSON.stringify or encodeURIComponent.',
      );
    if (code > 0x7f) ascii = false;
  }
  if (!ascii) {
    if (!value.isWellFormed())
      throw invalid(`Expected ${what} to be well-formed Unicode, got a lone surrogate`);
    if (Buffer.byteLength(value) > MAX_ID_BYTES)
      throw invalid(`Expected ${what} to have at most ${MAX_ID_BYTES} bytes`, TOO_LONG);
  }
  return value;
}

export function checkFunction<F>(value: F, what: string): F {
  if (typeof value !== 'function') throw invalid(`Expected ${what} to be a function, got ${describe(value)}`);
  return value;
}

/** A finite number within bounds. */
export function checkNumber(
  value: unknown,
  what: string,
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value !== 'number' || !(value >= min && value <= max)) {
    throw invalid(`Expected ${what} to be a number ${range(min, max)}, got ${describe(value)}`);
  }
  return value;
}

export function checkInteger(
  value: unknown,
  what: string,
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
): number {
  if (!Number.isInteger(value))
    throw invalid(`Expected ${what} to be an integer ${range(min, max)}, got ${describe(value)}`);
  return checkNumber(value, what, min, max);
}

/** A duration in ms, 0 … 2^53; fractions allowed. */
export function checkMs(value: unknown, what: string): number {
  return checkNumber(value, what, 0);
}

export function checkSignal(value: unknown, what: string): AbortSignal | undefined {
  if (value === undefined) return undefined;
  const isSignal = reading(what, () => typeof (value as AbortSignal | null)?.addEventListener === 'function');
  if (!isSignal)
    throw invalid(
      `Expected ${what} to be an AbortSignal, got ${describe(value)}`,
      'Pass `controller.signal`, or `AbortSignal.timeout(ms)`.',
    );
  return value as AbortSignal;
}

export function checkObject(value: unknown, what: string, hint?: string): object {
  if (typeof value !== 'object' || value === null || isArray(value, what)) {
    throw invalid(`Expected ${what} to be an object, got ${describe(value)}`, hint);
  }
  return value;
}

export function checkArray(value: unknown, what: string): readonly unknown[] {
  if (!isArray(value, what)) throw invalid(`Expected ${what} to be an array, got ${describe(value)}`);
  return value;
}

/** A copy of a plain record, read once: nothing of the caller's runs afterwards. @throws INVALID_ARGUMENT */
export function checkRecord<T extends object>(value: T, what: string): T {
  checkObject(value, what);
  return reading(what, () => ({ ...value }));
}

/**
 * Reads something of the caller's: what a getter or proxy of it throws becomes an error with a code.
 * @throws INVALID_ARGUMENT with what was thrown as its cause
 */
export function reading<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw unreadable(what, error);
  }
}

/** What {@link reading} throws, where a closure would be too dear. */
export function unreadable(what: string, error: unknown): CoordinationError {
  if (error instanceof CoordinationError) return error;
  return new CoordinationError('INVALID_ARGUMENT', `${what} can't be read: a getter or proxy threw`, {
    cause: error,
  });
}

function isArray(value: unknown, what: string): value is readonly unknown[] {
  try {
    return Array.isArray(value);
  } catch (error) {
    throw unreadable(what, error);
  }
}

const PRIORITY_WORDS: ReadonlyMap<unknown, number> = new Map([
  ['low', 1],
  ['medium', 2],
  ['high', 3],
]);

/** `'low'` 1, `'medium'` 2, `'high'` 3, or an integer −1,000…1,000. Larger is more urgent. */
export type Priority = number | 'low' | 'medium' | 'high';

/** The number of a priority. @default 2 */
export function checkPriority(value: unknown, what = 'priority'): number {
  if (value === undefined) return 2;
  const word = PRIORITY_WORDS.get(value);
  if (word !== undefined) return word;
  if (typeof value === 'string')
    throw invalid(
      `Expected ${what} to be 'low', 'medium', 'high' or an integer, got ${describe(value)}`,
      'Larger is more urgent: low is 1, medium 2, high 3.',
    );
  return checkInteger(value, what, -1_000, 1_000);
}

function range(min: number, max: number): string {
  if (max === Number.MAX_SAFE_INTEGER) return min === 0 ? 'of at least 0' : `of at least ${min}`;
  return `from ${min} to ${max}`;
}
