import { describe, expect, test } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';
import { CoordinationMetricsCollector } from '../../src/metrics/coordination-metrics-collector.ts';
import { CustomSeries } from '../../src/metrics/custom-series.ts';
import { MetricRegistry } from '../../src/metrics/metric-registry.ts';
import { PROMETHEUS_CONTENT_TYPE, renderPrometheus } from '../../src/metrics/prometheus.ts';
import { SeriesLimits } from '../../src/metrics/series.ts';
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
    const found =
      /^([a-z_]+)((?:\{(?:(?!__)[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)+\})?) (-?[\d.e+-]+|\+Inf|NaN)$/.exec(
        line,
      );
    expect(found, line).not.toBeNull();
    const [, name = '', labels = '', value] = found ?? [];
    const names = [...labels.matchAll(/([a-zA-Z_]\w*)="(?:[^"\\\n]|\\.)*"/g)].map((label) => label[1]);
    expect(new Set(names).size, line).toBe(names.length);
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
      collector.recordMetric('tagged', i, { user: `u${i}` });
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

describe('tags of metrics of one’s own', () => {
  const collector = (): CoordinationMetricsCollector =>
    new CoordinationMetricsCollector(undefined, undefined, undefined, {
      runtime: { clock: createTestClock() },
    });
  const own = (from: CoordinationMetricsCollector): Readonly<Record<string, number>> =>
    Object.fromEntries(
      [...parse(from.toPrometheus())].flatMap(([key, value]) => {
        const labels = /^agentmesh_custom_metric(.*)$/.exec(key);
        return labels === null ? [] : [[labels[1] ?? '', value]];
      }),
    );

  test('each set of tags is a series of its own, in whatever order they are named', () => {
    const metrics = collector();
    metrics.recordMetric('tokens', 5, { model: 'a' });
    metrics.recordMetric('tokens', 7, { model: 'b' });
    metrics.recordMetric('tokens', 1);
    metrics.recordMetric('cost', 2, { model: 'a', kind: 'chat' });
    metrics.recordMetric('cost', 3, { kind: 'chat', model: 'a' });
    expect(own(metrics)).toEqual({
      '{metric="tokens",model="a"}': 5,
      '{metric="tokens",model="b"}': 7,
      '{metric="tokens"}': 1,
      '{metric="cost",kind="chat",model="a"}': 3,
    });
    metrics.clearMetrics();
    expect(own(metrics)).toEqual({});
  });

  test('names become names of labels, values are escaped', () => {
    const metrics = collector();
    metrics.recordMetric('a', 1, { 'http.path': '/"x"\\y', '1st': 'n', __name__: 'up', größe: 'ä' });
    metrics.recordMetric('b', 2, { metric: 'mine', 'a.b': 'dot', a_b: 'line', 'a b': 'blank' });
    expect(own(metrics)).toEqual({
      '{metric="a",_1st="n",_name__="up",gr__e="ä",http_path="/\\"x\\"\\\\y"}': 1,
      '{metric="b",a_b="blank",a_b_2="dot",a_b_3="line",tag_metric="mine"}': 2,
    });
  });

  test('a name that looks like the labels of another stays apart', () => {
    const metrics = collector();
    metrics.recordMetric('x', 1, { a: 'b' });
    metrics.recordMetric(JSON.stringify({ metric: 'x', a: 'b' }), 2);
    metrics.recordMetric(JSON.stringify([['metric', 'x'], ['a', 'b']]), 3); // biome-ignore format: short
    expect(new Set(Object.values(own(metrics)))).toEqual(new Set([1, 2, 3]));
  });

  test('sets of tags are bounded; what is beyond them goes to __other__ and is told', () => {
    const metrics = collector();
    for (let i = 0; i < 5_000; i++) metrics.recordMetric('tokens', i, { user: `u${i}` });
    for (let i = 0; i < 5_000; i++) metrics.recordMetric(`own${i}`, i, { user: `u${i % 7}` });
    const series = parse(metrics.toPrometheus());
    const found = own(metrics);
    expect(Object.keys(found).length).toBeLessThanOrEqual(301);
    expect(found['{metric="tokens",user="u0"}']).toBe(0);
    expect(found['{metric="__other__"}']).toBe(4_999);
    expect(series.get('agentmesh_series_dropped_total')).toBe(9_700);
    // Known series go on.
    metrics.recordMetric('tokens', -1, { user: 'u0' });
    expect(own(metrics)['{metric="tokens",user="u0"}']).toBe(-1);
    expect(metrics.getMetricHistory('tokens')).toHaveLength(3_600);
  });

  test('they leave room for what the mesh counts itself', () => {
    const bus = new EventBus();
    const metrics = new CoordinationMetricsCollector(undefined, bus, undefined, {
      runtime: { clock: createTestClock() },
    });
    metrics.start();
    for (let i = 0; i < 5_000; i++) metrics.recordMetric('tokens', i, { user: `u${i}` });
    for (let i = 0; i < 90; i++)
      bus.emit('task:created', { taskId: 't', queue: `q${i}`, type: `t${i}`, priority: 1 });
    const series = parse(metrics.toPrometheus());
    expect(
      [...series.keys()].filter((key) => key.startsWith('agentmesh_tasks_enqueued_total{')),
    ).toHaveLength(90);
    metrics.stop();
  });

  test('they take from the bound of all series', () => {
    const limits = new SeriesLimits(3);
    const series = new CustomSeries(limits);
    const answers = ['a', 'b', 'c', 'd', 'a'].map((user) => series.record('x', 1, { user }));
    expect(answers).toEqual([true, true, true, false, true]);
    expect(limits.take()).toBe(false);
  });
});
