import { describe, expect, test } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';
import { CoordinationMetricsCollector } from '../../src/metrics/coordination-metrics-collector.ts';
import { MetricRegistry } from '../../src/metrics/metric-registry.ts';
import { PROMETHEUS_CONTENT_TYPE, renderPrometheus } from '../../src/metrics/prometheus.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** What a scraper would read: each series once, under a family that was announced once, before it. */
function parse(text: string): Map<string, number> {
  const series = new Map<string, number>();
  const types = new Map<string, string>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue;
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) {
      expect(types.has(type[1] as string)).toBe(false);
      types.set(type[1] as string, type[2] as string);
      continue;
    }
    const found = /^([a-z_]+)((?:\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)+\})?) (-?[\d.e+-]+|\+Inf|NaN)$/.exec(
      line,
    );
    expect(found, line).not.toBeNull();
    const [, name = '', labels = '', value] = found ?? [];
    const family = name.replace(/_(bucket|sum|count)$/, '');
    expect(types.has(name) || types.get(family) === 'histogram', line).toBe(true);
    if (types.get(name) === 'counter') expect(name.endsWith('_total'), line).toBe(true);
    expect(series.has(name + labels), line).toBe(false);
    series.set(name + labels, Number(value));
  }
  return series;
}

describe('text format', () => {
  test('counters, gauges and histograms, in base units', () => {
    const registry = new MetricRegistry();
    registry.counter('a_total', 'A.', 'queue').add(2, 'plan');
    registry.counter('never_total', 'Never.');
    const histogram = registry.histogram('d_seconds', 'D.', { outcome: 'ok' });
    for (const ms of [1, 4, 5, 3_000]) histogram.record(ms);
    registry.gauge('g', 'G.', () => [{ labels: {}, value: 1.5 }]);
    registry.gauge('absent', 'Nothing to say.', () => []);
    const text = renderPrometheus(registry);
    expect(text.endsWith('\n')).toBe(true);
    expect(text).not.toContain('absent');
    const series = parse(text);
    expect(series.get('a_total{queue="plan"}')).toBe(2);
    expect(series.get('never_total')).toBe(0);
    expect(series.get('g')).toBe(1.5);
    expect(series.get('d_seconds_bucket{outcome="ok",le="0.001"}')).toBe(1);
    expect(series.get('d_seconds_bucket{outcome="ok",le="0.004"}')).toBe(2);
    expect(series.get('d_seconds_bucket{outcome="ok",le="0.016"}')).toBe(3);
    expect(series.get('d_seconds_bucket{outcome="ok",le="+Inf"}')).toBe(4);
    expect(series.get('d_seconds_count{outcome="ok"}')).toBe(4);
    expect(series.get('d_seconds_sum{outcome="ok"}')).toBe(3.01);
    expect(PROMETHEUS_CONTENT_TYPE).toContain('version=0.0.4');
  });

  test('label values are escaped', () => {
    const registry = new MetricRegistry();
    registry.counter('a_total', 'A\nB\\C', 'queue').add(1, 'a"b\\c\nd{},=é');
    const text = renderPrometheus(registry);
    expect(text).toContain('# HELP a_total A\\nB\\\\C\n');
    expect(text).toContain('a_total{queue="a\\"b\\\\c\\nd{},=é"} 1\n');
    parse(text);
  });

  test('everything that a collector exports is well formed, and never an id', () => {
    const bus = new EventBus();
    const collector = new CoordinationMetricsCollector(undefined, bus, undefined, {
      runtime: { clock: createTestClock() },
      gauges: { queues: () => [{ queue: 'q', states: { ready: 1 } }], mailboxes: () => ({ messages: 2 }) },
    });
    collector.start();
    const id = 'secret-id-7';
    bus.emit('task:created', { taskId: id, queue: 'q', type: 't', priority: 1 });
    bus.emit('task:started', { taskId: id, agentId: id, attempt: 1 });
    bus.emit('task:completed', {
      taskId: id,
      agentId: id,
      queue: 'q',
      type: 't',
      attempt: 1,
      queuedMs: 1,
      durationMs: 1,
    });
    bus.emit('resource:acquired', { resourceId: id, agentId: id, mode: 'x', token: 1, waitedMs: 1 });
    bus.emit('message:received', { messageId: id, from: id, to: id, delivery: 1, latencyMs: 1 });
    bus.emit('circuitbreaker:state-change', { name: 'llm-api', from: 'closed', to: 'open', reason: 'x' });
    const text = collector.toPrometheus();
    const series = parse(text);
    expect(text).not.toContain(id);
    expect(series.get('agentmesh_task_run_duration_seconds_count{outcome="completed"}')).toBe(1);
    expect(series.get('agentmesh_breaker_state{breaker="llm-api",state="open"}')).toBe(1);
    expect(series.get('agentmesh_breaker_state{breaker="llm-api",state="closed"}')).toBe(0);
    collector.stop();
  });

  test('at most 3,000 series, whatever names come; nothing that is counted is lost', () => {
    const bus = new EventBus();
    const queues = Array.from({ length: 500 }, (_, i) => ({
      queue: `q${i}`,
      states: {
        waiting: 1,
        scheduled: 1,
        ready: 1,
        claimed: 1,
        completed: 1,
        dead: 1,
        cancelled: 1,
        skipped: 1,
      },
      oldestReadyAgeMs: i,
    }));
    const collector = new CoordinationMetricsCollector(undefined, bus, undefined, {
      runtime: { clock: createTestClock() },
      gauges: { queues: () => queues },
    });
    collector.start();
    for (let i = 0; i < 20_000; i++) {
      const [queue, type, code] = [`q${i % 500}`, `t${i % 700}`, `c${i % 90}`];
      bus.emit('task:created', { taskId: 't', queue, type, priority: 1 });
      bus.emit('task:failed', {
        taskId: 't',
        agentId: 'a',
        attempt: 1,
        final: true,
        code,
        message: '',
        durationMs: 1,
      });
      bus.emit('circuitbreaker:state-change', {
        name: `b${i % 400}`,
        from: 'closed',
        to: 'open',
        reason: '',
      });
      if (i < 400) collector.recordMetric(`own${i}`, i);
    }
    const series = parse(collector.toPrometheus());
    expect(series.size).toBeLessThanOrEqual(3_000);
    expect(series.size).toBeGreaterThan(2_000);
    const sum = (name: string): number =>
      [...series].reduce((total, [key, value]) => (key.startsWith(`${name}{`) ? total + value : total), 0);
    expect(sum('agentmesh_tasks_enqueued_total')).toBe(20_000);
    expect(sum('agentmesh_tasks_failed_total')).toBe(20_000);
    expect(series.get('agentmesh_tasks_failed_total{code="__other__"}')).toBeGreaterThan(0);
    expect(series.get('agentmesh_queue_depth{queue="__other__",state="ready"}')).toBe(400);
    expect(series.get('agentmesh_queue_oldest_ready_age_seconds{queue="__other__"}')).toBe(0.499);
    expect(series.get('agentmesh_series_dropped_total')).toBeGreaterThan(0);
    collector.stop();
  });
});
