import { checkFunction, checkId, checkObject, invalid } from '../core/check.ts';
import { nearestName } from '../core/nearest-name.ts';
import type { Random } from '../core/ports/runtime.ts';

/** What a strategy may know of the task that is to be placed. A plain record made for this decision: it may be spread, printed and kept. */
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
  /** As submitted; its owner's, not to be changed. */
  readonly input?: unknown;
  /** As submitted, a description among it. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
}

/** How tasks of one type went, over all agents or with one. Means weigh recent runs more (exponential, factor 0.1 after the first ten). */
export interface TaskStatistics {
  readonly runs: number;
  readonly meanDurationMs: number;
  /** 0..1; 1 without runs. */
  readonly successRatio: number;
  readonly lastAgent?: string | undefined;
}

/**
 * A read-only view of an agent that may run the task: capability, exclusion, load limit and a free slot are already checked. It follows
 * the agent; a spread of it (`{ ...candidate, score }`) and its JSON have the numbers as they were then.
 */
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
  | { readonly agent: string; readonly reason?: string; readonly alternatives?: readonly string[] }
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

/** A task record as the predecessor's strategies know it: a copy, but for `input`. */
export interface LegacyTask {
  readonly id: string;
  readonly type: string;
  readonly description: string;
  readonly priority: number;
  /** Empty: a task is placed when they have ended. */
  readonly dependencies: string[];
  readonly status: string;
  readonly capabilities: string[];
  /** As submitted. */
  readonly input?: unknown;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** An agent record as it was registered, completed; a copy. */
export interface LegacyAgent {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  readonly capabilities: string[];
  readonly maxConcurrentTasks: number;
  readonly priority: number;
  readonly systemPrompt?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** The predecessor's form: `selectAgent` → agent id or null; adapted when registered. */
export interface LegacyStrategy {
  readonly name: string;
  selectAgent(task: LegacyTask, agents: LegacyAgent[], context: LegacyContext): string | null;
}

export interface LegacyContext {
  readonly taskLoads: ReadonlyMap<string, number>;
  readonly agentCapabilities: ReadonlyMap<string, readonly string[]>;
  readonly agentPriorities: ReadonlyMap<string, number>;
  /** By task type. */
  readonly taskHistory: ReadonlyMap<string, TaskStatistics>;
  readonly currentTime: Date;
}

const HOOKS = ['selectFrom', 'explain', 'observe', 'snapshot', 'restore'] as const;
const PARTS: readonly string[] = ['name', 'select', ...HOOKS];

/**
 * Types and checks a strategy. Mis-spelt hooks are refused, by the compiler and here; an async `select` and mutation of candidates don't
 * compile. Anything else that a strategy keeps belongs in its closure, or in a class. @throws INVALID_ARGUMENT
 */
export function defineStrategy<State = unknown>(
  strategy: SchedulingStrategy<State>,
): SchedulingStrategy<State> {
  checkObject(strategy, 'a strategy');
  const name = checkId(strategy.name, 'the name of a strategy');
  refuseUnknownParts(strategy, name);
  checkFunction(strategy.select, `select of strategy ${name}`);
  for (const hook of HOOKS)
    if (strategy[hook] !== undefined) checkFunction(strategy[hook], `${hook} of strategy ${name}`);
  return strategy;
}

/** What a plain object has beyond a strategy's parts would never be called; a class may have methods of its own. */
function refuseUnknownParts(strategy: object, name: string): void {
  if (Object.getPrototypeOf(strategy) !== Object.prototype) return;
  const unknown = Object.keys(strategy).find((key) => !PARTS.includes(key));
  if (unknown === undefined) return;
  const nearest = nearestName(unknown, PARTS);
  throw invalid(
    `Strategy ${name} has ${JSON.stringify(unknown)}, which nobody calls`,
    nearest === undefined ? `A strategy has ${PARTS.join(', ')}.` : `Did you mean \`${nearest}\`?`,
  );
}
