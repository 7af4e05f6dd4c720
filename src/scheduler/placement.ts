import { handled, isPromise } from '../core/awaitable.ts';
import { CoordinationError, toStoredError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import { nearestName } from '../core/nearest-name.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { TaskBody } from '../core/ports/tasks.ts';
import type { Agent, Run } from './agent.ts';
import type { AgentRegistry } from './agent-registry.ts';
import type { Requirements } from './candidate-pool.ts';
import { placedTask, RunView } from './placed-task.ts';
import { settingsOf, type TaskSettings } from './settings.ts';
import {
  type CandidatePool,
  type Choice,
  type Explanation,
  MAX_ALTERNATIVES,
  type PlacedTask,
  type SchedulingStrategy,
  type StrategyContext,
} from './strategy.ts';
import type { TaskHistory } from './task-history.ts';

/** Who would get a task, why, and who else might. */
export interface PlacementExplanation {
  readonly strategy: string;
  /** Absent when nobody would get it now. */
  readonly agent?: string;
  readonly reason: string;
  readonly alternatives: readonly string[];
}

export interface Chosen {
  readonly agent: Agent;
  readonly strategy: string;
  readonly reason: string | undefined;
}

/** Asks the strategy which agent gets a task, and survives whatever it answers (G5). */
export class Placement {
  readonly #runtime: Runtime;
  readonly #events: EventSink;
  readonly #agents: AgentRegistry;
  readonly #history: TaskHistory;
  readonly #context: PlacementContext;
  readonly #strategies = new Map<string, SchedulingStrategy>();
  readonly #builtIn: readonly SchedulingStrategy[];
  readonly #fallback: SchedulingStrategy;
  #current: SchedulingStrategy;
  /** Whether the current one is built in. */
  #isOwn = true;
  /** What the task at hand needs: one object for all, read at once. */
  readonly #needs: {
    -readonly [K in 'type' | 'capabilities' | 'exclude' | 'maxLoadRatio']: Requirements[K];
  } = {
    type: undefined,
    capabilities: [],
    exclude: undefined,
    maxLoadRatio: undefined,
  };
  /** Choices made, and failures of strategies, since the start. */
  decisions = 0;
  failures = 0;

  constructor(
    parts: {
      readonly runtime: Runtime;
      readonly events: EventSink;
      readonly agents: AgentRegistry;
      readonly history: TaskHistory;
    },
    builtIn: readonly SchedulingStrategy[],
  ) {
    this.#runtime = parts.runtime;
    this.#events = parts.events;
    this.#agents = parts.agents;
    this.#history = parts.history;
    this.#context = new PlacementContext(
      parts.runtime,
      parts.history,
      parts.runtime.random.fork('strategies'),
    );
    for (const strategy of builtIn) this.#strategies.set(strategy.name, strategy);
    this.#builtIn = builtIn;
    this.#fallback = builtIn[0] as SchedulingStrategy;
    this.#current = this.#fallback;
  }

  get current(): SchedulingStrategy {
    return this.#current;
  }

  get names(): readonly string[] {
    return [...this.#strategies.keys()];
  }

  /** Adds a strategy, or replaces the one of that name. */
  register(strategy: SchedulingStrategy): void {
    const replaced = this.#strategies.get(strategy.name);
    this.#strategies.set(strategy.name, strategy);
    if (replaced !== undefined && replaced === this.#current) this.#follow(strategy);
  }

  /** @throws UNKNOWN_STRATEGY */
  use(name: string): void {
    const strategy = this.#strategies.get(name);
    if (strategy === undefined) {
      const nearest = nearestName(name, this.names);
      throw new CoordinationError('UNKNOWN_STRATEGY', `No strategy ${JSON.stringify(name)} is registered`, {
        hint: nearest === undefined ? `Known are: ${this.names.join(', ')}.` : `Did you mean ${nearest}?`,
      });
    }
    this.#follow(strategy);
  }

  #follow(strategy: SchedulingStrategy): void {
    this.#current = strategy;
    this.#isOwn = this.#builtIn.includes(strategy);
  }

  /** The agent for this run now; `undefined`: nobody may or wants to take it. */
  choose(run: Run): Chosen | undefined {
    const { body, attempt } = run.claim;
    const { settings } = run;
    const pool = this.#eligible(body, settings);
    if (pool.isEmpty) return undefined;
    this.decisions += 1;
    if (settings.prefer !== undefined) {
      const agent = this.#preferred(settings.prefer, pool);
      if (agent !== undefined) return { agent, strategy: 'preferred', reason: undefined };
    }
    const task = this.#isOwn ? new RunView(run) : placedTask(body, attempt, settings);
    return this.#ask(this.#current, task, pool);
  }

  #eligible(body: TaskBody, settings: TaskSettings): ReturnType<AgentRegistry['pool']['eligible']> {
    const needs = this.#needs;
    needs.type = body.type;
    needs.capabilities = body.capabilities;
    needs.exclude = settings.exclude;
    needs.maxLoadRatio = settings.maxLoadRatio;
    return this.#agents.pool.eligible(needs);
  }

  #preferred(prefer: readonly string[], pool: CandidatePool): Agent | undefined {
    for (const id of prefer) {
      const agent = pool.get(id) === undefined ? undefined : this.#agents.get(id);
      if (agent !== undefined) return agent;
    }
    return undefined;
  }

  /** Tells the strategy how an attempt ended. */
  observe(run: Run, ok: boolean, durationMs: number): void {
    if (this.#current.observe === undefined) return;
    const agentId = run.agent?.id ?? '';
    try {
      const { type } = run.claim.body;
      const told: unknown = this.#current.observe({ taskId: run.id, type, agentId, ok, durationMs });
      // An async one has no say in anything, but must not end the process.
      if (isPromise(told)) handled(told);
    } catch (error) {
      this.#report(this.#current, toStoredError(error).message);
    }
  }

  /** Which agent would get the task, and why; without assigning it. Where the strategy breaks, what the default would do. */
  explain(body: TaskBody): PlacementExplanation {
    const settings = settingsOf(body);
    if (body.agent !== undefined) return this.#explainPinned(body, body.agent);
    const pool = this.#eligible(body, settings);
    const strategy = this.#current;
    if (pool.isEmpty) {
      const reason = 'no agent that may run it has a free slot';
      return { strategy: strategy.name, reason, alternatives: [] };
    }
    const preferred = this.#preferred(settings.prefer ?? [], pool);
    if (preferred !== undefined) {
      const alternatives = othersOf(pool, preferred.id);
      return { strategy: 'preferred', agent: preferred.id, reason: 'the task prefers it', alternatives };
    }
    const task = placedTask(body, 1, settings);
    try {
      return this.#explained(strategy, task, pool);
    } catch (error) {
      const failure = `${strategy.name} failed (${toStoredError(error).message})`;
      if (strategy === this.#fallback) return { strategy: strategy.name, reason: failure, alternatives: [] };
      const instead = this.#explained(this.#fallback, task, pool);
      return { ...instead, reason: `${failure}; ${instead.reason}` };
    }
  }

  #explainPinned(body: TaskBody, id: string): PlacementExplanation {
    const agent = this.#agents.get(id);
    const refusal = refusalOf(agent, body);
    if (agent === undefined || refusal !== undefined) {
      return { strategy: 'assigned', reason: `it is for ${id} alone, ${refusal}`, alternatives: [] };
    }
    const reason = `it is for ${id} alone${agent.hasSlot ? '' : ', and waits in its run queue for a slot'}`;
    return { strategy: 'assigned', agent: id, reason, alternatives: [] };
  }

  /** @throws what the strategy throws, and for an answer that can't be used */
  #explained(strategy: SchedulingStrategy, task: PlacedTask, pool: CandidatePool): PlacementExplanation {
    // A stream of its own: looking must not shift what is chosen later.
    const context: StrategyContext = {
      now: this.#runtime.clock.mono(),
      random: this.#context.random.fork('explain'),
      lastAgent: this.#history.lastAgent(task.type),
    };
    const given = explanationOf(strategy, task, pool, context);
    if (given !== undefined) return { strategy: strategy.name, ...given };
    const choice = answerOf(strategy, task, pool, context);
    if (choice === undefined)
      return { strategy: strategy.name, reason: 'it would rather wait', alternatives: [] };
    if (typeof choice === 'string') {
      const alternatives = othersOf(pool, checkCandidate(choice, pool));
      return { strategy: strategy.name, agent: choice, reason: `chosen by ${strategy.name}`, alternatives };
    }
    const { agent, reason = `chosen by ${strategy.name}`, alternatives } = choice;
    checkCandidate(agent, pool);
    return {
      strategy: strategy.name,
      agent,
      reason,
      alternatives: alternatives?.slice(0, MAX_ALTERNATIVES) ?? othersOf(pool, agent),
    };
  }

  #ask(strategy: SchedulingStrategy, task: PlacedTask, pool: CandidatePool): Chosen | undefined {
    try {
      const choice = answerOf(strategy, task, pool, this.#contextOf(task.type));
      if (choice === undefined) return undefined;
      const id = typeof choice === 'string' ? choice : choice.agent;
      const agent = pool.get(id) === undefined ? undefined : this.#agents.get(id);
      if (agent !== undefined) {
        const reason = typeof choice === 'string' ? undefined : choice.reason;
        return { agent, strategy: strategy.name, reason };
      }
      this.#report(strategy, noCandidate(id));
    } catch (error) {
      this.#report(strategy, toStoredError(error).message);
    }
    return strategy === this.#fallback ? undefined : this.#ask(this.#fallback, task, pool);
  }

  #contextOf(type: string): StrategyContext {
    this.#context.type = type;
    return this.#context;
  }

  #report(strategy: SchedulingStrategy, message: string): void {
    this.failures += 1;
    this.#runtime.logger.warn(`Strategy ${strategy.name} failed`, { message });
    this.#events.emit('strategy:failed', { strategy: strategy.name, message });
  }
}

