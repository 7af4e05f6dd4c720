import { assertType, expectTypeOf, test } from 'vitest';
import {
  type CoordinationEvents,
  type CoordinationManager,
  type EventBus,
  SystemEvents,
} from '../../src/index.ts';

declare const bus: EventBus;
declare const mesh: CoordinationManager;

test('a listener gets the payload of its event', () => {
  bus.on('task:completed', ({ taskId, agentId, durationMs, result }) => {
    expectTypeOf(taskId).toEqualTypeOf<string>();
    expectTypeOf(agentId).toEqualTypeOf<string>();
    expectTypeOf(durationMs).toEqualTypeOf<number>();
    expectTypeOf(result).toEqualTypeOf<unknown>();
  });
  mesh.events.on('task:failed', ({ final }) => void expectTypeOf(final).toEqualTypeOf<boolean>());
  bus.on('conflict:resolved', ({ conflict, resolution }) => {
    expectTypeOf(conflict.id).toEqualTypeOf<string>();
    expectTypeOf(resolution.winner).toEqualTypeOf<string>();
  });
});

test('the predecessor’s names lead to the same payloads', () => {
  bus.on(SystemEvents.TASK_ASSIGNED, ({ taskId, agentId, claim }) => {
    expectTypeOf([taskId, agentId, claim]).toEqualTypeOf<string[]>();
  });
  bus.on(SystemEvents.DEADLOCK_DETECTED, ({ agents, resources }) => {
    expectTypeOf(agents).toEqualTypeOf<readonly string[]>();
    expectTypeOf(resources).toEqualTypeOf<readonly string[]>();
  });
  expectTypeOf<(typeof SystemEvents)['TASK_COMPLETED']>().toEqualTypeOf<'task:completed'>();
});

test('the table is closed but for custom names', () => {
  assertType(bus.on('custom:mine', (payload) => void expectTypeOf(payload).toEqualTypeOf<unknown>()));
  assertType(bus.emit('custom:mine', { a: 1 }));
  // @ts-expect-error completed, misspelt
  assertType(bus.on('task:complete', () => undefined));
  // @ts-expect-error neither in the table nor custom
  assertType(bus.emit('mine', {}));
});

test('an emitted payload is checked', () => {
  assertType(bus.emit('queue:paused', { queue: 'q' }));
  // @ts-expect-error the queue is missing
  assertType(bus.emit('queue:paused', {}));
});

test('waiting gives the payload', () => {
  expectTypeOf(bus.waitFor('task:readied', 1_000)).resolves.toEqualTypeOf<
    CoordinationEvents['task:readied']
  >();
});
