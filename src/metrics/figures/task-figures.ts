import type { TaskState } from '../../core/ports/tasks.ts';
import type { Distribution, Histogram } from '../histogram.ts';
import type { QueueGauge } from '../metric-gauges.ts';
import type { GaugeSeries } from '../metric-registry.ts';
import { RateMeter } from '../rate-meter.ts';
import type { FigureParts, Figures, Listen, Tally } from './figures.ts';
import { TaskLedger } from './task-ledger.ts';

/** Counts are since `start()` or the last `clearMetrics()`, durations ms. */
export interface TaskMetrics {
  /** Assigned or running now. */
  readonly activeTasks: number;
  /** Waiting for parents, for their time, or for a slot. */
  readonly queuedTasks: number;
  readonly completedTasks: number;
  /** Tasks whose last attempt failed. */
  readonly failedTasks: number;
  /** Attempts that failed, the last ones included. */
  readonly failedAttempts: number;
  readonly cancelledTasks: number;
  /** Completions in the last minute, counted. */
  readonly taskThroughput: number;
  /** Of completed tasks, start to end. */
  readonly averageTaskDuration: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  /** From ready to start, of completed tasks. */
  readonly queueWait: Distribution;
}

const QUEUED: readonly TaskState[] = ['waiting', 'scheduled', 'ready'];

export class TaskFigures implements Figures {
  readonly #parts: FigureParts;
  readonly #ledger: TaskLedger | undefined;
  readonly #rate = new RateMeter();
  readonly #ran: Histogram;
  readonly #failed: Histogram;
  readonly #waited: Histogram;
  #finalFailures = 0;

  constructor(parts: FigureParts) {
    this.#parts = parts;
    this.#ledger = parts.gauges.has('queues') ? undefined : new TaskLedger();
    const { registry } = parts;
    const run = 'agentmesh_task_run_duration_seconds';
    this.#ran = registry.histogram(run, 'Duration of attempts.', { outcome: 'completed' });
    this.#failed = registry.histogram(run, 'Duration of attempts.', { outcome: 'failed' });
    const wait = 'agentmesh_task_wait_duration_seconds';
    this.#waited = registry.histogram(wait, 'From ready to start, of completed tasks.');
    registry.gauge('agentmesh_queue_depth', 'Tasks by queue and state.', () => this.#depths());
    registry.gauge('agentmesh_queue_oldest_ready_age_seconds', 'Age of the oldest ready task.', () =>
      this.#oldest(),
    );
  }

  listen(on: Listen, tally: Tally): void {
    this.#listenToCalls(on);
    this.#listenToRuns(on, tally);
    this.#listenToEnds(on);
  }

  /** Notes the count of completions for the rate. Times are monotonic ms. */
  mark(now: number): void {
    this.#rate.mark(now, this.#completed);
  }

  read(now: number): TaskMetrics {
    const { history } = this.#parts;
    const { mean, p50, p95, p99 } = this.#ran.summary();
    return {
      ...this.#present(),
      completedTasks: this.#completed,
      failedTasks: this.#finalFailures,
      failedAttempts: history.count('task.failed').total,
      cancelledTasks: history.count('task.cancelled').total,
      taskThroughput: this.#rate.perMinute(now, this.#completed),
      averageTaskDuration: mean,
      p50,
      p95,
      p99,
      queueWait: this.#waited.summary(),
    };
  }

  clear(): void {
    this.#finalFailures = 0;
    this.#rate.clear();
  }

  get #completed(): number {
    return this.#parts.history.count('task.completed').total;
  }

