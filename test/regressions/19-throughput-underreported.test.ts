import { expect, test } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';
import { CoordinationMetricsCollector } from '../../src/metrics/coordination-metrics-collector.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

/** Defect 19: 12,000 completions in a minute were reported as 1,998 a minute, because the rate was taken from a capped list of samples. */
interface Collector {
  start(): void;
  getCurrentMetrics(): { readonly taskMetrics: { readonly taskThroughput: number } };
}
type Implementation = (bus: EventBus, clock: TestClock) => Collector;

export async function scenario(create: Implementation): Promise<void> {
  const clock = createTestClock();
  const bus = new EventBus({ clock });
  const collector = create(bus, clock);
  collector.start();
  for (let i = 0; i < 12_000; i++) {
    clock.tick(5);
    bus.emit('task:completed', {
      taskId: `t${i}`,
      agentId: 'a',
      queue: 'q',
      type: 't',
      attempt: 1,
      queuedMs: 0,
      durationMs: 1,
    });
  }
  expect(collector.getCurrentMetrics().taskMetrics.taskThroughput).toBe(12_000);
}

/** The predecessor: the last samples it kept, over the time it believes them to cover. */
const naive: Implementation = (bus) => {
  const samples: number[] = [];
  return {
    start: () =>
      void bus.on('task:completed', () => {
        samples.push(1);
        if (samples.length > 1_998) samples.shift();
      }),
    getCurrentMetrics: () => ({ taskMetrics: { taskThroughput: samples.length } }),
  };
};

test('defect 19: 12,000 completions in a minute are reported as 12,000 a minute', async () => {
  await expect(scenario(naive)).rejects.toThrow('expected 1998 to be 12000');
  await scenario(
    (bus, clock) => new CoordinationMetricsCollector(undefined, bus, undefined, { runtime: { clock } }),
  );
});
