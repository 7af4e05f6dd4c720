import { expect, test } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';
import { CoordinationMetricsCollector } from '../../src/metrics/coordination-metrics-collector.ts';

/** Defect 24, as far as metrics go: utilization figures were constants or random numbers. */
interface Collector {
  start(): void;
  stop(): void;
  getCurrentMetrics(): {
    readonly agentMetrics: { readonly agentUtilization: number };
    readonly resourceMetrics: { readonly resourceUtilization: number };
  };
}

export async function scenario(create: (bus: EventBus) => Collector): Promise<void> {
  const bus = new EventBus();
  const collector = create(bus);
  collector.start();
  const figures = (): readonly number[] => {
    const { agentMetrics, resourceMetrics } = collector.getCurrentMetrics();
    return [agentMetrics.agentUtilization, resourceMetrics.resourceUtilization];
  };
  expect(figures()).toEqual([0, 0]);
  for (let i = 0; i < 10; i++) bus.emit('agent:spawned', { agentId: `a${i}`, capabilities: [] });
  for (let i = 0; i < 4; i++) {
    bus.emit('agent:active', { agentId: `a${i}` });
    bus.emit('resource:acquired', {
      resourceId: `r${i}`,
      agentId: `a${i}`,
      mode: 'exclusive',
      token: i,
      waitedMs: 0,
    });
  }
  bus.emit('resource:released', { resourceId: 'r0', agentId: 'a0', heldMs: 1 });
  const first = figures();
  expect(first).toEqual([40, 75]);
  expect(figures(), 'the same facts give the same figures').toEqual(first);
  collector.stop();
}

const double = (figure: () => number) => (): Collector => ({
  start: () => undefined,
  stop: () => undefined,
  getCurrentMetrics: () => ({
    agentMetrics: { agentUtilization: figure() },
    resourceMetrics: { resourceUtilization: figure() },
  }),
});

test('defect 24: utilization follows the facts', async () => {
  await expect(scenario(double(() => 75))).rejects.toThrow('to deeply equal');
  await expect(scenario(double(() => Math.random() * 100))).rejects.toThrow('to deeply equal');
  await expect(scenario(double(() => 0))).rejects.toThrow('expected [ +0, +0 ] to deeply equal');
  await scenario((bus) => new CoordinationMetricsCollector(undefined, bus));
});
