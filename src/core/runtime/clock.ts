import type { Clock, Timer } from '../ports/runtime.ts';
import { TimerWheel } from './timer-wheel.ts';

/**
 * The real clock: all its timers share one wheel and one native timer, which is unref'd unless a pending timer asked to hold the
 * process open. `NaN` and negative delays fire at the next ms, delays beyond 2^31 − 1 ms are waited for in full.
 */
export function createClock(): Clock {
  const mono = (): number => performance.now();
  const wheel = new TimerWheel(mono(), () => hold());
  let armed: NodeJS.Timeout | undefined;
  let armedFor = Number.POSITIVE_INFINITY;
  let holding = false;

  const fire = (): void => {
    armed = undefined;
    armedFor = Number.POSITIVE_INFINITY;
    wheel.advance(mono());
    arm();
  };
  const arm = (): void => {
    const due = wheel.nextDue();
    if (due >= armedFor) return;
    clearTimeout(armed);
    armedFor = due;
    // The wheel's longest placement is far below 2^31 ms, beyond which a native timer would fire at once.
    armed = setTimeout(fire, Math.max(due - mono(), 0));
    holding = false;
    armed.unref();
    hold();
  };
  /** Follows the number of timers that hold the process: a cancelled one may leave an armed native timer behind. */
  function hold(): void {
    const keep = wheel.keeping > 0;
    if (keep === holding || armed === undefined) return;
    holding = keep;
    if (keep) armed.ref();
    else armed.unref();
  }

  return {
    mono,
    wall: () => Date.now(),
    after(delayMs, fn, keepAlive = false): Timer {
      const timer = wheel.add(mono() + (delayMs > 0 ? delayMs : 0), fn, keepAlive);
      if (timer.due < armedFor) arm();
      if (keepAlive) hold();
      return timer;
    },
    soon: (fn) => void setImmediate(fn),
  };
}
