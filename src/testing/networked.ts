import type { Backend } from '../core/ports/backend.ts';
import type { Owner } from '../core/ports/locks.ts';
import type { Delivery } from '../core/ports/messages.ts';
import { CoordinationError } from '../core/errors.ts';
import { type Call, intercept } from './wrappers.ts';

/** Objects that a network can't carry. */
const LOCAL_ONLY: ReadonlySet<string> = new Set(['local', 'listener']);

/**
 * A backend as it looks across a network: every answer is a promise, whatever goes in or comes out is a copy, no object of the caller's is
 * echoed, and batches that are too large are refused. So what relies on a store in its own process is found without a server.
 *
 * @param maxBatch most items of one call. @default 250
 */
export function networked<B extends Backend>(backend: B, maxBatch = 250): B {
  const wrapped = intercept(
    backend,
    async (call) => {
      refuseLarge(call, maxBatch);
      return copyOf(await call.send());
    },
    copyOf,
  );
  const capabilities = { ...backend.capabilities, roundTrip: 'network', encoding: 'json', maxBatch };
  return { ...wrapped, capabilities };
}

/** Most items of a page, whatever goes into a call. */
const PAGE = 1_000;
/** What can't go in parts: what a session says of itself as a whole, and what must be compared at one moment. */
const WHOLE: ReadonlySet<string> = new Set(['locks.publish', 'locks.abort']);

/** @throws NOT_SUPPORTED when it has more items, or asks for more, than a call may */
function refuseLarge({ port, method, args }: Call, maxBatch: number): void {
  const name = `${port}.${method}`;
  if (WHOLE.has(name)) return;
  const isRead = method === 'list' || method === 'history';
  const check = (what: string, count: unknown, most = maxBatch): void => {
    if (typeof count === 'number' && count > most)
      throw new CoordinationError('NOT_SUPPORTED', `${name} has ${count} ${what}, at most ${most} go`);
  };
  for (const arg of args) {
    if (Array.isArray(arg)) check('items', arg.length);
    else if (typeof arg === 'number' && method === 'sweep') check('as its limit', arg);
    else if (typeof arg === 'object' && arg !== null) {
      const { limit, ids, addresses, filter } = arg as Record<string, unknown>;
      check('as its limit', limit, isRead ? PAGE : maxBatch);
      if (Array.isArray(addresses))
        check(
          'messages wanted',
          addresses.reduce((sum: number, one: { readonly limit: number }) => sum + one.limit, 0),
        );
      for (const list of [ids, addresses, (filter as { ids?: unknown } | undefined)?.ids])
        if (Array.isArray(list)) check('items', list.length);
    }
  }
}

function copyOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copyOf);
  if (typeof value !== 'object' || value === null) return value;
  if (isDelivery(value)) return deliveryOf(value);
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

function isDelivery(value: object): value is Delivery {
  return 'receipt' in value && 'message' in value;
}

/** The same of a message in hand, which knows its mailbox. */
function deliveryOf({ address, receipt, message, delivery, sentAt }: Delivery): object {
  return { address, receipt, delivery, sentAt, message: copyOf(message) };
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
