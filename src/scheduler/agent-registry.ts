import { BoundedSet, MOST_DEPARTED } from '../core/bounded-set.ts';
import { invalid } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import type { Clock } from '../core/ports/runtime.ts';
import type { Offer } from '../core/ports/tasks.ts';
import { Agent } from './agent.ts';
import { AgentPool } from './candidate-pool.ts';
import { type NormalisedAgent, normaliseAgent } from './normalise.ts';
import type { Company } from './parts.ts';

/**
 * The agents of this process: those that were registered, and, where nobody else uses the store, unknown ids that were given work (external
 * agents without limits).
 */
export class AgentRegistry {
  readonly #clock: Clock;
  readonly #company: Company;
  readonly #agents = new Map<string, Agent>();
  /** Ids that left; refused until registered again. */
  readonly #left = new BoundedSet<string>(MOST_DEPARTED);
  readonly #leaving = new Set<Agent>();
  readonly pool: AgentPool;
  /** Ids whose own tasks may be claimed here; `undefined` once one has gone. */
  #hosted: string[] | undefined = [];
  /** Assigned tasks that wait in run queues. */
  queuedTotal = 0;

  constructor(clock: Clock, pool: AgentPool, company: Company) {
    this.#clock = clock;
    this.#company = company;
    this.pool = pool;
  }

  /** Ids whose own tasks may be claimed here. Who comes is added to it, so that many may come; when one goes it is another array. */
  get hosted(): readonly string[] {
    this.#hosted ??= [...this.#agents.values()].filter((agent) => !agent.draining).map((agent) => agent.id);
    return this.#hosted;
  }

  get freeSlots(): number {
    return this.pool.freeSlots();
  }

  /** @param more slots beside the free ones, where the agents are alike */
  offers(more = 0): readonly Offer[] {
    return this.pool.offers(more);
  }

  /** Whether all agents do the same tasks. */
  get areAlike(): boolean {
    return this.pool.areAlike;
  }

  get(id: string): Agent | undefined {
    return this.#agents.get(id);
  }

  /** Whether it was here and went. */
  hasLeft(id: string): boolean {
    return this.#left.has(id);
  }

  /** @throws UNKNOWN_AGENT for an id that left */
  checkWelcome(id: string): void {
    if (!this.#left.has(id)) return;
    throw new CoordinationError('UNKNOWN_AGENT', `Agent ${JSON.stringify(id)} has left`, {
      hint: 'Register it again before giving it work.',
    });
  }

  /** @throws UNKNOWN_AGENT */
  require(id: string): Agent {
    const agent = this.#agents.get(id);
    if (agent === undefined)
      throw new CoordinationError('UNKNOWN_AGENT', `No agent ${JSON.stringify(id)} is registered`);
    return agent;
  }

  all(): IterableIterator<Agent> {
    return this.#agents.values();
  }

  /** All, and those that left while handlers of theirs still run. */
  busy(): readonly Agent[] {
    return [...this.#agents.values(), ...this.#leaving];
  }

  /** It has left, and nothing of it runs any more. */
  forget(agent: Agent): void {
    this.#leaving.delete(agent);
  }

  /** @throws INVALID_ARGUMENT when the id is taken by a registered agent */
  register(facts: NormalisedAgent): Agent {
    const known = this.#agents.get(facts.id);
    if (known !== undefined && !known.isImplicit) {
      throw invalid(
        `Agent ${JSON.stringify(facts.id)} is registered already`,
        'Unregister it first, or use another id.',
      );
    }
    const agent = new Agent(facts, facts.profile.handler === undefined, this.#clock.mono());
    if (known !== undefined) this.#adopt(known, agent);
    this.#left.delete(facts.id);
    this.#agents.set(facts.id, agent);
    this.pool.add({
      id: facts.id,
      capabilities: facts.capabilities,
      types: facts.types,
      slots: facts.slots,
      priority: facts.priority,
      cost: facts.cost,
    });
    for (let i = 0; i < agent.running; i++) this.pool.started(agent.id);
    this.pool.queued(agent.id, agent.queue.length);
    if (known === undefined) this.#hosted?.push(agent.id);
    else this.#hosted = undefined;
    return agent;
  }

  /**
   * The agent that is to get work by name; an unknown id becomes an external agent without limits, which strategies never choose. Where
   * others use the store it may be an agent of theirs, whose work must not be claimed here: then `undefined`.
   * @throws UNKNOWN_AGENT for an id that left
   */
  named(id: string): Agent | undefined {
    const known = this.#agents.get(id);
    if (known !== undefined && !known.gone) return known;
    this.checkWelcome(id);
    if (this.#company !== 'alone') return undefined;
    const facts = { ...normaliseAgent({ id }, 1), slots: Number.POSITIVE_INFINITY };
    const agent = new Agent(facts, true, this.#clock.mono());
    this.#agents.set(id, agent);
    // In the place of one that is on its way out it may be listed already.
    if (known === undefined) this.#hosted?.push(id);
    else this.#hosted = undefined;
    return agent;
  }

  /** Takes an agent out: it gets nothing any more, and its id is refused. */
  remove(agent: Agent): void {
    agent.gone = true;
    this.#agents.delete(agent.id);
    if (!agent.isIdle) this.#leaving.add(agent);
    this.#left.add(agent.id);
    if (!agent.isImplicit) this.pool.remove(agent.id);
    this.#hosted = undefined;
  }

  /** It takes nothing new; its own tasks stay in the store. */
  drain(agent: Agent): void {
    agent.draining = true;
    if (!agent.isImplicit) this.pool.drain(agent.id);
    this.#hosted = undefined;
  }

  loaded(agent: Agent, change: 'started' | 'ended'): void {
    if (agent.gone || agent.isImplicit) return;
    if (change === 'started') this.pool.started(agent.id);
    else this.pool.ended(agent.id);
  }

  /** Nothing in the run queue can use the free slot: it is anybody's meanwhile. False when that is known already. */
  stall(agent: Agent): boolean {
    const change = agent.queue.length - agent.stalled;
    if (change === 0) return false;
    agent.stalled = agent.queue.length;
    if (!agent.gone && !agent.isImplicit) this.pool.queued(agent.id, -change);
    return true;
  }

  queued(agent: Agent, change: 1 | -1): void {
    this.queuedTotal += change;
    if (change < 0 && agent.stalled > 0) {
      agent.stalled -= 1;
      return;
    }
    if (!agent.gone && !agent.isImplicit) this.pool.queued(agent.id, change);
  }

  /** A registered agent takes over what was given to its id before. */
  #adopt(from: Agent, to: Agent): void {
    for (const run of from.runs()) {
      from.detach(run);
      to.attach(run);
      if (run.holdsSlot) to.running += 1;
    }
    for (const run of from.queue.splice(0)) {
      run.agent = to;
      to.enqueue(run);
    }
  }
}
