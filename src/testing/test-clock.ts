import type { Clock, Timer } from '../core/ports/runtime.ts';
import { TimerWheel } from '../core/runtime/timer-wheel.ts';

/** A clock that stands still until told. */
export interface TestClock extends Clock {
  /** Moves time on, firing each timer at its own time, and lets promises and `soon` callbacks settle before, between and after. */
  advance(ms: number): Promise<void>;
  /** Moves time on and fires what is due, without letting promises settle in between. */
  tick(ms: number): void;
  /** Lets promises and `soon` callbacks settle without moving time. */
  settle(): Promise<void>;
  /** The next time at which a timer is due, mono ms; `Infinity` without timers. */
  nextDue(): number;
}

/** @param startMs wall time at mono 0, ms since 1970. @default 2025-01-01T00:00:00Z */
export function createTestClock(startMs = 1_735_689_600_000): TestClock {
  const wheel = new TimerWheel(0);
  let now = 0;
  let soonQueue: (() => void)[] = [];

  const settle = async (): Promise<void> => {
    for (let quiet = 0; quiet < 3; quiet++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      while (soonQueue.length > 0) {
        const due = soonQueue;
        soonQueue = [];
        for (const fn of due) fn();
        await new Promise<void>((resolve) => setImmediate(resolve));
        quiet = 0;
      }
    }
  };
  const tick = (ms: number): void => {
    const end = now + ms;
    for (let due = wheel.nextDue(); due <= end; due = wheel.nextDue()) {
      now = Math.max(now, due);
      wheel.advance(now);
    }
    now = end;
    wheel.advance(now);
  };
  return {
    mono: () => now,
    wall: () => startMs + now,
    after: (delayMs, fn, keepAlive = false): Timer =>
      wheel.add(now + (delayMs > 0 ? delayMs : 0), fn, keepAlive),
    soon: (fn) => void soonQueue.push(fn),
    nextDue: () => wheel.nextDue(),
    settle,
    tick,
    async advance(ms) {
      const end = now + ms;
      await settle();
      for (let due = wheel.nextDue(); due <= end; due = wheel.nextDue()) {
        now = Math.max(now, due);
        wheel.advance(now);
        await settle();
      }
      now = end;
      await settle();
    },
  };
}
