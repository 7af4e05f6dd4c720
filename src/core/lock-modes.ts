import type { LockMode } from './ports/locks.ts';

/**
 * Compatibility of lock modes: the multi-granularity matrix of Gray, Lorie, Putzolu & Traiger 1976, with the update mode (compatible
 * with readers, not with another update) added. One table for every backend, as bits, so that "compatible with all holders" is one `&`.
 */
export type LockWord = Exclude<LockMode, object>;

export const LOCK_WORDS = [
  'intent-shared',
  'intent-exclusive',
  'shared',
  'update',
  'exclusive',
] as const satisfies readonly LockWord[];

export const INTENT_SHARED = 0;
export const INTENT_EXCLUSIVE = 1;
export const SHARED = 2;
export const UPDATE = 3;
export const EXCLUSIVE = 4;
/** Index of a mode that is counted in units. */
export const UNITS = 5;

/** For each mode the bits of the modes it can't be held together with. Units are not in the matrix: they are added up. */
export const CONFLICTS: readonly number[] = [
  bits(EXCLUSIVE),
  bits(SHARED, UPDATE, EXCLUSIVE),
  bits(INTENT_EXCLUSIVE, EXCLUSIVE),
  bits(INTENT_EXCLUSIVE, UPDATE, EXCLUSIVE),
  bits(INTENT_SHARED, INTENT_EXCLUSIVE, SHARED, UPDATE, EXCLUSIVE),
  0,
];

/** For each held mode the bits of the modes it includes: who holds it needs nothing more for these. */
export const COVERS: readonly number[] = [
  bits(INTENT_SHARED),
  bits(INTENT_SHARED, INTENT_EXCLUSIVE),
  bits(INTENT_SHARED, SHARED),
  bits(INTENT_SHARED, SHARED, UPDATE),
  bits(INTENT_SHARED, INTENT_EXCLUSIVE, SHARED, UPDATE, EXCLUSIVE),
  0,
];

const INDEX: ReadonlyMap<unknown, number> = new Map(LOCK_WORDS.map((word, index) => [word, index]));

/** The index of a mode; {@link UNITS} for a semaphore's. */
export function modeIndex(mode: LockMode): number {
  return INDEX.get(mode) ?? UNITS;
}

/** Intents are taken on the folders above a path, by the library, and never by hand: they don't count as "holds it already". */
export function isIntent(mode: number): boolean {
  return mode <= INTENT_EXCLUSIVE;
}

/** Whether two modes can't be held at the same time. Units never conflict by themselves: their sum does. */
export function conflict(a: LockMode, b: LockMode): boolean {
  return ((CONFLICTS[modeIndex(a)] as number) & (1 << modeIndex(b))) !== 0;
}

/** The name of a mode for events and people. */
export function modeName(mode: LockMode): string {
  return typeof mode === 'string' ? mode : `${mode.units} of ${mode.of}`;
}

function bits(...modes: readonly number[]): number {
  return modes.reduce((mask, mode) => mask | (1 << mode), 0);
}
