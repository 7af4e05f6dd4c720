import { MemoryLockStore } from '../../../src/backends/memory/lock-store.ts';
import { standalone } from '../../../src/backends/memory/standalone.ts';
import { EventBus } from '../../../src/core/event-bus.ts';
import type { CoordinationEvent } from '../../../src/core/events.ts';
import type { LockStore } from '../../../src/core/ports/locks.ts';
import { createRandom } from '../../../src/core/runtime/random.ts';
import { createRuntime } from '../../../src/core/runtime/runtime.ts';
import { ResourceManager, type ResourceOptions } from '../../../src/resources/resource-manager.ts';
import type { ResourceParts } from '../../../src/resources/resource-parts.ts';
import { createTestClock, type TestClock } from '../../../src/testing/test-clock.ts';

export interface LockDesk {
  readonly locks: ResourceManager;
  readonly store: MemoryLockStore;
  readonly clock: TestClock;
  readonly bus: EventBus;
  readonly events: CoordinationEvent[];
  named<N extends CoordinationEvent['name']>(
    name: N,
  ): Extract<CoordinationEvent, { readonly name: N }>['payload'][];
}

/** A resource manager on simulated time, with every event it reports. @param wrap what it uses instead of the memory store */
export function createDesk(
  options: ResourceOptions = {},
  wrap: (store: MemoryLockStore, clock: TestClock) => LockStore = (store) => store,
  parts: ResourceParts = {},
): LockDesk {
  const clock = createTestClock();
  const runtime = createRuntime({ clock, random: createRandom('desk') });
  const { core, operations } = standalone({ runtime });
  const store = new MemoryLockStore(core);
  const bus = new EventBus({ clock });
  const events: CoordinationEvent[] = [];
  bus.tap((event) => events.push(event));
  const locks = new ResourceManager(options, bus, undefined, {
    runtime,
    store: wrap(store, clock),
    operations,
    ...parts,
    onHint: (interest, listener) => core.hints.on(interest, listener),
  });
  return {
    locks,
    store,
    clock,
    bus,
    events,
    named: (name) => events.flatMap((event) => (event.name === name ? [event.payload as never] : [])),
  };
}
