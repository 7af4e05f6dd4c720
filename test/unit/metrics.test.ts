import { describe, expect, test, vi } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';
import type { CoordinationEvents, EventName } from '../../src/core/events.ts';
import {
  CoordinationMetricsCollector,
  type MetricsOptions,
} from '../../src/metrics/coordination-metrics-collector.ts';
import type { MetricGauges } from '../../src/metrics/metric-gauges.ts';
import { METRIC_NAMES, type MetricName } from '../../src/metrics/metric-names.ts';
import { OTHER } from '../../src/metrics/series.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

function setUp(gauges?: MetricGauges, options?: MetricsOptions) {
  const clock = createTestClock();
  const bus = new EventBus({ clock });
  const warn = vi.fn<(message: string) => void>();
  const quiet = (): void => undefined;
  const logger = { debug: quiet, info: quiet, warn, error: quiet };
  const metrics = new CoordinationMetricsCollector(logger, bus, options, { runtime: { clock }, gauges });
  metrics.start();
  return { clock, bus, metrics, warn };
}
type Payload<N extends EventName> = CoordinationEvents[N];
const completed = (taskId: string, durationMs = 10): Payload<'task:completed'> => ({
  taskId,
  agentId: 'a',
  queue: 'default',
  type: 'edit',
  attempt: 1,
  queuedMs: 1,
  durationMs,
});
const created = (taskId: string, queue = 'default', type = 'edit'): Payload<'task:created'> => ({
  taskId,
  queue,
  type,
  priority: 2,
});
const started = (taskId: string): Payload<'task:started'> => ({ taskId, agentId: 'a', attempt: 1 });
const failed = (taskId: string, final: boolean): Payload<'task:failed'> => ({
  taskId,
  agentId: 'a',
  attempt: 1,
  final,
  code: 'ERROR',
  message: 'x',
  durationMs: 3,
});
const acquired = (resourceId: string, waitedMs = 0): Payload<'resource:acquired'> => ({
  resourceId,
  agentId: 'a',
  mode: 'exclusive',
  token: 1,
  waitedMs,
});

/** One event for each documented metric. */
const EXAMPLES: { readonly [M in MetricName]: (bus: EventBus) => void } = {
  'task.created': (bus) => bus.emit('task:created', created('t')),
  'task.started': (bus) => bus.emit('task:started', started('t')),
  'task.completed': (bus) => bus.emit('task:completed', completed('t')),
  'task.failed': (bus) => bus.emit('task:failed', failed('t', true)),
  'task.cancelled': (bus) => bus.emit('task:cancelled', { taskId: 't', reason: 'x' }),
  'agent.spawned': (bus) => bus.emit('agent:spawned', { agentId: 'a', capabilities: [] }),
  'agent.terminated': (bus) => bus.emit('agent:terminated', { agentId: 'a', reason: 'x' }),
  'agent.idle': (bus) => bus.emit('agent:idle', { agentId: 'a' }),
  'agent.active': (bus) => bus.emit('agent:active', { agentId: 'a' }),
  'resource.acquired': (bus) => bus.emit('resource:acquired', acquired('r')),
  'resource.released': (bus) => bus.emit('resource:released', { resourceId: 'r', agentId: 'a', heldMs: 1 }),
  'deadlock.detected': (bus) =>
    bus.emit('deadlock:detected', { agents: [], resources: [], cycle: [], victim: 'a' }),
  'message.sent': (bus) => bus.emit('message:sent', { messageId: 'm', from: 'a', to: 'b' }),
  'message.received': (bus) =>
    bus.emit('message:received', { messageId: 'm', from: 'a', to: 'b', delivery: 1, latencyMs: 1 }),
  'conflict.detected': (bus) =>
    bus.emit('conflict:reported', { conflictId: 'c', kind: 'resource', subject: 'r', agents: [] }),
  'conflict.resolved': (bus) =>
    bus.emit('conflict:resolved', {
      conflict: { id: 'c', kind: 'resource', subject: 'r', agents: [], at: 0, resolved: true },
      resolution: { conflictId: 'c', type: 'priority', winner: 'a', losers: [], reason: '', at: 0 },
    }),
  'workstealing.event': (bus) =>
    bus.emit('workstealing:request', { sourceAgent: 'a', targetAgent: 'b', taskCount: 1 }),
  'circuitbreaker.trip': (bus) =>
    bus.emit('circuitbreaker:state-change', { name: 'x', from: 'closed', to: 'open', reason: '' }),
  error: (bus) => bus.emit('system:error', { part: 'p', code: 'C', message: 'm' }),
};