/** The context of the placement under way: one object for all, whose facts are looked up when they are asked for. */
class PlacementContext implements StrategyContext {
  type = '';
  readonly random: StrategyContext['random'];
  readonly #runtime: Runtime;
  readonly #history: TaskHistory;

  constructor(runtime: Runtime, history: TaskHistory, random: StrategyContext['random']) {
    this.#runtime = runtime;
    this.#history = history;
    this.random = random;
  }

  get now(): number {
    return this.#runtime.clock.mono();
  }
  get lastAgent(): string | undefined {
    return this.#history.lastAgent(this.type);
  }
}

/** @throws what the strategy throws, and for what is no answer */
function answerOf(
  strategy: SchedulingStrategy,
  task: PlacedTask,
  pool: CandidatePool,
  context: StrategyContext,
): Choice {
  const choice: Choice | null =
    strategy.selectFrom === undefined
      ? strategy.select(task, [...pool], context)
      : strategy.selectFrom(task, pool, context);
  if (typeof choice === 'string' || choice === undefined) return choice;
  if (choice === null) return undefined;
  if (typeof choice === 'object' && typeof choice.agent === 'string') return choice;
  // Its rejection must not end the process.
  if (isPromise(choice as unknown)) handled(choice as unknown as Promise<unknown>);
  throw new TypeError('select must answer an agent id, { agent, reason } or undefined; it must not be async');
}

