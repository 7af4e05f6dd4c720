import type { BackendTime } from './ports/words.ts';

/** A moment of the backend's clock for people: whole ms since 1970, as `Date.now()` has them. */
export function backendMs(at: BackendTime): number {
  return Math.floor(at / 1_000);
}