describe('names', () => {
  test.each(Object.keys(METRIC_NAMES) as MetricName[])('%s: history, top and its Prometheus name', (name) => {
    const { bus, metrics } = setUp();
    for (let i = 0; i < 3; i++) EXAMPLES[name](bus);
    const history = metrics.getMetricHistory(name);
    expect(history.map(({ metric, value }) => [metric, value])).toEqual([[name, 3]]);
    expect(history[0]?.timestamp).toBeInstanceOf(Date);
    expect(metrics.getTopMetrics(1)).toEqual([{ metric: name, count: 3 }]);
    const { prometheus, labels = {} } = METRIC_NAMES[name] as {
      prometheus: string;
      labels?: Record<string, string>;
    };
    const lines = metrics.toPrometheus().split('\n');
    const series = lines.filter(
      (line) => line.startsWith(`${prometheus}{`) || line.startsWith(`${prometheus} `),
    );
    const matching = series.filter((line) =>
      Object.entries(labels).every(([k, v]) => line.includes(`${k}="${v}"`)),
    );
    expect(matching).toHaveLength(1);
    expect(matching[0]).toMatch(/ 3$/);
    expect(lines).toContain(`# TYPE ${prometheus} counter`);
  });

  test('every name of the table is of a legal form and used once', () => {
    const rows = Object.values(METRIC_NAMES).map((row) => JSON.stringify(row));
    expect(new Set(rows).size).toBe(rows.length);
    for (const { prometheus } of Object.values(METRIC_NAMES))
      expect(prometheus).toMatch(/^agentmesh_[a-z_]+_total$/);
  });
});

