import type { Agent, Run } from './agent.ts';

export interface SlotsDeps {
  readonly maxConcurrentTasks: number;
  /** The load of an agent changed. */
  readonly loaded: (agent: Agent, change: 'started' | 'ended') => void;
  /** A slot is free: somebody else may go on. `wasFull`: there was none before. */
  readonly slotFreed: (agent: Agent, wasFull: boolean) => void;
}

/** The slots of all agents, under the limit over all of them. */
export class Slots {
  readonly #deps: SlotsDeps;
  /** Held now. */
  taken = 0;

  constructor(deps: SlotsDeps) {
    this.#deps = deps;
  }

  /** Left of the limit over all agents. */
  get free(): number {
    return this.#deps.maxConcurrentTasks - this.taken;
  }

  take(run: Run, agent: Agent): void {
    agent.running += 1;
    this.taken += 1;
    run.phase = 'running';
    this.#deps.loaded(agent, 'started');
  }

  give(run: Run): void {
    const agent = run.agent as Agent;
    const wasFull = !agent.hasSlot || this.free <= 0;
    agent.running -= 1;
    this.taken -= 1;
    this.#deps.loaded(agent, 'ended');
    this.#deps.slotFreed(agent, wasFull);
  }

  /** Somebody wants a slot of this agent, which has one. */
  offer(agent: Agent): void {
    this.#deps.slotFreed(agent, true);
  }
}
