import { Server } from 'node:net';
import { expect, test, vi } from 'vitest';
import { silentSink } from '../../src/core/events.ts';
import { openHealthEndpoint } from '../../src/health-endpoint.ts';
import { HealthMonitor } from '../../src/health.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { gate } from '../support/mesh.ts';

test('one that is stopped and started again while it asks goes on in one rhythm, not in two', async () => {
  const clock = createTestClock();
  const slow = gate();
  let asked = 0;
  const part = async () => {
    asked += 1;
    if (asked === 1) await slow.promise;
    return { healthy: true };
  };
  const monitor = new HealthMonitor(
    { part },
    { clock, events: silentSink, intervalMs: 100, backend: 'memory' },
  );
  monitor.start();
  await clock.advance(100);
  monitor.stop();
  monitor.start();
  slow.open();
  await clock.advance(1_000);
  expect(asked).toBe(11);
  monitor.stop();
  expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
});

test('connections that can’t be accepted do not end the process', async () => {
  const listen = vi.spyOn(Server.prototype, 'listen');
  const endpoint = await openHealthEndpoint(0, async () => ({ healthy: true, components: {} }));
  const server = listen.mock.contexts[0] as Server;
  listen.mockRestore();
  for (let i = 0; i < 3; i++) server.emit('error', Object.assign(new Error('accept'), { code: 'EMFILE' }));
  const response = await fetch(`http://127.0.0.1:${endpoint.port}/health`);
  expect([response.status, await response.json()]).toEqual([200, { healthy: true, components: {} }]);
  await endpoint.close();
});