describe('tasks', () => {
  test('throughput is counted over the last minute', async () => {
    const { bus, clock, metrics } = setUp();
    for (let i = 0; i < 600; i++) {
      bus.emit('task:completed', completed(`t${i}`));
      await Promise.resolve(clock.tick(100));
    }
    expect(metrics.getCurrentMetrics().taskMetrics.taskThroughput).toBe(600);
    clock.tick(30_000);
    expect(metrics.getCurrentMetrics().taskMetrics.taskThroughput).toBe(300);
    clock.tick(30_000);
    expect(metrics.getCurrentMetrics().taskMetrics).toMatchObject({ taskThroughput: 0, completedTasks: 600 });
  });

  test('durations: mean, and percentiles within 1 %', () => {
    const { bus, metrics } = setUp();
    for (let i = 1; i <= 1_000; i++) bus.emit('task:completed', completed(`t${i}`, i));
    const { averageTaskDuration, p50, p95, p99, queueWait } = metrics.getCurrentMetrics().taskMetrics;
    expect(averageTaskDuration).toBe(500.5);
    for (const [found, exact] of [
      [p50, 500],
      [p95, 950],
      [p99, 990],
    ] as const) {
      expect(Math.abs(found / exact - 1)).toBeLessThan(0.01);
    }
    expect(queueWait).toMatchObject({ count: 1_000, max: 1 });
  });

  test('without gauges, active and queued are followed from the events', () => {
    const { bus, metrics } = setUp();
    const now = (): number[] => {
      const { activeTasks, queuedTasks } = metrics.getCurrentMetrics().taskMetrics;
      return [activeTasks, queuedTasks];
    };
    for (const id of ['a', 'b', 'c', 'd', 'e']) bus.emit('task:created', created(id));
    expect(now()).toEqual([0, 5]);
    for (const id of ['a', 'b', 'c', 'd']) bus.emit('task:started', started(id));
    bus.emit('task:started', started('a')); // assigned and started are one task
    expect(now()).toEqual([4, 1]);
    bus.emit('task:completed', completed('a'));
    bus.emit('task:failed', failed('b', false));
    bus.emit('task:retried', { taskId: 'b', attempt: 1, delayMs: 10 });
    expect(now()).toEqual([2, 2]);
    bus.emit('task:failed', failed('c', true));
    bus.emit('task:buried', { taskId: 'c', queue: 'default', reason: '', signature: '' });
    bus.emit('task:cancelled', { taskId: 'd', reason: '' });
    expect(now()).toEqual([0, 2]);
    bus.emit('task:skipped', { taskId: 'e', reason: '' });
    bus.emit('task:redriven', { taskId: 'c' });
    bus.emit('task:preempted', { taskId: 'b', agentId: 'a', by: 'x' });
    bus.emit('task:released', { taskId: 'c', agentId: 'a', reason: '' });
    expect(now()).toEqual([0, 2]);
    expect(metrics.getCurrentMetrics().taskMetrics).toMatchObject({
      completedTasks: 1,
      failedTasks: 1,
      failedAttempts: 2,
      cancelledTasks: 1,
    });
  });

  test('ids are followed up to a bound: memory stays bounded, the figure is a lower bound', () => {
    const { bus, metrics } = setUp();
    for (let i = 0; i < 100_500; i++) bus.emit('task:created', created(`t${i}`));
    expect(metrics.getCurrentMetrics().taskMetrics.queuedTasks).toBe(100_000);
  });

  test('with gauges, the store says what is active and queued', () => {
    const { bus, metrics } = setUp({
      queues: () => [
        { queue: 'plan', states: { ready: 3, claimed: 2, completed: 9 }, oldestReadyAgeMs: 1_500 },
        { queue: 'edit', states: { waiting: 4, scheduled: 1 } },
      ],
    });
    bus.emit('task:created', created('a'));
    expect(metrics.getCurrentMetrics().taskMetrics).toMatchObject({ activeTasks: 2, queuedTasks: 8 });
    const text = metrics.toPrometheus();
    expect(text).toContain('agentmesh_queue_depth{queue="plan",state="ready"} 3\n');
    expect(text).toContain('agentmesh_queue_oldest_ready_age_seconds{queue="plan"} 1.5\n');
  });
});

