/** Objects of one process, which nobody else can have. */
const LOCAL_ONLY: ReadonlySet<string> = new Set(['local', 'listener']);

/** A value as it can be sent to another process: what its getters say, without functions. Numbers that JSON doesn't know stay. */
export function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  const copy = {};
  for (const key of keysOf(value)) {
    const field: unknown = Reflect.get(value, key);
    if (LOCAL_ONLY.has(key) || typeof field === 'function') continue;
    // `__proto__` is a key like others.
    Object.defineProperty(copy, key, {
      value: plain(field),
      writable: true,
      enumerable: true,
      configurable: true,
    });
  }
  return copy;
}

/** Its own keys, and those of the getters of its class. */
function keysOf(value: object): ReadonlySet<string> {
  const keys = new Set(Object.keys(value));
  for (let at = Object.getPrototypeOf(value) as object | null; at !== null && at !== Object.prototype; ) {
    for (const [key, { get }] of Object.entries(Object.getOwnPropertyDescriptors(at)))
      if (get !== undefined) keys.add(key);
    at = Object.getPrototypeOf(at) as object | null;
  }
  return keys;
}
