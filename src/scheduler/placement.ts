import { CoordinationError, toStoredError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import { nearestName } from '../core/options.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Agent, Run } from './agent.ts';
import type { AgentRegistry } from './agent-registry.ts';
import {
  type CandidatePool,
  type Choice,
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

const NO_NAMES: readonly string[] = Object.freeze([]);

/** Asks the strategy which agent gets a task, and survives whatever it answers (G5). */
export class Placement {
  readonly #runtime: Runtime;
  readonly #events: EventSink;
  readonly #agents: AgentRegistry;
  readonly #history: TaskHistory;
  readonly #context: PlacementContext;
  readonly #strategies = new Map<string, SchedulingStrategy>();
  readonly #fallback: SchedulingStrategy;
  #current: SchedulingStrategy;
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
    if (replaced !== undefined && replaced === this.#current) this.#current = strategy;
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
    this.#current = strategy;
  }

  /** The agent for this run now; `undefined`: nobody may or wants to take it. */
  choose(run: Run): Chosen | undefined {
    const { body } = run.claim;
    const { settings } = run;
    const pool = this.#agents.pool.eligible({
      type: body.type,
      capabilities: body.capabilities,
      exclude: settings.exclude,
      maxLoadRatio: settings.maxLoadRatio,
    });
    if (pool.isEmpty) return undefined;
    this.decisions += 1;
    const { prefer } = settings;
    if (prefer !== undefined) {
      for (const id of prefer) {
        const agent = pool.get(id) === undefined ? undefined : this.#agents.get(id);
        if (agent !== undefined) return { agent, strategy: 'preferred', reason: undefined };
      }
    }
    return this.#ask(this.#current, new RunView(run), pool);
  }

  /** Tells the strategy how an attempt ended. */
  observe(run: Run, ok: boolean, durationMs: number): void {
    if (this.#current.observe === undefined) return;
    const agentId = run.agent?.id ?? '';
    try {
      this.#current.observe({ taskId: run.id, type: run.claim.body.type, agentId, ok, durationMs });
    } catch (error) {
      this.#report(this.#current, toStoredError(error).message);
    }
  }

  /** Which agent would get the task, and why; without assigning it. */
  explain(task: PlacedTask): PlacementExplanation {
    const pool = this.#agents.pool.eligible({ type: task.type, capabilities: task.capabilities });
    const strategy = this.#current;
    if (pool.isEmpty)
      return {
        strategy: strategy.name,
        reason: 'no agent that may run it has a free slot',
        alternatives: [],
      };
    // A stream of its own: looking must not shift what is chosen later.
    const context: StrategyContext = {
      now: this.#runtime.clock.mono(),
      random: this.#context.random.fork('explain'),
      lastAgent: this.#history.lastAgent(task.type),
    };
    const given = strategy.explain?.(task, pool, context);
    if (given !== undefined) return { strategy: strategy.name, ...given };
    const choice = normalised(
      strategy.selectFrom === undefined
        ? strategy.select(task, [...pool], context)
        : strategy.selectFrom(task, pool, context),
    );
    if (choice === undefined)
      return { strategy: strategy.name, reason: 'it would rather wait', alternatives: [] };
    const { agent, reason = `chosen by ${strategy.name}`, alternatives } = choice;
    const others = alternatives ?? [...pool].map((candidate) => candidate.id).filter((id) => id !== agent);
    return { strategy: strategy.name, agent, reason, alternatives: others.slice(0, MAX_ALTERNATIVES) };
  }

  #ask(strategy: SchedulingStrategy, task: PlacedTask, pool: CandidatePool): Chosen | undefined {
    try {
      const context = this.#contextOf(task.type);
      const choice = normalised(
        strategy.selectFrom === undefined
          ? strategy.select(task, [...pool], context)
          : strategy.selectFrom(task, pool, context),
      );
      if (choice === undefined) return undefined;
      const agent = pool.get(choice.agent) === undefined ? undefined : this.#agents.get(choice.agent);
      if (agent !== undefined) return { agent, strategy: strategy.name, reason: choice.reason };
      this.#report(strategy, `it chose ${JSON.stringify(choice.agent)}, which isn't a candidate`);
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

/** A claimed task as a strategy sees it: reads through to its run, so that nothing is copied. */
class RunView implements PlacedTask {
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
  }

  get id(): string {
    return this.#run.claim.body.id;
  }
  get type(): string {
    return this.#run.claim.body.type;
  }
  get queue(): string {
    return this.#run.claim.body.queue;
  }
  get priority(): number {
    return this.#run.claim.body.priority;
  }
  get weight(): number {
    return this.#run.claim.body.weight;
  }
  get group(): string | undefined {
    return this.#run.claim.body.group;
  }
  get capabilities(): readonly string[] {
    return this.#run.claim.body.capabilities;
  }
  get attempt(): number {
    return this.#run.claim.attempt;
  }
  get prefer(): readonly string[] {
    return this.#run.settings.prefer ?? NO_NAMES;
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

function normalised(
  choice: Choice,
):
  | { readonly agent: string; readonly reason?: string; readonly alternatives?: readonly string[] }
  | undefined {
  if (choice === undefined || choice === null) return undefined;
  if (typeof choice === 'string') return { agent: choice };
  if (typeof choice === 'object' && typeof choice.agent === 'string') return choice;
  throw new TypeError('select must answer an agent id, { agent, reason } or undefined; it must not be async');
}
