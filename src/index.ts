/** Every public name of the embedded library, listed by hand; no logic. */

export { memory, type MemoryBackend, type MemoryOptions } from './backends/memory/memory.ts';

export { CoordinationManager } from './manager.ts';
export type { CoordinationOptions, LegacyConfig, SessionOptions } from './manager-options.ts';
export type { ProcessView } from './processes.ts';
export type { HealthStatus, PartHealth } from './health.ts';

export {
  EventBus,
  type EventBusOptions,
  type EventStats,
  type Listener,
} from './core/event-bus.ts';
export type { EventStream } from './core/event-stream.ts';
export {
  type CoordinationEvent,
  type CoordinationEvents,
  type CustomEventName,
  type EventName,
  type EventSink,
  SystemEvents,
} from './core/events.ts';
export {
  CoordinationError,
  ERROR_CODES,
  type ErrorCode,
  type ErrorOptions,
  type StoredError,
} from './core/errors.ts';
export { type ErrorOf, type ErrorsByCode, isCoordinationError } from './is-coordination-error.ts';
export { DeadlockError } from './core/deadlock-error.ts';
export { DependencyCycleError } from './core/dependency-cycle-error.ts';
export { Logger, type LogLevel } from './core/runtime/logger.ts';
export { createIds } from './core/runtime/ids.ts';
export { type FactsFirstLogger, fromPino, type PinoLogger } from './core/runtime/pino-logger.ts';
export { createRandom } from './core/runtime/random.ts';
export { createRuntime } from './core/runtime/runtime.ts';
export type { Priority } from './core/check.ts';
export {
  CircuitState,
  type ConflictKind,
  type ConflictRecord,
  type Resolution,
} from './core/coordination-types.ts';
export type { AcquireOptions, Lease, ResourceRequest } from './core/lock-types.ts';

export {
  AdvancedTaskScheduler,
  type SchedulerOptions,
  type SchedulingMetrics,
} from './scheduler/scheduler.ts';
export { defineTask } from './scheduler/define-task.ts';
export { TaskFailedError } from './scheduler/outcome.ts';
export type { PlacementExplanation } from './scheduler/placement.ts';
export type { ListedPage, ListPage, QueueAdmin, TaskTransition } from './scheduler/queue-admin.ts';
export { RETRY_PRESETS, type RetryDecision, type RetryFacts, type RetryOptions } from './scheduler/retry.ts';
export type { StandardSchema } from './scheduler/standard-schema.ts';
export {
  type Candidate,
  type CandidatePool,
  type Choice,
  defineStrategy,
  type Explanation,
  type LegacyContext,
  type LegacyAgent,
  type LegacyStrategy,
  type LegacyTask,
  type Outcome,
  type PlacedTask,
  type SchedulingStrategy,
  type StrategyContext,
  type TaskStatistics,
} from './scheduler/strategy.ts';
export { candidatePool } from './scheduler/strategy-candidates.ts';
export { AffinitySchedulingStrategy } from './scheduler/strategies/affinity.ts';
export { CapabilitySchedulingStrategy } from './scheduler/strategies/capability.ts';
export { LearningSchedulingStrategy } from './scheduler/strategies/learning.ts';
export { LeastLoadedSchedulingStrategy } from './scheduler/strategies/least-loaded.ts';
export { RoundRobinSchedulingStrategy } from './scheduler/strategies/round-robin.ts';
export { WeightedHybridSchedulingStrategy } from './scheduler/strategies/weighted-hybrid.ts';
export type {
  AgentHandle,
  AgentProfile,
  AnyTaskDefinition,
  AnyTasks,
  CancelOutcome,
  Defined,
  DefinedContext,
  DefinedTask,
  Dependency,
  Gathered,
  GatherOptions,
  HandledTask,
  HandlesOf,
  OutputOf,
  ResultOf,
  ResultOptions,
  Submittable,
  SubmitOptions,
  SubmittableList,
  TaskContext,
  TaskDefinition,
  TaskFields,
  TaskHandle,
  TaskHandler,
  TaskSpec,
  TaskStatus,
  TaskTypes,
  TaskView,
  WaitKind,
  WaitLink,
  WaitReason,
} from './scheduler/types.ts';

