import { expect, test } from 'vitest';
import { memory } from '../../src/index.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { CoordinationError } from '../../src/core/errors.ts';
import { createScheduler, gate } from '../support/mesh.ts';
import { startMesh } from '../support/started-mesh.ts';

test('onIdle hears of a last task that another manager on the same backend ended', async () => {
  const clock = createTestClock();
  const backend = memory({ shared: true });
  const { mesh: one } = await startMesh({ clock, backend });
  const { mesh: other } = await startMesh({ clock, backend });
  const { promise, open } = gate();
  other.registerAgent({ id: 'b', handler: () => promise });
  await one.submitTask({ type: 't' });
  await other.submitTask({ type: 't' });
  let isIdle = false;
  const idle = one.onIdle().then(() => (isIdle = true));
  await clock.advance(5_000);
  expect(isIdle).toBe(false);
  open();
  await clock.advance(2_000);
  await idle;
});

test('onIdle asks a store again that did not answer at the last end', async () => {
  const { scheduler, clock, store } = createScheduler();
  const { promise, open } = gate();
  scheduler.registerAgent({ id: 'a', handler: () => promise });
  await scheduler.submitTask({ type: 't' });
  await clock.settle();
  let isIdle = false;
  const idle = scheduler.onIdle().then(() => (isIdle = true));
  await clock.settle();
  const counts = store.counts.bind(store);
  store.counts = () => {
    throw new CoordinationError('BACKEND_UNAVAILABLE', 'away');
  };
  open();
  await clock.advance(500);
  expect(isIdle).toBe(false);
  store.counts = counts;
  await clock.advance(2_000);
  await idle;
});
