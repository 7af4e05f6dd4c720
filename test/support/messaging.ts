import { expect } from 'vitest';
import type { CoordinationEvent } from '../../src/core/events.ts';
import { EventBus } from '../../src/core/event-bus.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { MessageRouter } from '../../src/messaging/router.ts';
import type { MessagingOptions, MessagingStats, RouterParts } from '../../src/messaging/types.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

export interface RouterWorld {
  readonly router: MessageRouter;
  readonly clock: TestClock;
  readonly bus: EventBus;
  /** Everything emitted, in order. */
  readonly events: CoordinationEvent[];
  /** Payloads of one event. */
  payloads(name: string): unknown[];
}

/** A router alone, on simulated time. */
export function createRouterWorld(
  options: MessagingOptions = {},
  parts: Partial<RouterParts> = {},
): RouterWorld {
  const clock = createTestClock();
  const runtime = createRuntime({ clock, random: createRandom('messaging') });
  const bus = new EventBus({ clock });
  const events: CoordinationEvent[] = [];
  bus.tap((event) => void events.push(event));
  const router = new MessageRouter(options, bus, undefined, { runtime, ...parts });
  return {
    router,
    clock,
    bus,
    events,
    payloads: (name) => events.filter((event) => event.name === name).map(({ payload }) => payload),
  };
}

/** Asserts that everything published is in exactly one place (M0, M1). */
export async function expectConserved(router: MessageRouter): Promise<MessagingStats> {
  const stats = await router.stats();
  const { published, delivered, dropped, expired, dead, waiting, handling } = stats;
  expect(delivered + dropped + expired + dead + waiting + handling).toBe(published);
  return stats;
}

/** A promise and the handle to settle it. */
export function deferred<T = void>(): {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
} {
  return Promise.withResolvers<T>();
}