  #listenToCalls(on: Listen): void {
    const { history, registry } = this.#parts;
    const ledger = this.#ledger;
    const created = history.count('task.created');
    const enqueued = registry.counter('agentmesh_tasks_enqueued_total', 'Tasks stored.', 'queue', 'type');
    on('task:created', ({ taskId, queue, type }) => {
      created.total += 1;
      enqueued.add(1, queue, type);
      ledger?.note(taskId, false);
    });
    const same = registry.counter(
      'agentmesh_tasks_deduplicated_total',
      'Submissions that named an existing task.',
      'queue',
    );
    on('task:deduplicated', ({ queue }) => same.add(1, queue));
    on('task:redriven', ({ taskId }) => ledger?.note(taskId, false));
  }

  #listenToRuns(on: Listen, tally: Tally): void {
    const { history, registry } = this.#parts;
    const ledger = this.#ledger;
    const claimed = registry.counter('agentmesh_tasks_claimed_total', 'Assignments to an agent.');
    tally('task:assigned', (n) => claimed.add(n));
    const started = history.count('task.started');
    const starts = registry.counter('agentmesh_tasks_started_total', 'Attempts started.');
    tally('task:started', (n) => {
      started.total += n;
      starts.add(n);
    });
    const retried = registry.counter(
      'agentmesh_tasks_retried_total',
      'Failed attempts that will be repeated.',
    );
    tally('task:retried', (n) => retried.add(n));
    if (ledger === undefined) return;
    for (const name of ['task:assigned', 'task:started'] as const)
      on(name, ({ taskId }: { readonly taskId: string }) => ledger.note(taskId, true));
    on('task:retried', ({ taskId }) => ledger.note(taskId, false));
    on('task:preempted', ({ taskId }) => ledger.note(taskId, false));
    on('task:released', ({ taskId }) => ledger.note(taskId, false));
  }

  #listenToEnds(on: Listen): void {
    const { history, registry } = this.#parts;
    const ledger = this.#ledger;
    const completed = history.count('task.completed');
    const ends = registry.counter(
      'agentmesh_tasks_completed_total',
      'Tasks that ended well.',
      'queue',
      'type',
    );
    on('task:completed', ({ taskId, queue, type, queuedMs, durationMs }) => {
      completed.total += 1;
      ends.add(1, queue, type);
      this.#waited.record(queuedMs);
      this.#ran.record(durationMs);
      ledger?.end(taskId);
    });
    const failed = history.count('task.failed');
    const failures = registry.counter('agentmesh_tasks_failed_total', 'Attempts that failed.', 'code');
    on('task:failed', ({ taskId, code, final, durationMs }) => {
      failed.total += 1;
      failures.add(1, code);
      this.#failed.record(durationMs);
      if (final) this.#finalFailures += 1;
      if (final) ledger?.end(taskId);
      else ledger?.note(taskId, false);
    });
    const buried = registry.counter(
      'agentmesh_tasks_dead_lettered_total',
      'Tasks that became dead letters.',
      'queue',
    );
    on('task:buried', ({ taskId, queue }) => {
      buried.add(1, queue);
      ledger?.end(taskId);
    });
    const cancelled = history.count('task.cancelled');
    const cancels = registry.counter('agentmesh_tasks_cancelled_total', 'Tasks cancelled.');
    on('task:cancelled', ({ taskId }) => {
      cancelled.total += 1;
      cancels.add();
      ledger?.end(taskId);
    });
    on('task:skipped', ({ taskId }) => ledger?.end(taskId));
  }

  #present(): Pick<TaskMetrics, 'activeTasks' | 'queuedTasks'> {
    const queues = this.#parts.gauges.read('queues');
    if (queues === undefined) {
      return { activeTasks: this.#ledger?.active ?? 0, queuedTasks: this.#ledger?.queued ?? 0 };
    }
    let activeTasks = 0;
    let queuedTasks = 0;
    for (const { states } of queues) {
      activeTasks += states.claimed ?? 0;
      for (const state of QUEUED) queuedTasks += states[state] ?? 0;
    }
    return { activeTasks, queuedTasks };
  }

  *#depths(): Iterable<GaugeSeries> {
    for (const { queue, states } of this.#labelled()) {
      for (const [state, value] of Object.entries(states)) yield { labels: { queue, state }, value };
    }
  }

  *#oldest(): Iterable<GaugeSeries> {
    for (const { queue, oldestReadyAgeMs } of this.#labelled()) {
      if (oldestReadyAgeMs !== undefined) yield { labels: { queue }, value: oldestReadyAgeMs / 1_000 };
    }
  }

  /** The queues under bounded names; those beyond the bound are merged. */
  #labelled(): Iterable<QueueGauge> {
    const merged = new Map<string, QueueGauge>();
    for (const each of this.#parts.gauges.read('queues') ?? []) {
      const queue = this.#parts.registry.limits.admit('queue', each.queue);
      const other = merged.get(queue);
      merged.set(queue, other === undefined ? { ...each, queue } : merge(other, each));
    }
    return merged.values();
  }
}

function merge(one: QueueGauge, two: QueueGauge): QueueGauge {
  const states: Partial<Record<TaskState, number>> = { ...one.states };
  for (const [state, n] of Object.entries(two.states) as [TaskState, number][]) {
    states[state] = (states[state] ?? 0) + n;
  }
  const ages = [one.oldestReadyAgeMs, two.oldestReadyAgeMs].filter((age) => age !== undefined);
  return { queue: one.queue, states, oldestReadyAgeMs: ages.length === 0 ? undefined : Math.max(...ages) };
}
