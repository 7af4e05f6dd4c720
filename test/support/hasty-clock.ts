import type { Clock } from '../../src/core/ports/runtime.ts';
import { TimerWheel } from '../../src/core/runtime/timer-wheel.ts';

/** A clock of its own that jumps to the next timer as soon as the loop is free: order by time, without waiting. */
export function createHastyClock(): Clock {
  const wheel = new TimerWheel(0);
  let now = 0;
  let scheduled = false;
  const hurry = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
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
    soon: (fn) => void setImmediate(fn),
  };
}