/** The strategy's own words. One that breaks, or names a stranger, says nothing: its choice itself may be sound. */
function explanationOf(
  strategy: SchedulingStrategy,
  task: PlacedTask,
  pool: CandidatePool,
  context: StrategyContext,
): Explanation | undefined {
  try {
    const given = strategy.explain?.(task, pool, context);
    return given !== undefined && pool.get(given.agent) !== undefined ? given : undefined;
  } catch {
    return undefined;
  }
}

function checkCandidate(id: string, pool: CandidatePool): string {
  if (pool.get(id) === undefined) throw new TypeError(noCandidate(id));
  return id;
}

function noCandidate(id: string): string {
  return `it chose ${JSON.stringify(id)}, which isn't a candidate`;
}

function othersOf(pool: CandidatePool, chosen: string): readonly string[] {
  const ids: string[] = [];
  for (const { id } of pool) {
    if (id !== chosen) ids.push(id);
    if (ids.length === MAX_ALTERNATIVES) break;
  }
  return ids;
}

/** Why a task that is for this agent alone can't go to it now. */
function refusalOf(agent: Agent | undefined, body: TaskBody): string | undefined {
  if (agent === undefined) return 'which is not registered';
  if (agent.draining) return 'which takes nothing any more';
  return agent.mayHave({ body }, settingsOf(body)) ? undefined : 'which may not have it now';
}
