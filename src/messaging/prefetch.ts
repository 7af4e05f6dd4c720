const MOST = 256;
const WORTH_MS = 5;

/**
 * How many messages to take at once: what is likely handled within 5 ms, so that a fast handler pays for a call to the store once a
 * batch, and a slow one never hoards what another could handle; at least the free places, and just these while nothing is known. Pure.
 */
export function decidePrefetch(freePlaces: number, meanHandlingMs: number | undefined): number {
  if (freePlaces <= 0) return 0;
  const worth =
    meanHandlingMs === undefined ? 0 : meanHandlingMs > 0 ? Math.ceil(WORTH_MS / meanHandlingMs) : MOST;
  return Math.max(Math.min(freePlaces, MOST), Math.min(worth, MOST));
}