export { type ResourceOptions, ResourceManager } from './resources/resource-manager.ts';
export { LockTimeoutError } from './resources/lock-timeout-error.ts';
export { OptimisticLockManager } from './resources/optimistic-lock-manager.ts';

export { MessageRouter } from './messaging/router.ts';
export type {
  BroadcastOptions,
  DeadLetterFilter,
  DeadLetterPage,
  DeadMessage,
  Envelope,
  MessageHandler,
  MessagingOptions,
  MessagingStats,
  RequestOptions,
  SendOptions,
  SubscribeOptions,
  Subscription,
} from './messaging/types.ts';

export { type AgentLoad } from './work-stealing/steal-policy.ts';
export type { AgentWorkload } from './work-stealing/agent-score.ts';
export {
  type MoveTasks,
  type StealMove,
  type WorkloadStats,
  WorkStealingCoordinator,
  type WorkStealingOptions,
} from './work-stealing/work-stealing-coordinator.ts';

export {
  CircuitBreaker,
  type ExecuteOptions,
} from './circuit-breaker/circuit-breaker.ts';
export type { CircuitBreakerMetrics } from './circuit-breaker/circuit-breaker-metrics.ts';
export { CircuitBreakerManager } from './circuit-breaker/circuit-breaker-manager.ts';
export type { CircuitBreakerOptions, FailureWindow, SlowRule } from './circuit-breaker/breaker-rules.ts';
export { CircuitOpenError } from './circuit-breaker/circuit-open-error.ts';
export {
  type CallOutcome,
  type Classify,
  everyRejection,
  remoteToolErrors,
} from './circuit-breaker/classify.ts';
export {
  type Bulkhead,
  type BulkheadOptions,
  bulkheadPolicy,
} from './circuit-breaker/policies/bulkhead-policy.ts';
export { compose } from './circuit-breaker/policies/compose.ts';
export { fallbackPolicy } from './circuit-breaker/policies/fallback-policy.ts';
export { type HedgeOptions, hedgePolicy } from './circuit-breaker/policies/hedge-policy.ts';
export type { AnswerOf, Policy } from './circuit-breaker/policies/policy.ts';
export {
  type RetryOptions as RetryPolicyOptions,
  retryPolicy,
} from './circuit-breaker/policies/retry-policy.ts';
export { timeoutPolicy } from './circuit-breaker/policies/timeout-policy.ts';

export { DependencyGraph, type GraphStats } from './dependency-graph/dependency-graph.ts';
export type { GraphTask } from './dependency-graph/graph-task.ts';

export { ConflictResolver } from './conflicts/conflict-resolver.ts';
export type { ConflictFacts } from './conflicts/conflict-facts.ts';
export {
  type ConflictDecision,
  type ConflictStrategy,
  defineConflictStrategy,
} from './conflicts/conflict-strategy.ts';
export { MergeStrategy } from './conflicts/strategies/merge-strategy.ts';
export { OptimisticVersionStrategy } from './conflicts/strategies/optimistic-version-strategy.ts';
export { PriorityResolutionStrategy } from './conflicts/strategies/priority-resolution-strategy.ts';
export { TimestampResolutionStrategy } from './conflicts/strategies/timestamp-resolution-strategy.ts';
export { VotingResolutionStrategy } from './conflicts/strategies/voting-resolution-strategy.ts';
export { mergeText } from './conflicts/text/merge-text.ts';

export {
  CoordinationMetricsCollector,
  type MetricsOptions,
} from './metrics/coordination-metrics-collector.ts';

export type { CurrentMetrics } from './metrics/figures/current-metrics.ts';

export type { Backend, BackendReport, Capabilities, Durability, Hint } from './core/ports/backend.ts';
export type * from './core/ports/locks.ts';
export type * from './core/ports/messages.ts';
export type { Clock, Ids, Logger as LoggerPort, Random, Runtime, Timer } from './core/ports/runtime.ts';
export type * from './core/ports/sessions.ts';
export type * from './core/ports/state.ts';
export type * from './core/ports/tasks.ts';
export type * from './core/ports/words.ts';
