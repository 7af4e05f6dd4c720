import { CoordinationError, describe } from './errors.ts';

/** Bounds of user data; exceeded → INVALID_ARGUMENT. */
export interface JsonLimits {
  /** Bound of the JSON text in bytes of UTF-8: below a half always passes, above three times never. */
  readonly maxBytes: number;
  readonly maxDepth: number;
}

export const PAYLOAD_LIMITS: JsonLimits = { maxBytes: 256 * 1024, maxDepth: 64 };
export const RESULT_LIMITS: JsonLimits = { maxBytes: 1024 * 1024, maxDepth: 64 };

/**
 * Checks that a value is JSON-safe, means the same in memory and after a round trip through JSON text, and is within the limits.
 * Plain objects and arrays of strings, finite numbers, booleans, `null`; an absent or `undefined` property is the same.
 * @returns an estimate of the size of its JSON text in bytes, more exact the nearer it comes to the limit.
 * @throws INVALID_ARGUMENT naming the place and what is there.
 */
export function checkJson(value: unknown, what: string, limits: JsonLimits): number {
  if (value === undefined || value === null) return 4;
  if (typeof value === 'number' && Number.isFinite(value)) return 8;
  const walk = new Walk(what, limits);
  try {
    walk.visit(value, '', 0);
  } catch (error) {
    if (error instanceof CoordinationError) throw error;
    throw new CoordinationError('INVALID_ARGUMENT', `${what} can't be read: a getter or proxy threw`, {
      cause: error,
    });
  }
  return walk.bytes;
}

class Walk {
  bytes = 0;
  readonly #what: string;
  readonly #limits: JsonLimits;

  constructor(what: string, limits: JsonLimits) {
    this.#what = what;
    this.#limits = limits;
  }

  visit(value: unknown, path: string, depth: number): void {
    switch (typeof value) {
      case 'string':
        this.#text(value, 0);
        return;
      case 'number':
        if (!Number.isFinite(value)) this.#refuse(path, value, 'JSON has no such number');
        this.#add(this.#isNear(8) ? String(value).length : 8);
        return;
      case 'boolean':
        this.#add(5);
        return;
      case 'object':
        if (value === null) this.#add(4);
        else this.#container(value, path, depth);
        return;
      default:
        this.#refuse(path, value, 'JSON has no such value');
    }
  }

  #container(value: object, path: string, depth: number): void {
    if (depth >= this.#limits.maxDepth) {
      throw new CoordinationError(
        'INVALID_ARGUMENT',
        `${this.#what} is deeper than ${this.#limits.maxDepth} levels, or refers to itself`,
      );
    }
    this.#add(2);
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) {
        this.#add(1);
        this.visit(value[i], `${path}[${i}]`, depth + 1);
      }
      return;
    }
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null && !isForeignPlain(prototype)) {
      this.#refuse(
        path,
        value,
        'send plain data, such as toISOString() of a Date or Object.fromEntries() of a Map',
      );
    }
    for (const key of Object.keys(value)) {
      if (key === '__proto__') this.#refuse(`${path}.${key}`, key, 'this key is refused');
      const child = (value as Record<string, unknown>)[key];
      if (child === undefined) continue;
      if (key === 'toJSON' && typeof child === 'function')
        this.#refuse(`${path}.toJSON`, child, 'send plain data');
      this.#text(key, 2);
      this.visit(child, `${path}.${key}`, depth + 1);
    }
  }

  /** Sizes are estimates until a third of the limit is reached, then exact: that is dear, and matters only there. */
  #isNear(bytes: number): boolean {
    return (this.bytes + bytes) * 3 > this.#limits.maxBytes;
  }

  #text(text: string, around: number): void {
    const { length } = text;
    const exact = this.#isNear(length) && length <= this.#limits.maxBytes;
    this.#add(around + (exact ? Buffer.byteLength(JSON.stringify(text)) : length + 2));
  }

  #add(bytes: number): void {
    this.bytes += bytes;
    if (this.bytes > this.#limits.maxBytes) {
      throw new CoordinationError(
        'INVALID_ARGUMENT',
        `${this.#what} is larger than ${this.#limits.maxBytes} bytes`,
        {
          hint: 'Store it elsewhere and send a reference.',
        },
      );
    }
  }

  #refuse(path: string, value: unknown, why: string): never {
    throw new CoordinationError('INVALID_ARGUMENT', `${this.#what}${path} is ${describe(value)}: ${why}`);
  }
}

/** `Object.prototype` of another realm (vm contexts, test runners). */
function isForeignPlain(prototype: unknown): boolean {
  return (
    Object.getPrototypeOf(prototype) === null &&
    Object.prototype.hasOwnProperty.call(prototype, 'isPrototypeOf')
  );
}

/** About how many bytes the JSON text of a JSON-safe value has. Characters count as one: an estimate, for much less than the text costs. */
export function roughBytes(value: unknown): number {
  if (typeof value === 'string') return value.length + 2;
  if (typeof value !== 'object' || value === null) return 8;
  let bytes = 2;
  if (Array.isArray(value)) for (const item of value) bytes += 1 + roughBytes(item);
  else
    for (const key of Object.keys(value))
      bytes += key.length + 4 + roughBytes((value as Record<string, unknown>)[key]);
  return bytes;
}

/** A copy of a JSON-safe value that shares nothing with it. Whoever changes one of them doesn't change the other. */
export function copyJson<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(copyJson) as T;
  const copy = { ...value } as Record<string, unknown>;
  for (const key of Object.keys(copy)) {
    const child = copy[key];
    if (typeof child === 'object' && child !== null) copy[key] = copyJson(child);
  }
  return copy as T;
}

/** Whether two JSON-safe values have the same JSON meaning, whatever the order of keys. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const left = Object.keys(a).filter((key) => (a as Record<string, unknown>)[key] !== undefined);
  const right = Object.keys(b).filter((key) => (b as Record<string, unknown>)[key] !== undefined);
  if (left.length !== right.length) return false;
  return left.every(
    (key) =>
      Object.prototype.hasOwnProperty.call(b, key) &&
      sameJson((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]),
  );
}
