import { checkFunction, checkId } from '../core/check.ts';
import type { Random } from '../core/ports/runtime.ts';

/** What a strategy may know of the task that is to be placed. */
export interface PlacedTask {
  readonly id: string;
  readonly type: string;
  readonly queue: string;
  readonly priority: number;
  readonly weight: number;
  readonly group?: string | undefined;
  readonly capabilities: readonly string[];
  /** From 1. */
  readonly attempt: number;
  /** Agents the submitter would rather have, best first. */
  readonly prefer: readonly string[];
}

/** How tasks of one type went, over all agents or with one. Means weigh recent runs more (exponential, factor 0.1 after the first ten). */
export interface TaskStatistics {
  readonly runs: number;
  readonly meanDurationMs: number;
  /** 0..1; 1 without runs. */
  readonly successRatio: number;
  readonly lastAgent?: string | undefined;
}

/** A read-only view of an agent that may run the task: capability, exclusion, load limit and a free slot are already checked. */
export interface Candidate {
  readonly id: string;
  readonly capabilities: readonly string[];
  /** Tasks it runs now. */
  readonly running: number;
  readonly slots: number;
  /** Tasks assigned to it that wait in its run queue. */
  readonly queued: number;
  /** (running + queued) / slots. */
  readonly load: number;
  readonly priority: number;
  /** Cost of running a task here, in the user's unit; metadata.cost of the agent. @default 1 */
  readonly cost: number;
  /** Statistics of this task type with this agent. */
  history(type: string): TaskStatistics;
}

/** The agents that may run a task, with the questions that can be answered without looking at all of them. */
export interface CandidatePool extends Iterable<Candidate> {
  readonly size: number;
  /** The agent if it is eligible now. */
  get(id: string): Candidate | undefined;
  /** Lowest load; among equals the one that comes first after `after` in order of registration, so that equals take turns. O(1) in the number of agents. */
  leastLoaded(after?: string): Candidate | undefined;
  /** The eligible agent that comes first after `id` in order of registration, from the start again at the end. */
  next(id: string | undefined): Candidate | undefined;
}

export interface StrategyContext {
  /** ms, monotonic. */
  readonly now: number;
  /** Seeded: the same seed and the same calls give the same choices. */
  readonly random: Random;
  /** The agent that ran this type last. */
  readonly lastAgent: string | undefined;
}

/** An agent id, or one with the reason and who else was considered; `undefined`: nobody fits, wait. */
export type Choice =
  | string
  | { readonly agent: string; readonly reason: string; readonly alternatives?: readonly string[] }
  | undefined;

/** A choice with its reason, in words for people. */
export interface Explanation {
  readonly agent: string;
  readonly reason: string;
  /** Who else was considered, best first; at most {@link MAX_ALTERNATIVES}. */
  readonly alternatives: readonly string[];
}

/** Most alternatives that an explanation names. */
export const MAX_ALTERNATIVES = 5;

/** What became of a task that a strategy placed. */
export interface Outcome {
  readonly taskId: string;
  readonly type: string;
  readonly agentId: string;
  readonly ok: boolean;
  readonly durationMs: number;
}

/**
 * Chooses one of this process's agents for one task. Which task comes next is the queue's order, and fair share between groups a
 * setting of the queue; a strategy only places. One method is needed.
 */
export interface SchedulingStrategy<State = unknown> {
  readonly name: string;
  /**
   * Synchronous; pure but for its own state. `candidates` is never empty. A throw or an id that isn't a candidate → the default strategy
   * decides and `strategy:failed` is emitted.
   */
  select(task: PlacedTask, candidates: readonly Candidate[], context: StrategyContext): Choice;
  /** Instead of `select`, for strategies that needn't look at every agent: asked when present. */
  selectFrom?(task: PlacedTask, pool: CandidatePool, context: StrategyContext): Choice;
  /** What it would choose now, in words; changes nothing of its own. Apart from the choice itself, so that the hot path builds no strings. */
  explain?(task: PlacedTask, pool: CandidatePool, context: StrategyContext): Explanation | undefined;
  /** Hears how each attempt ended. */
  observe?(outcome: Outcome): void;
  /** JSON-safe state, kept over restarts by whoever wants to. */
  snapshot?(): State;
  restore?(state: State): void;
}

/** The predecessor's form: `selectAgent` → agent id or null; adapted when registered. */
export interface LegacyStrategy {
  readonly name: string;
  selectAgent(task: object, agents: readonly object[], context: LegacyContext): string | null;
}

export interface LegacyContext {
  readonly taskLoads: ReadonlyMap<string, number>;
  readonly agentCapabilities: ReadonlyMap<string, readonly string[]>;
  readonly agentPriorities: ReadonlyMap<string, number>;
  /** By task type. */
  readonly taskHistory: ReadonlyMap<string, TaskStatistics>;
  readonly currentTime: Date;
}

/** Types and checks a strategy: mis-spelt hooks, an async `select` and mutation of candidates don't compile. @throws INVALID_ARGUMENT */
export function defineStrategy<State = unknown>(
  strategy: SchedulingStrategy<State>,
): SchedulingStrategy<State> {
  checkId(strategy.name, 'the name of a strategy');
  checkFunction(strategy.select, `select of strategy ${strategy.name}`);
  return strategy;
}
