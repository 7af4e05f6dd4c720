// A digest, which the rule against chance doesn't mean.
// oxlint-disable-next-line no-restricted-imports
import { hash } from 'node:crypto';

/** The same for payloads that mean the same, whatever the order of their keys. */
export function payloadDigest(payload: unknown): string {
  return hash('sha256', payload === undefined ? '' : canonicalText(payload), 'base64');
}

/** JSON text that doesn't depend on the order of keys; absent properties and `undefined` are the same. */
function canonicalText(value: unknown): string {
  return JSON.stringify(value, (_key, child: unknown) => {
    if (typeof child !== 'object' || child === null || Array.isArray(child)) return child;
    const from = child as Record<string, unknown>;
    return Object.fromEntries(
      Object.keys(from)
        .toSorted()
        .map((key) => [key, from[key]]),
    );
  });
}
