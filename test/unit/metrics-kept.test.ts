import { expect, test } from 'vitest';
import { CoordinationManager, CoordinationMetricsCollector, EventBus } from '../../src/index.ts';

test('removeAllListeners removes the listeners of users; the metrics of the mesh go on counting', async () => {
  await using mesh = await CoordinationManager.start({ env: {} });
  mesh.registerAgent({ id: 'a', handler: () => 1 });
  let seen = 0;
  mesh.events.on('task:completed', () => (seen += 1) as never);
  await mesh.runTask({ type: 'x' });
  mesh.events.removeAllListeners();
  mesh.events.removeAllListeners('task:completed');
  await mesh.runTask({ type: 'x' });
  expect(seen).toBe(1);
  const { taskMetrics } = await mesh.getCoordinationMetrics();
  expect(taskMetrics).toMatchObject({ completedTasks: 2, activeTasks: 0 });
});

test('stop ends what was kept; a bus that knows only `on` does as well', () => {
  const bus = new EventBus();
  const metrics = new CoordinationMetricsCollector(undefined, bus);
  metrics.start();
  expect(Object.values(bus.getEventStats()).some(({ listeners }) => listeners > 0)).toBe(true);
  metrics.stop();
  expect(Object.values(bus.getEventStats()).every(({ listeners }) => listeners === 0)).toBe(true);
  const names: string[] = [];
  const plain = {
    on: (name: string) => {
      names.push(name);
      return { [Symbol.dispose]: () => undefined };
    },
    count: () => 0,
  };
  const other = new CoordinationMetricsCollector(undefined, plain);
  other.start();
  other.stop();
  expect(names.length).toBeGreaterThan(5);
});
