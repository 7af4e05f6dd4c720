import { invalid } from '../core/check.ts';
import type { Offer } from '../core/ports/tasks.ts';
import { clearBit, hasBit, loadLevel, setBit } from './agent-index.ts';
import { EligibleAgents } from './eligible-agents.ts';
import { type Needs, NeedsIndex } from './needs-index.ts';
import { createMember, freeSlotsOf, loadOf, type Member, type PoolAgent } from './pool-member.ts';
import { Seats } from './seats.ts';
import { SlotOffers } from './slot-offers.ts';
import type { Candidate, TaskStatistics } from './strategy.ts';
import { NO_RUNS } from './task-history.ts';

/** What a task asks of the agent that is to run it. */
export interface Requirements {
  /** All are needed. */
  readonly capabilities: readonly string[];
  /** Only agents that handle this type. */
  readonly type?: string | undefined;
  readonly exclude?: readonly string[] | undefined;
  readonly only?: string | undefined;
  /** Only agents with at most this load, 0…1. */
  readonly maxLoadRatio?: number | undefined;
  /** Agents without a free slot too: the task may wait in the agent's run queue. @default false */
  readonly full?: boolean | undefined;
}

/**
 * All agents of this process that may take work. Every change and every question costs about the same at 10 and at 1,000 agents: agents
 * sit in rows of bits by load, and the agents that meet some needs are one more row.
 */
export class AgentPool implements Iterable<Candidate> {
  readonly #history: (type: string, agentId: string) => TaskStatistics;
  readonly #seats = new Seats();
  readonly #agents = this.#seats.agents;
  readonly #index = this.#seats.index;
  readonly #offers = new SlotOffers();
  readonly #needs = new NeedsIndex(this.#seats);
  /** Agents that handle some types only; without any, types don't matter. */
  #choosy = 0;

  /** @param history what {@link Candidate.history} answers. */
  constructor(history: (type: string, agentId: string) => TaskStatistics = () => NO_RUNS) {
    this.#history = history;
  }

  /** Agents, busy and draining ones included. */
  get size(): number {
    return this.#agents.size;
  }

  has(id: string): boolean {
    return this.#agents.has(id);
  }

  /** The agent, busy or not. */
  get(id: string): Candidate | undefined {
    return this.#agents.get(id)?.view;
  }

