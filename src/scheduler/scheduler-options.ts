import type { RetryOptions } from './retry.ts';
import type { LegacyStrategy, SchedulingStrategy } from './strategy.ts';

/** Options of a scheduler of its own; the manager's config object fits. */
export interface SchedulerOptions {
  readonly strategy?: string | SchedulingStrategy | LegacyStrategy;
  readonly maxConcurrentTasks?: number;
  readonly agentSlots?: number;
  readonly retry?: Partial<RetryOptions> | 'agentMesh' | false;
  readonly taskTimeoutMs?: number;
  readonly graceMs?: number;
  readonly preemption?: boolean;
  readonly keepMs?: number;
  readonly maxCrashes?: number;
  readonly prefetch?: number;
  readonly historySize?: number;
  readonly maxRetries?: number;
  readonly retryDelay?: number;
}
