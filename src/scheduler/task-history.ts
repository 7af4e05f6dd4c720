import type { TaskStatistics } from './strategy.ts';

/** What is known of tasks that never ran. */
export const NO_RUNS: TaskStatistics = Object.freeze({ runs: 0, meanDurationMs: 0, successRatio: 1 });

/** Running means: plain over the first ten, then each new run weighs a tenth. */
class Tally implements TaskStatistics {
  runs = 0;
  meanDurationMs = 0;
  successRatio = 1;
  lastAgent: string | undefined = undefined;

  add(ok: boolean, durationMs: number): void {
    this.runs += 1;
    const weight = this.runs < 10 ? 1 / this.runs : 0.1;
    this.meanDurationMs += (durationMs - this.meanDurationMs) * weight;
    this.successRatio += ((ok ? 1 : 0) - this.successRatio) * weight;
  }
}

class TypeTally extends Tally {
  readonly agents = new Map<string, AgentTally>();
}

/** A link of the list from the longest unused to the latest; the head belongs to nobody. */
class AgentTally extends Tally {
  readonly type: string;
  readonly agentId: string;
  older: AgentTally = this;
  newer: AgentTally = this;

  constructor(type: string, agentId: string) {
    super();
    this.type = type;
    this.agentId = agentId;
  }
}

/**
 * How tasks went, by type and by type and agent. Keeps the `size` latest used pairs of type and agent; a type is forgotten with its last
 * pair. What it hands out are live views: read them, don't keep them.
 */
export class TaskHistory {
  readonly #size: number;
  readonly #types = new Map<string, TypeTally>();
  readonly #head = new AgentTally('', '');
  #pairs = 0;

  /** @param size most pairs of task type and agent. @default 1,000 */
  constructor(size = 1_000) {
    this.#size = Math.max(1, size);
  }

  /** Pairs of type and agent it knows. */
  get size(): number {
    return this.#pairs;
  }

  /** By task type, over all agents. */
  get types(): ReadonlyMap<string, TaskStatistics> {
    return this.#types;
  }

  /** Counts one ended attempt. A duration that isn't a number of ms counts as 0. */
  record(type: string, agentId: string, ok: boolean, durationMs: number): void {
    const ms = durationMs >= 0 && durationMs < Number.POSITIVE_INFINITY ? durationMs : 0;
    let tally = this.#types.get(type);
    if (tally === undefined) this.#types.set(type, (tally = new TypeTally()));
    let pair = tally.agents.get(agentId);
    if (pair === undefined) pair = this.#add(tally, type, agentId);
    else if (pair.newer !== this.#head) this.#unlink(pair);
    if (pair.newer !== this.#head) this.#append(pair);
    tally.add(ok, ms);
    tally.lastAgent = agentId;
    pair.add(ok, ms);
  }

  /** Over all agents. */
  ofType(type: string): TaskStatistics {
    return this.#types.get(type) ?? NO_RUNS;
  }

  /** With one agent; `lastAgent` is not set there. */
  of(type: string, agentId: string): TaskStatistics {
    return this.#types.get(type)?.agents.get(agentId) ?? NO_RUNS;
  }

  lastAgent(type: string): string | undefined {
    return this.#types.get(type)?.lastAgent;
  }

  #add(tally: TypeTally, type: string, agentId: string): AgentTally {
    const pair = new AgentTally(type, agentId);
    tally.agents.set(agentId, pair);
    this.#pairs += 1;
    if (this.#pairs > this.#size) this.#forget(this.#head.newer);
    return pair;
  }

  #forget(pair: AgentTally): void {
    this.#unlink(pair);
    this.#pairs -= 1;
    const tally = this.#types.get(pair.type);
    tally?.agents.delete(pair.agentId);
    if (tally?.agents.size === 0) this.#types.delete(pair.type);
  }

  #append(pair: AgentTally): void {
    const last = this.#head.older;
    last.newer = pair;
    pair.older = last;
    pair.newer = this.#head;
    this.#head.older = pair;
  }

  #unlink(pair: AgentTally): void {
    pair.older.newer = pair.newer;
    pair.newer.older = pair.older;
    pair.newer = pair;
    pair.older = pair;
  }
}
