import type { Backend } from '../core/ports/backend.ts';
import type { Owner } from '../core/ports/locks.ts';
import { intercept } from './wrappers.ts';

/** Objects that a network can't carry. */
const LOCAL_ONLY: ReadonlySet<string> = new Set(['local', 'listener']);

/**
 * A backend as it looks across a network: every answer is a promise, whatever goes in or comes out is a copy, no object of the caller's is
 * echoed, and batches are bounded. So what relies on a store in its own process is found without a server.
 *
 * @param maxBatch most items of one call. @default 250
 */
export function networked<B extends Backend>(backend: B, maxBatch = 250): B {
  const wrapped = intercept(backend, async (call) => copyOf(await call.send()), copyOf);
  const capabilities = { ...backend.capabilities, roundTrip: 'network', encoding: 'json', maxBatch };
  return { ...wrapped, capabilities };
}

function copyOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copyOf);
  if (typeof value !== 'object' || value === null) return value;
  const copy: Record<string, unknown> = {};
  for (const key of keysOf(value)) {
    if (LOCAL_ONLY.has(key)) continue;
    const field: unknown = Reflect.get(value, key);
    if (field === undefined || typeof field === 'function') continue;
    setOwn(copy, key, key === 'owner' && typeof field === 'object' ? ownerOf(field as Owner) : copyOf(field));
  }
  return copy;
}

/** Without what its class knows beside. */
function ownerOf({ id, agent, task, priority, since, defeats, single }: Owner): object {
  return copyOf({ id, agent, task, priority, since, defeats, single }) as object;
}

/** Its own keys, and those of the getters of its class. */
function keysOf(value: object): ReadonlySet<string> {
  const keys = new Set(Object.keys(value));
  for (let at = Object.getPrototypeOf(value) as object | null; at !== null && at !== Object.prototype; ) {
    for (const [key, { get }] of Object.entries(Object.getOwnPropertyDescriptors(at)))
      if (get !== undefined && key !== '__proto__') keys.add(key);
    at = Object.getPrototypeOf(at) as object | null;
  }
  return keys;
}

/** `__proto__` is a key like others. */
function setOwn(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
}