describe('agents and resources', () => {
  test('utilization follows the events when there is no gauge, and is 0 without facts', () => {
    const { bus, metrics } = setUp();
    expect(metrics.getCurrentMetrics()).toMatchObject({
      agentMetrics: { agentUtilization: 0, totalAgents: 0 },
      resourceMetrics: { resourceUtilization: 0 },
    });
    for (const agentId of ['a', 'b', 'c', 'd']) bus.emit('agent:spawned', { agentId, capabilities: [] });
    bus.emit('agent:active', { agentId: 'a' });
    bus.emit('agent:active', { agentId: 'b' });
    bus.emit('agent:idle', { agentId: 'b' });
    for (const resource of ['r', 's']) bus.emit('resource:acquired', acquired(resource));
    bus.emit('resource:released', { resourceId: 's', agentId: 'a', heldMs: 4 });
    bus.emit('resource:released', { resourceId: 'never seen', agentId: 'a', heldMs: 4 });
    expect(metrics.getCurrentMetrics()).toMatchObject({
      agentMetrics: { totalAgents: 4, activeAgents: 1, idleAgents: 3, agentUtilization: 25 },
      resourceMetrics: { resourceUtilization: 50, heldResources: 1, knownResources: 2 },
    });
    bus.emit('agent:terminated', { agentId: 'a', reason: '' });
    bus.emit('resource:expired', { resourceId: 'r', agentId: 'a', token: 1 });
    expect(metrics.getCurrentMetrics()).toMatchObject({
      agentMetrics: { totalAgents: 3, activeAgents: 0, agentUtilization: 0 },
      resourceMetrics: { resourceUtilization: 0, heldResources: 0, expired: 1 },
    });
  });

  test('shared holders of one resource make it held once', () => {
    const { bus, metrics } = setUp();
    bus.emit('resource:acquired', acquired('r'));
    bus.emit('resource:acquired', acquired('r'));
    bus.emit('resource:released', { resourceId: 'r', agentId: 'a', heldMs: 1 });
    expect(metrics.getCurrentMetrics().resourceMetrics.heldResources).toBe(1);
    bus.emit('resource:released', { resourceId: 'r', agentId: 'b', heldMs: 1 });
    expect(metrics.getCurrentMetrics().resourceMetrics.heldResources).toBe(0);
  });

  test('waiting requests and the percentiles of waits', () => {
    const { bus, metrics } = setUp();
    for (let i = 0; i < 4; i++) bus.emit('resource:waited', { resourceId: 'r', agentId: `a${i}`, ahead: i });
    bus.emit('resource:acquired', acquired('r', 100));
    bus.emit('resource:abandoned', { resourceId: 'r', agentId: 'a1', waitedMs: 50, code: 'LOCK_TIMEOUT' });
    const { waitingRequests, abandoned, lockWait } = metrics.getCurrentMetrics().resourceMetrics;
    expect([waitingRequests, abandoned, lockWait.count]).toEqual([2, 1, 1]);
    expect(Math.abs(lockWait.p99 / 100 - 1)).toBeLessThan(0.01);
  });

  test('gauges decide when they are given', () => {
    const { bus, metrics } = setUp({
      agentSlots: () => ({ running: 3, slots: 12 }),
      locks: () => ({ held: 5, known: 500, waiting: 7 }),
      mailboxes: () => ({ messages: 11 }),
    });
    bus.emit('resource:acquired', acquired('r'));
    expect(metrics.getCurrentMetrics()).toMatchObject({
      agentMetrics: { agentUtilization: 25 },
      resourceMetrics: { resourceUtilization: 1, heldResources: 5, waitingRequests: 7 },
    });
    const text = metrics.toPrometheus();
    expect(text).toContain('agentmesh_agent_utilization_ratio 0.25\n');
    expect(text).toContain('agentmesh_locks_waiters 7\n');
    expect(text).toContain('agentmesh_mailbox_messages 11\n');
  });

  test('G5: a gauge that fails is reported once, and its last value stands', () => {
    let broken = false;
    const { metrics, warn, clock } = setUp({
      agentSlots: () => {
        if (broken) throw new Error('broken gauge');
        return { running: 1, slots: 4 };
      },
      locks: () => ({ held: Number.NaN, known: 1, waiting: 1 }),
      mailboxes: () => Promise.reject(new Error('async')) as never,
      queues: () => [{ queue: 'q', states: { ready: '5' } }] as never,
    });
    expect(metrics.getCurrentMetrics().agentMetrics.agentUtilization).toBe(25);
    broken = true;
    expect(metrics.getCurrentMetrics()).toMatchObject({
      agentMetrics: { agentUtilization: 25 },
      resourceMetrics: { heldResources: 0 },
      taskMetrics: { queuedTasks: 0 },
    });
    expect(metrics.toPrometheus()).not.toContain('mailbox');
    clock.tick(5_000);
    const reported = warn.mock.calls.map(([message]) => message.split(' ')[2] ?? '');
    expect(reported.toSorted((a, b) => (a < b ? -1 : 1))).toEqual([
      'agentSlots',
      'locks',
      'mailboxes',
      'queues',
    ]);
    broken = false;
    metrics.getCurrentMetrics();
    broken = true;
    metrics.getCurrentMetrics();
    expect(warn).toHaveBeenCalledTimes(5);
  });
});