  /** All agents, in order of registration. */
  *[Symbol.iterator](): IterableIterator<Candidate> {
    for (const member of this.#agents.values()) yield member.view;
  }

  /** @throws INVALID_ARGUMENT when there is an agent of this id. */
  add(agent: PoolAgent): void {
    if (this.#agents.has(agent.id)) throw invalid(`There is an agent ${JSON.stringify(agent.id)} already`);
    const member = createMember(
      agent,
      this.#seats.next(),
      (capabilities) => this.#offers.join(capabilities, agent.types),
      this.#history,
    );
    if (member.types !== undefined) this.#choosy += 1;
    this.#seats.take(member);
    this.#enter(member);
  }

  /** Forgets an agent. False: there was none. */
  remove(id: string): boolean {
    const member = this.#agents.get(id);
    if (member === undefined) return false;
    this.#leave(member);
    this.#seats.give(member);
    this.#offers.leave(member.class);
    if (member.types !== undefined) this.#choosy -= 1;
    return true;
  }

  /** Changes slots, priority, cost or the numbers of tasks. Unknown agents are ignored. */
  update(id: string, changes: Partial<Omit<PoolAgent, 'id' | 'capabilities' | 'types'>>): void {
    const member = this.#agents.get(id);
    if (member === undefined) return;
    this.#leave(member);
    member.slots = changes.slots ?? member.slots;
    member.priority = changes.priority ?? member.priority;
    member.cost = changes.cost ?? member.cost;
    member.running = changes.running ?? member.running;
    member.queued = changes.queued ?? member.queued;
    this.#enter(member);
  }

  /** The agent began to run one more task. Unknown agents are ignored here and below: they may have left meanwhile. */
  started(id: string): void {
    const member = this.#agents.get(id);
    if (member !== undefined) this.#load(member, 1, 0);
  }

  ended(id: string): void {
    const member = this.#agents.get(id);
    if (member !== undefined && member.running > 0) this.#load(member, -1, 0);
  }

  /** Tasks came into the agent's run queue (1), or left it (−1). */
  queued(id: string, change: number): void {
    const member = this.#agents.get(id);
    if (member !== undefined) this.#load(member, 0, Math.max(change, -member.queued));
  }

  /** A draining agent gets no new work and offers no slots. */
  drain(id: string, draining = true): void {
    const member = this.#agents.get(id);
    if (member === undefined || member.draining === draining) return;
    this.#leave(member);
    member.draining = draining;
    this.#enter(member);
  }

  isDraining(id: string): boolean {
    return this.#agents.get(id)?.draining ?? false;
  }

  /** Free slots of all agents that take work; `Infinity` with an agent without a limit. */
  freeSlots(): number {
    return this.#offers.total();
  }

  /**
   * The free slots by set of capabilities, for a claim. The same array until something changes; never changed afterwards.
   * @param more slots beside the free ones, where all agents are alike
   */
  offers(more = 0): readonly Offer[] {
    return more > 0 ? this.#offers.allAnd(more) : this.#offers.all();
  }

  /** Whether all agents have the same capabilities and types. */
  get areAlike(): boolean {
    return this.#offers.areAlike;
  }

  /**
   * The agents that may run such a task now: all capabilities, a free slot (fewer running and queued than slots), not draining, not
   * excluded, not too loaded. Good for one decision; it follows what the pool does, but not `maxLoadRatio`.
   */
  eligible(task: Requirements): EligibleAgents {
    const needs = this.#needs.of(task.capabilities, this.#choosy === 0 ? undefined : task.type);
    if (this.#isPlain(task)) return task.full === true ? needs.all : needs.free;
    return new EligibleAgents(this.#seats, this.#narrowed(needs, task), task.full === true);
  }

  #isPlain({ exclude, only, maxLoadRatio }: Requirements): boolean {
    return (
      only === undefined && maxLoadRatio === undefined && (exclude === undefined || exclude.length === 0)
    );
  }

  #narrowed(needs: Needs, { exclude = [], only, maxLoadRatio }: Requirements): { readonly set: Uint32Array } {
    const set = new Uint32Array(needs.set);
    if (only !== undefined) keepOnly(set, this.#agents.get(only)?.seat);
    for (const id of exclude) {
      const seat = this.#agents.get(id)?.seat;
      if (seat !== undefined) clearBit(set, seat);
    }
    if (maxLoadRatio !== undefined) {
      for (const member of this.#agents.values())
        if (loadOf(member) > maxLoadRatio) clearBit(set, member.seat);
    }
    return { set };
  }

  #load(member: Member, running: number, queued: number): void {
    const freeBefore = freeSlotsOf(member);
    member.running += running;
    member.queued += queued;
    if (member.draining) return;
    const level = loadLevel(member.running + member.queued, member.slots);
    if (level !== member.level) {
      this.#index.delete(member.seat, member.level);
      this.#index.insert(member.seat, level);
      member.level = level;
    }
    const freed = freeSlotsOf(member) - freeBefore;
    if (freed !== 0) this.#offers.freed(member.class, freed);
  }

  #enter(member: Member): void {
    if (member.draining) return;
    member.level = loadLevel(member.running + member.queued, member.slots);
    this.#index.insert(member.seat, member.level);
    this.#count(member, 1);
  }

  #leave(member: Member): void {
    if (member.draining) return;
    this.#index.delete(member.seat, member.level);
    this.#count(member, -1);
  }

  #count(member: Member, sign: 1 | -1): void {
    if (member.slots === Number.POSITIVE_INFINITY) this.#offers.unlimited(member.class, sign);
    else this.#offers.freed(member.class, sign * freeSlotsOf(member));
  }
}

function keepOnly(set: Uint32Array, seat: number | undefined): void {
  const kept = seat !== undefined && hasBit(set, seat);
  set.fill(0);
  if (kept) setBit(set, seat);
}
