import { checkFunction, checkId, checkObject, reading } from '../core/check.ts';
import type {
  Candidate,
  LegacyAgent,
  LegacyContext,
  LegacyStrategy,
  LegacyTask,
  PlacedTask,
  SchedulingStrategy,
  StrategyContext,
  TaskStatistics,
} from './strategy.ts';

/** What the predecessor's form wants to know beside the candidates. */
export interface LegacyFacts {
  /** By task type. @default none */
  readonly taskHistory?: ReadonlyMap<string, TaskStatistics>;
  /** ms since 1970. @default the context's monotonic time */
  readonly wall?: () => number;
  /** The agent's record as it was registered. @default one made from the candidate */
  readonly profile?: (agentId: string) => Partial<Omit<LegacyAgent, 'capabilities'>> | undefined;
}

const NO_HISTORY: ReadonlyMap<string, TaskStatistics> = new Map();

/**
 * A strategy from a class of the predecessor's form. `selectAgent` sees copies of the records, and only agents that may run the task now,
 * and is called for every placement; `null` means "wait".
 * @throws INVALID_ARGUMENT
 */
export function adaptLegacyStrategy(strategy: LegacyStrategy, facts: LegacyFacts = {}): SchedulingStrategy {
  const name = checkId(strategy.name, 'the name of a strategy');
  checkFunction(strategy.selectAgent, `selectAgent of strategy ${name}`);
  return {
    name,
    select: (task, candidates, context) =>
      strategy.selectAgent(
        legacyTask(task),
        candidates.map((candidate) => legacyAgent(candidate, facts.profile?.(candidate.id))),
        legacyContext(candidates, context, facts),
      ) ?? undefined,
  };
}

/** A strategy of either form, checked. @throws INVALID_ARGUMENT */
export function toStrategy(
  strategy: SchedulingStrategy | LegacyStrategy,
  facts: LegacyFacts,
): SchedulingStrategy {
  checkObject(strategy, 'a strategy');
  return reading('a strategy', () => {
    const name = checkId(strategy.name, 'the name of a strategy');
    if ('selectAgent' in strategy && !('select' in strategy)) return adaptLegacyStrategy(strategy, facts);
    checkFunction((strategy as SchedulingStrategy).select, `select of strategy ${name}`);
    return strategy as SchedulingStrategy;
  });
}

function legacyTask(task: PlacedTask): LegacyTask {
  const { id, type, priority, capabilities, input, metadata = {} } = task;
  const { description } = metadata;
  return {
    id,
    type,
    description: typeof description === 'string' ? description : '',
    priority,
    dependencies: [],
    status: 'pending',
    capabilities: [...capabilities],
    ...(input === undefined ? {} : { input }),
    metadata: { ...metadata },
  };
}

/** What the record leaves out has the value that holds. */
function legacyAgent(
  candidate: Candidate,
  profile: ReturnType<NonNullable<LegacyFacts['profile']>> = {},
): LegacyAgent {
  const { id, capabilities, slots, priority } = candidate;
  return {
    ...profile,
    id,
    name: profile.name ?? id,
    type: profile.type ?? 'agent',
    capabilities: [...capabilities],
    maxConcurrentTasks: slots,
    priority,
  };
}

function legacyContext(
  candidates: readonly Candidate[],
  context: StrategyContext,
  facts: LegacyFacts,
): LegacyContext {
  const taskLoads = new Map<string, number>();
  const agentCapabilities = new Map<string, readonly string[]>();
  const agentPriorities = new Map<string, number>();
  for (const { id, running, queued, capabilities, priority } of candidates) {
    taskLoads.set(id, running + queued);
    agentCapabilities.set(id, [...capabilities]);
    agentPriorities.set(id, priority);
  }
  return {
    taskLoads,
    agentCapabilities,
    agentPriorities,
    taskHistory: facts.taskHistory ?? NO_HISTORY,
    currentTime: new Date(facts.wall?.() ?? context.now),
  };
}
