import { conflict } from '../../../src/core/lock-modes.ts';
import type { LockItem, LockMode, LockRelease } from '../../../src/core/ports/locks.ts';
import type { Token } from '../../../src/core/ports/words.ts';
import type { TwinEnd } from './lock-steps.ts';

/** @param nth makes each lease that is cut end at a time of its own */
export function releaseOf(id: string, token: Token | undefined, how: TwinEnd, nth: number): LockRelease {
  const current = token === undefined ? { id } : { id, token };
  if (how === 'down') return { ...current, downgradeTo: 'shared' };
  if (how === 'revoke') return { ...current, revoke: { graceMs: 60 + nth * 1.37, reason: `by ${nth}` } };
  if (how === 'cut') return { ...current, revoke: { graceMs: 0, reason: `by ${nth}` } };
  if (how === 'stale') return { id, token: ((token ?? 7) - 1) as Token };
  return how === 'bare' ? { id } : current;
}

export function upgraded(now: LockMode, mode: 'exclusive' | 'update' | undefined): LockMode {
  if (typeof now === 'object') return now;
  if (now === 'intent-shared' || now === 'intent-exclusive') return 'intent-exclusive';
  return now === 'exclusive' ? now : (mode ?? 'exclusive');
}

/** Whether two requests exclude each other somewhere. Units that fit in together don't: in which order one step grants these is nobody's business. */
export function inTheWay(a: readonly LockItem[], b: readonly LockItem[]): boolean {
  return a.some((one) =>
    b.some((other) => other.resource === one.resource && excludesOther(one.mode, other.mode)),
  );
}

function excludesOther(one: LockMode, other: LockMode): boolean {
  if (typeof one === 'object' && typeof other === 'object') return one.units + other.units > one.of;
  return typeof one === 'object' || conflict(one, other);
}
