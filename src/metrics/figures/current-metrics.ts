import type { AgentMetrics } from './agent-figures.ts';
import type { CoordinationCounts } from './coordination-figures.ts';
import type { ResourceMetrics } from './lock-figures.ts';
import type { MessageMetrics } from './message-figures.ts';
import type { TaskMetrics } from './task-figures.ts';

/** Everything at one moment. Percentages are 0…100, durations ms, percentiles within 1 %. */
export interface CurrentMetrics {
  readonly timestamp: Date;
  readonly taskMetrics: TaskMetrics;
  readonly agentMetrics: AgentMetrics;
  readonly resourceMetrics: ResourceMetrics;
  readonly messageMetrics: MessageMetrics;
  readonly coordinationMetrics: CoordinationCounts;
}
