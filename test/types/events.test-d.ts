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

test('custom names are waited for and filtered as they are listened to', () => {
  expectTypeOf(bus.waitFor('custom:deploy', 1_000)).resolves.toBeUnknown();
  assertType(
    mesh.events.waitFor('custom:deploy', { where: (payload) => expectTypeOf(payload).toBeUnknown() }),
  );
  bus.onFiltered(
    'custom:deploy',
    (payload) => payload !== null,
    (payload) => void expectTypeOf(payload).toBeUnknown(),
  );
  const either = {} as 'task:readied' | 'custom:deploy';
  expectTypeOf(bus.waitFor(either)).resolves.toBeUnknown();
  // @ts-expect-error readied, misspelt
  assertType(bus.waitFor('task:ready'));
  // @ts-expect-error neither in the table nor custom
  assertType(bus.onFiltered('mine', () => true, () => undefined)); // biome-ignore format: one line for one directive
});

test('filters have the payload of their event', () => {
  bus.onFiltered(
    'task:failed',
    ({ final, code }) => {
      expectTypeOf(code).toEqualTypeOf<string>();
      return final;
    },
    ({ taskId }) => void expectTypeOf(taskId).toEqualTypeOf<string>(),
  );
  assertType(bus.waitFor('task:failed', { where: ({ attempt }) => attempt > 1, timeoutMs: 5 }));
  // @ts-expect-error no such field
  assertType(bus.waitFor('task:failed', { where: ({ atempt }) => atempt > 1 }));
});
