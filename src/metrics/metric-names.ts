/**
 * The one table of names. `getMetricHistory` speaks the documented ones of the left column; Prometheus those of the right, with the
 * labels that are fixed by the meaning of the left one.
 */
export const METRIC_NAMES = {
  'task.created': { prometheus: 'agentmesh_tasks_enqueued_total' },
  'task.started': { prometheus: 'agentmesh_tasks_started_total' },
  'task.completed': { prometheus: 'agentmesh_tasks_completed_total' },
  'task.failed': { prometheus: 'agentmesh_tasks_failed_total' },
  'task.cancelled': { prometheus: 'agentmesh_tasks_cancelled_total' },
  'agent.spawned': { prometheus: 'agentmesh_agents_spawned_total' },
  'agent.terminated': { prometheus: 'agentmesh_agents_terminated_total' },
  'agent.idle': { prometheus: 'agentmesh_agents_idled_total' },
  'agent.active': { prometheus: 'agentmesh_agents_activated_total' },
  'resource.acquired': { prometheus: 'agentmesh_locks_acquired_total' },
  'resource.released': { prometheus: 'agentmesh_locks_released_total' },
  'deadlock.detected': { prometheus: 'agentmesh_deadlocks_total' },
  'message.sent': { prometheus: 'agentmesh_messages_sent_total' },
  'message.received': { prometheus: 'agentmesh_messages_delivered_total' },
  'conflict.detected': { prometheus: 'agentmesh_conflicts_reported_total' },
  'conflict.resolved': { prometheus: 'agentmesh_conflicts_total', labels: { outcome: 'resolved' } },
  'workstealing.event': { prometheus: 'agentmesh_steals_total', labels: { outcome: 'requested' } },
  'circuitbreaker.trip': { prometheus: 'agentmesh_breaker_transitions_total', labels: { to: 'open' } },
  error: { prometheus: 'agentmesh_errors_total' },
} as const satisfies Readonly<
  Record<string, { readonly prometheus: string; readonly labels?: Readonly<Record<string, string>> }>
>;

export type MetricName = keyof typeof METRIC_NAMES;

/** Figures that are sampled each interval, under these names of the history. */
export const SAMPLED_FIGURES = [
  'tasks.active',
  'tasks.queued',
  'tasks.throughput',
  'agents.utilization',
  'resources.utilization',
] as const;

export function isMetricName(name: string): name is MetricName {
  return Object.hasOwn(METRIC_NAMES, name);
}
