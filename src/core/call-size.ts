/**
 * Most user data in one call to a store across a network, in bytes of text: a store that carries out one call at a time keeps everybody
 * else waiting meanwhile.
 */
export const MAX_CALL_BYTES: number = 1024 * 1024;

/** How many items from the head of a list go into one call: at most `most`, with no more than {@link MAX_CALL_BYTES}, but always one. */
export function fitting<I>(
  items: readonly I[],
  most: number,
  bytesOf: ((item: I) => number) | undefined,
): number {
  const limit = Math.min(items.length, most);
  if (bytesOf === undefined) return limit;
  let bytes = 0;
  for (let i = 0; i < limit; i++) {
    bytes += bytesOf(items[i] as I);
    if (bytes > MAX_CALL_BYTES) return Math.max(1, i);
  }
  return limit;
}
