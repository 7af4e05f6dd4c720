import { createHash } from 'node:crypto';

/** A hash of the parts: the same seed gives the same plan on every machine. */
export function digest(...parts: readonly (string | number)[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex');
}

/** A number in [0, 1) that depends on the parts only. */
export function fraction(...parts: readonly (string | number)[]): number {
  return Number.parseInt(digest(...parts).slice(0, 8), 16) / 2 ** 32;
}

/** The items in an order that depends on the seed and on what `label` says of each. */
export function shuffled<T>(
  items: readonly T[],
  seed: number,
  label: (item: T, index: number) => string,
): T[] {
  return items
    .map((item, index) => ({ item, key: digest(seed, label(item, index)) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map(({ item }) => item);
}
