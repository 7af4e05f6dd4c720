import type { CycleEdge } from '../core/ports/locks.ts';

/**
 * Whom a deadlock's victim waits for before it tries again: the nearest that holds, or wants, a lock of the cycle. Once that one has
 * finished, what the victim wants is free. A child that merely waits for a slot is done long before its parent gives a lock back. Pure.
 * @param cycle begins with the victim's own wait; the last edge closes it
 */
export function survivorOf(cycle: readonly CycleEdge[]): string {
  const [first] = cycle as readonly [CycleEdge];
  if (isLock(first)) return first.holder;
  const others = cycle.slice(1);
  const nearest = others.findLast(isLock) ?? others.findLast(({ by }) => by !== 'slot') ?? cycle.at(-1);
  return (nearest as CycleEdge).waiter;
}

function isLock({ by }: CycleEdge): boolean {
  return by === 'lock' || by === 'semaphore';
}
