import { Server } from 'node:net';
import { expect, test, vi } from 'vitest';
import { type EventSink, silentSink } from '../../src/core/events.ts';
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

test('what was heard before the backend was found to be lost does not bring it back', async () => {
  const clock = createTestClock();
  const told: string[] = [];
  const events = {
    emit: (name: string) => void (name.startsWith('backend:') && told.push(name)),
  } as unknown as EventSink;
  let isThere = true;
  let asked = 0;
  // As a store across a network does: a round takes what was heard a moment ago for an answer.
  const backend = (isRound: boolean) => {
    if (isRound) return { healthy: true };
    asked += 1;
    return { healthy: isThere };
  };
  const monitor = new HealthMonitor({ backend }, { clock, events, intervalMs: 100, backend: 'redis' });
  monitor.start();
  await clock.advance(300);
  expect(asked).toBe(0);
  isThere = false;
  expect((await monitor.check()).healthy).toBe(false);
  await clock.advance(1_000);
  expect((await monitor.check()).healthy).toBe(false);
  await clock.advance(1_000);
  expect([told, monitor.last?.healthy]).toEqual([['backend:lost'], false]);
  isThere = true;
  await clock.advance(100);
  expect(told).toEqual(['backend:lost', 'backend:recovered']);
  asked = 0;
  await clock.advance(1_000);
  expect(asked).toBe(0);
  monitor.stop();
});

test('a round that began before the backend was found to be lost does not bring it back', async () => {
  const clock = createTestClock();
  const told: string[] = [];
  const events = {
    emit: (name: string) => void (name.startsWith('backend:') && told.push(name)),
  } as unknown as EventSink;
  const slow = gate();
  const monitor = new HealthMonitor(
    {
      backend: (isRound) => ({ healthy: isRound }),
      part: async (isRound) => {
        if (isRound) await slow.promise;
        return { healthy: true };
      },
    },
    { clock, events, intervalMs: 100, backend: 'redis' },
  );
  monitor.start();
  await clock.advance(150);
  await monitor.check();
  slow.open();
  await clock.advance(0);
  expect(told).toEqual(['backend:lost']);
  monitor.stop();
});
