import type { Clock } from '../core/ports/runtime.ts';
import { systemClock } from '../core/runtime/runtime.ts';
import { TimerWheel } from '../core/runtime/timer-wheel.ts';

/** A clock of its own that jumps to the next timer as soon as the loop is free: order by time, without waiting and without being told. */
export function createHastyClock(): Clock {
  const { soon } = systemClock();
  const wheel = new TimerWheel(0);
  let now = 0;
  let scheduled = false;
  const hurry = (): void => {
    if (scheduled) return;
    scheduled = true;
    soon(() => {
      scheduled = false;
      const due = wheel.nextDue();
      if (due === Number.POSITIVE_INFINITY) return;
      now = Math.max(now, due);
      wheel.advance(now);
      hurry();
    });
  };
  return {
    mono: () => now,
    wall: () => now,
    after: (delayMs, fn, keepAlive = false) => {
      hurry();
      return wheel.add(now + (delayMs > 0 ? delayMs : 0), fn, keepAlive);
    },
    soon,
  };
}
