// A fingerprint of what was submitted: neither chance nor identity.
// oxlint-disable-next-line no-restricted-imports
import { createHash } from 'node:crypto';

/** What two payloads have in common that mean the same: their canonical JSON, hashed to 11 characters: the chance that two differ and look alike is 2⁻⁶⁶. */
export function digestOf(payload: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(payload, sortKeys) ?? '')
    .digest('base64url')
    .slice(0, 11);
}

function sortKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value as Record<string, unknown>);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries);
}