describe('messages and coordination', () => {
  test('are counted from their events', () => {
    const { bus, metrics } = setUp();
    bus.emit('message:sent', { messageId: 'm', from: 'a', to: 'b' });
    bus.emit('message:received', { messageId: 'm', from: 'a', to: 'b', delivery: 1, latencyMs: 2 });
    bus.emit('message:received', { messageId: 'm', from: 'a', to: 'b', delivery: 2, latencyMs: 4 });
    bus.emit('message:dropped', { from: 'a', to: 'b', count: 5, reason: 'expired' });
    bus.emit('message:buried', { messageId: 'm', to: 'b', reason: 'x' });
    bus.emit('deadlock:resolved', { victim: 'a', afterMs: 1 });
    bus.emit('conflict:escalated', { conflictId: 'c', reason: 'x' });
    bus.emit('work:stolen', { stealId: 's', sourceAgent: 'a', targetAgent: 'b', taskIds: ['x', 'y'] });
    bus.emit('agent:error', { agentId: 'a', taskId: 't', message: 'm' });
    for (const name of ['circuitbreaker.trip', 'conflict.detected', 'deadlock.detected'] as const)
      EXAMPLES[name](bus);
    expect(metrics.getCurrentMetrics()).toMatchObject({
      messageMetrics: { sent: 1, received: 2, redelivered: 1, dropped: 5, buried: 1, messageThroughput: 2 },
      coordinationMetrics: {
        deadlocksDetected: 1,
        deadlocksResolved: 1,
        conflictsDetected: 1,
        conflictsEscalated: 1,
        tasksStolen: 2,
        circuitBreakerTrips: 1,
        openBreakers: 1,
        errors: 1,
      },
    });
    bus.emit('circuitbreaker:state-change', { name: 'x', from: 'open', to: 'half-open', reason: '' });
    expect(metrics.getCurrentMetrics().coordinationMetrics.openBreakers).toBe(0);
  });
});

describe('history', () => {
  test('one sample an interval, whose sum is true at any rate', () => {
    const { bus, clock, metrics } = setUp();
    for (let second = 0; second < 3; second++) {
      for (let i = 0; i < 1_000 * (second + 1); i++) bus.emit('task:completed', completed(`t${i}`));
      clock.tick(1_000);
    }
    clock.tick(5_000);
    const since = new Date(clock.wall() - 60_000);
    const history = metrics.getMetricHistory('task.completed', since);
    expect(history.map(({ value }) => value)).toEqual([1_000, 2_000, 3_000]);
    expect(metrics.getMetricHistory('task.completed', new Date(clock.wall() + 1))).toEqual([]);
    expect(metrics.getMetricHistory('never.occurred')).toEqual([]);
  });

  test('what happened since the last interval is there at once, and not twice later', () => {
    const { bus, clock, metrics } = setUp();
    clock.tick(500);
    const since = new Date(clock.wall());
    bus.emit('task:completed', completed('a'));
    expect(metrics.getMetricHistory('task.completed', since)).toEqual([
      { timestamp: since, metric: 'task.completed', value: 1 },
    ]);
    clock.tick(500);
    expect(metrics.getMetricHistory('task.completed', since).map(({ value }) => value)).toEqual([1]);
  });

  test('keeps historyLength samples of each metric', () => {
    const { bus, clock, metrics } = setUp(undefined, { intervalMs: 100, historyLength: 5 });
    for (let i = 1; i <= 9; i++) {
      for (let n = 0; n < i; n++) bus.emit('message:sent', { messageId: 'm', from: 'a', to: 'b' });
      clock.tick(100);
    }
    expect(metrics.getMetricHistory('message.sent').map(({ value }) => value)).toEqual([5, 6, 7, 8, 9]);
  });

  test('figures are sampled too', () => {
    const { bus, clock, metrics } = setUp();
    bus.emit('agent:active', { agentId: 'a' });
    clock.tick(2_000);
    expect(metrics.getMetricHistory('agents.utilization').map(({ value }) => value)).toEqual([100, 100]);
  });

  test('own metrics keep value and tags; documented ones are added to', () => {
    const { clock, metrics } = setUp();
    metrics.recordMetric('tokens', 12.5, { model: 'm1', __proto__x: 'y' });
    metrics.recordMetric('tokens', -3);
    metrics.recordMetric('task.completed', 4);
    const at = new Date(clock.wall());
    expect(metrics.getMetricHistory('tokens')).toEqual([
      { timestamp: at, metric: 'tokens', value: 12.5, tags: { model: 'm1', __proto__x: 'y' } },
      { timestamp: at, metric: 'tokens', value: -3 },
    ]);
    expect(metrics.getCurrentMetrics().taskMetrics.completedTasks).toBe(4);
    clock.tick(1_000);
    expect(metrics.getMetricHistory('task.completed').map(({ value }) => value)).toEqual([4]);
    expect(metrics.getTopMetrics()).toEqual([
      { metric: 'task.completed', count: 4 },
      { metric: 'tokens', count: 2 },
    ]);
    expect(metrics.toPrometheus()).toContain('agentmesh_custom_metric{metric="tokens"} -3\n');
  });

  test('own names are bounded', () => {
    const { metrics } = setUp();
    for (let i = 0; i < 300; i++) metrics.recordMetric(`metric-${i}`, i);
    expect(metrics.getMetricHistory('metric-199')).toHaveLength(1);
    expect(metrics.getMetricHistory('metric-200')).toEqual([]);
    expect(metrics.getMetricHistory(OTHER)).toHaveLength(100);
    expect(metrics.toPrometheus()).toContain('agentmesh_series_dropped_total 100\n');
  });

  test('a name like __proto__ is a name like any other', () => {
    const { bus, metrics } = setUp();
    metrics.recordMetric('__proto__', 1, JSON.parse('{"__proto__":"tag"}') as Record<string, string>);
    bus.emit('task:created', created('__proto__', '__proto__', 'constructor'));
    bus.emit('resource:acquired', acquired('__proto__'));
    expect(metrics.getMetricHistory('__proto__')).toHaveLength(1);
    expect(Object.keys(metrics.getMetricHistory('__proto__')[0]?.tags ?? {})).toEqual(['__proto__']);
    expect(metrics.toPrometheus()).toContain('{queue="__proto__",type="constructor"} 1');
  });
});

