import assert from 'node:assert/strict';
import type { Random } from '../../core/ports/runtime.ts';
import { createRandom } from '../../core/runtime/random.ts';
import { candidatePool } from '../../scheduler/strategy-candidates.ts';
import type {
  Candidate,
  Choice,
  PlacedTask,
  SchedulingStrategy,
  StrategyContext,
  TaskStatistics,
} from '../../scheduler/strategy.ts';

interface WorldAgent {
  readonly id: string;
  readonly slots: number;
  readonly priority: number;
  readonly cost: number;
  running: number;
  readonly history: Map<string, { runs: number; ok: number; totalMs: number }>;
}

/** A small seeded world of agents and tasks in which a strategy is tried out. What it shows is frozen; what is read of it is counted. */
export class StrategyWorld {
  readonly random: Random;
  readonly agents: WorldAgent[];
  /** Reads of candidates so far. */
  reads = 0;
  #tasks = 0;
  readonly #strategyRandom: Random;

  constructor(seed: string, agents: number, equal = false) {
    this.random = createRandom(seed);
    this.#strategyRandom = createRandom(`${seed}/strategy`);
    this.agents = Array.from({ length: agents }, (_, i) => ({
      id: `agent-${i}`,
      slots: equal ? 1_000 : 1 + this.pick(4),
      priority: equal ? 0 : this.pick(5),
      cost: equal ? 1 : this.pick(10),
      running: 0,
      history: new Map(),
    }));
  }

  /** An integer from 0 to below `n`. */
  pick(n: number): number {
    return Math.floor(this.random.next() * n);
  }

  task(type: string = `type-${this.pick(4)}`): PlacedTask {
    this.#tasks += 1;
    return Object.freeze({
      id: `task-${this.#tasks}`,
      type,
      queue: type,
      priority: this.pick(4),
      weight: 1,
      group: this.pick(2) === 0 ? undefined : `group-${this.pick(3)}`,
      capabilities: Object.freeze(['work']),
      attempt: 1 + this.pick(3),
      prefer: Object.freeze(this.pick(3) === 0 ? ['a stranger', `agent-${this.pick(9)}`] : []),
    });
  }

  /** The agents with a free slot, as they are now. */
  candidates(): readonly Candidate[] {
    return Object.freeze(this.agents.filter(hasRoom).map((agent) => new WatchedCandidate(this, agent)));
  }

  context(random: Random = this.#strategyRandom): StrategyContext {
    return Object.freeze({ now: this.#tasks * 10, random, lastAgent: undefined });
  }

  /** The strategy's choice, checked: one of the candidates, or `undefined`; never a promise. */
  ask(
    strategy: SchedulingStrategy,
    task: PlacedTask,
    how: 'select' | 'selectFrom' = 'selectFrom',
  ): string | undefined {
    const candidates = this.candidates();
    assert.ok(candidates.length > 0, 'the suite asked without candidates');
    const choice =
      how === 'select' || strategy.selectFrom === undefined
        ? strategy.select(task, candidates, this.context())
        : strategy.selectFrom(task, candidatePool(candidates), this.context());
    return checkChoice(strategy, choice, candidates);
  }

  /** Places a task and lets it end with some probability; ended ones are reported to the strategy. */
  step(strategy: SchedulingStrategy): string | undefined {
    const full = this.agents.every((agent) => agent.running >= agent.slots);
    const task = this.task();
    const chosen = full ? undefined : this.ask(strategy, task);
    if (chosen !== undefined) this.#agent(chosen).running += 1;
    for (const agent of this.agents) {
      if (agent.running > 0 && (full || this.pick(3) === 0)) this.end(strategy, agent, task.type);
    }
    return chosen;
  }

  end(strategy: SchedulingStrategy, agent: WorldAgent, type: string): void {
    agent.running -= 1;
    const ok = this.pick(5) > 0;
    const durationMs = 1 + this.pick(100);
    const seen = agent.history.get(type) ?? { runs: 0, ok: 0, totalMs: 0 };
    agent.history.set(type, {
      runs: seen.runs + 1,
      ok: seen.ok + (ok ? 1 : 0),
      totalMs: seen.totalMs + durationMs,
    });
    strategy.observe?.(
      Object.freeze({ taskId: `task-${this.#tasks}`, type, agentId: agent.id, ok, durationMs }),
    );
  }

  #agent(id: string): WorldAgent {
    return this.agents.find((agent) => agent.id === id) as WorldAgent;
  }
}

/** Like the scheduler's candidates: read-only, all properties its own, the numbers as they were when it was made. */
class WatchedCandidate implements Candidate {
  declare readonly id: string;
  declare readonly capabilities: readonly string[];
  declare readonly running: number;
  declare readonly slots: number;
  declare readonly queued: number;
  declare readonly load: number;
  declare readonly priority: number;
  declare readonly cost: number;
  declare readonly history: Candidate['history'];

  constructor(world: StrategyWorld, agent: WorldAgent) {
    const { running } = agent;
    const { id, slots, priority, cost } = agent;
    const values = {
      id,
      capabilities: WORK,
      running,
      slots,
      queued: 0,
      load: running / slots,
      priority,
      cost,
    };
    for (const [name, value] of Object.entries(values)) {
      const get = (): unknown => {
        world.reads += 1;
        return value;
      };
      Object.defineProperty(this, name, { get, enumerable: true });
    }
    this.history = (type) => {
      world.reads += 1;
      const seen = agent.history.get(type);
      if (seen === undefined) return NO_RUNS;
      const { runs, ok, totalMs } = seen;
      return Object.freeze({ runs, meanDurationMs: totalMs / runs, successRatio: ok / runs });
    };
    Object.freeze(this);
  }
}

const WORK: readonly string[] = Object.freeze(['work']);
const NO_RUNS: TaskStatistics = Object.freeze({ runs: 0, meanDurationMs: 0, successRatio: 1 });

function hasRoom(agent: WorldAgent): boolean {
  return agent.running < agent.slots;
}

function checkChoice(
  strategy: SchedulingStrategy,
  choice: Choice,
  candidates: readonly Candidate[],
): string | undefined {
  if (choice === undefined) return undefined;
  const agent: unknown = typeof choice === 'object' && choice !== null ? choice.agent : choice;
  assert.equal(
    typeof agent,
    'string',
    `${strategy.name} answered neither an agent id nor undefined (is it async?)`,
  );
  assert.ok(
    candidates.some(({ id }) => id === agent),
    `${strategy.name} chose ${String(agent)}, which is no candidate`,
  );
  return agent as string;
}
