import { MemoryTaskStore } from '../../src/backends/memory/task-store.ts';
import { standalone } from '../../src/backends/memory/standalone.ts';
import { EventBus } from '../../src/core/event-bus.ts';
import type { CoordinationEvent } from '../../src/core/events.ts';
import { createIds } from '../../src/core/runtime/ids.ts';
import { silentLogger } from '../../src/core/runtime/logger.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import type { SchedulerParts } from '../../src/scheduler/parts.ts';
import { AdvancedTaskScheduler, type SchedulerOptions } from '../../src/scheduler/scheduler.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** A scheduler on simulated time, with every event it reports. */
export function createScheduler(config: SchedulerOptions = {}, extra: Partial<SchedulerParts> = {}) {
  const clock = createTestClock();
  const random = createRandom(7);
  const runtime = { clock, random, ids: createIds(clock, random.fork('ids')), logger: silentLogger };
  const { core, operations } = standalone({ runtime });
  const store = new MemoryTaskStore(core);
  const bus = new EventBus({ clock });
  const events: CoordinationEvent[] = [];
  bus.tap((event) => events.push(event));
  const scheduler = new AdvancedTaskScheduler(config, bus, silentLogger, {
    runtime,
    store,
    operations,
    ...extra,
  });
  const named = (name: CoordinationEvent['name']): CoordinationEvent[] =>
    events.filter((event) => event.name === name);
  return { scheduler, clock, bus, events, named, store, runtime, operations, core };
}

/** A promise with its ends in hand. */
export function gate<T = void>(): {
  promise: Promise<T>;
  open: (value: T) => void;
  fail: (error: Error) => void;
} {
  let open: (value: T) => void = () => undefined;
  let fail: (error: Error) => void = () => undefined;
  const promise = new Promise<T>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { promise, open, fail };
}