describe('life', () => {
  test('G6: start and stop are idempotent, and stopped means no listener and no timer', () => {
    const { bus, clock, metrics } = setUp();
    metrics.start();
    bus.emit('task:completed', completed('a'));
    expect(bus.getEventStats()['task:completed']?.listeners).toBe(1);
    metrics.stop();
    metrics.stop();
    const listeners = Object.values(bus.getEventStats()).reduce((sum, each) => sum + each.listeners, 0);
    expect([listeners, clock.nextDue()]).toEqual([0, Number.POSITIVE_INFINITY]);
    bus.emit('task:completed', completed('b'));
    expect(metrics.getCurrentMetrics().taskMetrics.completedTasks).toBe(1);
    metrics.start();
    bus.emit('task:completed', completed('c'));
    expect(metrics.getCurrentMetrics().taskMetrics.completedTasks).toBe(2);
    expect(metrics.toPrometheus().match(/# TYPE agentmesh_tasks_completed_total/g)).toHaveLength(1);
    expect(metrics.toPrometheus()).toContain(
      'agentmesh_tasks_completed_total{queue="default",type="edit"} 2\n',
    );
  });

  test('clearMetrics forgets counts and samples, not what is the case now', () => {
    const { bus, clock, metrics } = setUp();
    bus.emit('agent:active', { agentId: 'a' });
    bus.emit('task:started', started('t'));
    bus.emit('task:completed', completed('u'));
    bus.emit('message:dropped', { from: 'a', to: 'b', count: 5, reason: 'expired' });
    metrics.recordMetric('own', 1);
    clock.tick(1_000);
    metrics.clearMetrics();
    expect(metrics.getTopMetrics()).toEqual([]);
    expect(metrics.getMetricHistory('task.completed')).toEqual([]);
    expect(metrics.getMetricHistory('own')).toEqual([]);
    expect(metrics.getCurrentMetrics()).toMatchObject({
      taskMetrics: { activeTasks: 1, completedTasks: 0, taskThroughput: 0, p99: 0 },
      agentMetrics: { agentUtilization: 100 },
      messageMetrics: { dropped: 0 },
    });
    expect(metrics.toPrometheus()).not.toContain('reason="expired"');
    bus.emit('task:completed', completed('v'));
    expect(metrics.getCurrentMetrics().taskMetrics).toMatchObject({ completedTasks: 1, taskThroughput: 1 });
    expect(metrics.toPrometheus()).toContain(
      'agentmesh_tasks_completed_total{queue="default",type="edit"} 1\n',
    );
  });

  test('works with nothing given', () => {
    const metrics = new CoordinationMetricsCollector();
    metrics.start();
    metrics.recordMetric('x', 1);
    expect(metrics.getTopMetrics()).toEqual([{ metric: 'x', count: 1 }]);
    metrics.stop();
  });

  test('the answer is plain data', () => {
    const { bus, metrics } = setUp();
    for (const emit of Object.values(EXAMPLES)) emit(bus);
    const now = metrics.getCurrentMetrics();
    const { timestamp, ...rest } = JSON.parse(JSON.stringify(now)) as Record<string, unknown>;
    expect(rest).toEqual({ ...now, timestamp: undefined });
    expect(new Date(timestamp as string)).toEqual(now.timestamp);
  });
});

describe('bad inputs', () => {
  const refusal = expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error;
  test.each([
    ['name empty', ['', 1]],
    ['name too long', ['x'.repeat(500), 1]],
    ['name not a string', [5, 1]],
    ['value NaN', ['x', Number.NaN]],
    ['value unlimited', ['x', Number.POSITIVE_INFINITY]],
    ['value a string', ['x', '1']],
    ['value missing', ['x']],
    ['value a bigint', ['x', 1n]],
    ['a count below 0', ['task.completed', -1]],
    ['tags an array', ['x', 1, []]],
    ['tags a string', ['x', 1, 'a=b']],
    ['tags null', ['x', 1, null]],
    ['a tag that is a number', ['x', 1, { a: 1 }]],
    ['too many tags', ['x', 1, Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`t${i}`, 'v']))]],
    ['a tag too long', ['x', 1, { a: 'x'.repeat(500) }]],
  ] as const)('recordMetric: %s', (_what, given) => {
    const { metrics } = setUp();
    const record = metrics.recordMetric.bind(metrics) as (...all: readonly unknown[]) => void;
    expect(() => record(...given)).toThrow(refusal);
    expect(metrics.getTopMetrics()).toEqual([]);
  });

  test('history and top', () => {
    const { metrics } = setUp();
    for (const since of [new Date(Number.NaN), 5, '2025-01-01', null, {}]) {
      expect(() => metrics.getMetricHistory('x', since as Date)).toThrow(refusal);
    }
    for (const name of ['', undefined, 5])
      expect(() => metrics.getMetricHistory(name as string)).toThrow(refusal);
    for (const limit of [0, -1, 1.5, Number.NaN, '5']) {
      expect(() => metrics.getTopMetrics(limit as number)).toThrow(refusal);
    }
  });

  test('construction', () => {
    const make = (...given: readonly unknown[]) => new CoordinationMetricsCollector(...(given as []));
    expect(() => make(undefined, {})).toThrow(refusal);
    for (const options of [
      5,
      { intervalMs: 0 },
      { intervalMs: Number.NaN },
      { historyLength: 0 },
      { interval: 5 },
    ]) {
      expect(() => make(undefined, undefined, options)).toThrow(
        expect.objectContaining({ code: 'INVALID_OPTION' }),
      );
    }
    expect(make(null, null).getTopMetrics()).toEqual([]);
  });

  test('payloads of the wrong shape disturb neither the emitter nor the collector', () => {
    const { bus, metrics } = setUp();
    for (const bad of [undefined, null, 5, {}]) {
      for (const name of [
        'task:completed',
        'task:created',
        'resource:acquired',
        'conflict:resolved',
      ] as const) {
        expect(() => bus.emit(name, bad as never)).not.toThrow();
      }
    }
    bus.emit('task:completed', completed('a', Number.NaN));
    expect(Number.isFinite(metrics.getCurrentMetrics().taskMetrics.p99)).toBe(true);
    expect(metrics.toPrometheus()).not.toContain('NaN');
  });
});
