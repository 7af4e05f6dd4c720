import { MemoryLockStore } from '../../../src/backends/memory/lock-store.ts';
import { standalone } from '../../../src/backends/memory/standalone.ts';
import { createRuntime } from '../../../src/core/runtime/runtime.ts';
import { createTestClock } from '../../../src/testing/test-clock.ts';
import { createDesk, type LockDesk } from './lock-desk.ts';

export interface LateDesk extends LockDesk {
  /** Time passes as while the loop is blocked: no timer fires, each is late from now on. */
  block(ms: number): void;
  /** Each reading of the clock takes this long from now on. */
  crawl(ms: number): void;
}

/** A resource manager in a process whose loop may be blocked. */
export function createLateDesk(): LateDesk {
  const inner = createTestClock();
  let lost = 0;
  let step = 0;
  const clock = {
    ...inner,
    mono: () => inner.mono() + (lost += step),
    wall: () => inner.wall() + lost,
  };
  const runtime = createRuntime({ clock });
  const { core, operations } = standalone({ runtime });
  const store = new MemoryLockStore(core);
  const desk = createDesk({}, () => store, { runtime, operations, store });
  return { ...desk, store, clock, block: (ms) => void (lost += ms), crawl: (ms) => void (step = ms) };
}
