import { checkArray, checkId, checkRecord, invalid } from '../core/check.ts';
import { CoordinationError, describe, toStoredError } from '../core/errors.ts';
import { type EventSink, silentSink } from '../core/events.ts';
import { type Resolved, resolveOptions } from '../core/options.ts';
import type { Logger, Runtime, Timer } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { createRuntime } from '../core/runtime/runtime.ts';
import { type AgentWorkload, agentScore, hasAll, type ScoredTask } from './agent-score.ts';
import { type AgentLoad, decideSteals } from './steal-policy.ts';
import { checkNames, IDLE, type KnownWorkload, type WorkloadReport, Workloads } from './workloads.ts';

export interface WorkStealingOptions {
  /** Kept for the predecessor's config. @default true */
  readonly enabled?: boolean;
  /** Stealing starts when the difference of task counts is greater than this. @default 3 */
  readonly stealThreshold?: number;
  /** Most tasks of one steal. @default 2 */
  readonly maxStealBatch?: number;
  /** Time between looks at the loads, ms. @default 5,000 */
  readonly stealInterval?: number;
  /** How often one task may move. @default 3 */
  readonly maxMoves?: number;
}

/** A steal to carry out: at most `count` unstarted tasks that the target can do and that moved fewer than `maxMoves` times. */
export interface StealMove {
  /** Never used twice. A mover that sees one again answers what it answered then, and moves nothing. */
  readonly stealId: string;
  readonly from: string;
  readonly to: string;
  readonly count: number;
  /** What the target can do; `undefined`: not known here, so the mover must know. */
  readonly capabilities: readonly string[] | undefined;
  readonly maxMoves: number;
}

/** Moves tasks. Answers for each steal the ids of the tasks that it moved: none when the target is gone, or nothing may move. */
export type MoveTasks = (moves: readonly StealMove[]) => Awaitable<readonly (readonly string[])[]>;

/** What a manager injects. */
export interface WorkStealingParts {
  readonly runtime?: Runtime | undefined;
  /** Asked before each round instead of what agents reported: who is there, and how much each has. */
  readonly loads?: (() => Iterable<AgentLoad>) | undefined;
}

/** What one round did. */
export interface StealRound {
  /** Steals that were asked for. */
  readonly requests: number;
  /** Tasks that moved. */
  readonly moved: number;
  /** Tasks that were asked for and didn't move; 0 without a mover. */
  readonly refused: number;
}

export interface WorkloadStats {
  readonly totalAgents: number;
  readonly totalTasks: number;
  readonly averageTasks: number;
  readonly minTasks: number;
  readonly maxTasks: number;
  /** `maxTasks` − `minTasks`. */
  readonly imbalance: number;
  readonly rounds: number;
  /** Steals asked for, since the start; `moved` and `refused` count tasks. */
  readonly requests: number;
  readonly moved: number;
  readonly refused: number;
  /** Rounds in which the mover failed. */
  readonly failures: number;
  readonly workloads: Readonly<Record<string, AgentWorkload>>;
}

const NOTHING: StealRound = { requests: 0, moved: 0, refused: 0 };

/**
 * Evens out load between agents. Composed by a manager it moves tasks through the function it is handed; alone it advises
 * (`findBestAgent`) and reports what should move (`workstealing:request`). Only unstarted tasks move, at most {@link
 * WorkStealingOptions.maxMoves} times each, never to an agent that is gone or can't do them.
 */
export class WorkStealingCoordinator {
  readonly #options: Resolved<'workStealing'>;
  readonly #events: EventSink;
  readonly #runtime: Runtime;
  readonly #move: MoveTasks | undefined;
  readonly #liveLoads: (() => Iterable<AgentLoad>) | undefined;
  readonly #workloads = new Workloads();
  readonly #totals = { rounds: 0, requests: 0, moved: 0, refused: 0, failures: 0 };
  #timer: Timer | undefined;
  #round: Promise<StealRound> | undefined;
  #stopped = false;

  /** @throws INVALID_OPTION */
  constructor(
    options?: WorkStealingOptions,
    events: EventSink = silentSink,
    logger?: Logger,
    move?: MoveTasks,
    parts: WorkStealingParts = {},
  ) {
    this.#options = resolveOptions('workStealing', options);
    this.#events = events;
    this.#runtime = parts.runtime ?? createRuntime({ logger });
    if (move !== undefined && typeof move !== 'function') {
      throw invalid(`Expected move to be a function, got ${describe(move)}`);
    }
    this.#move = move;
    this.#liveLoads = parts.loads;
  }

  /** Looks at the loads every `stealInterval` from now on. The timer doesn't hold the process open. Idempotent. */
  async initialize(): Promise<void> {
    this.#stopped = false;
    if (this.#timer === undefined && this.#options.enabled) this.#arm();
  }

  /** Ends the looks, after the one that is under way. Idempotent. */
  async shutdown(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.#round;
  }

  /** Makes an agent known, also one that was removed before. @throws INVALID_ARGUMENT */
  addAgent(agentId: string): void {
    this.#workloads.add(checkId(agentId, 'agentId'));
  }

  /** Forgets an agent that left or died. It is neither advised nor given anything until it is added again. False: it wasn't known. */
  removeAgent(agentId: string): boolean {
    return this.#workloads.remove(checkId(agentId, 'agentId'));
  }

  /** Takes in what an agent reports; fields that are left out stay. @throws INVALID_ARGUMENT, UNKNOWN_AGENT for a removed agent */
  updateAgentWorkload(agentId: string, load: WorkloadReport): void {
    this.#workloads.report(agentId, load);
  }

  /** Counts the duration of a task into the agent's average. @throws INVALID_ARGUMENT, UNKNOWN_AGENT for a removed agent */
  recordTaskDuration(agentId: string, durationMs: number): void {
    this.#workloads.recordDuration(agentId, durationMs);
  }

  /**
   * The agent with the highest {@link agentScore}; among equals the first given. `null` when none can do the task: an agent that was
   * removed, or lacks a capability that the task names, is never the answer. An agent without report counts as idle.
   * @param availableAgents ids or profiles; a profile's capabilities and priority go before what was reported.
   * @throws INVALID_ARGUMENT
   */
  findBestAgent(task: object, availableAgents: readonly (string | object)[]): string | null {
    const wanted = checkTask(task);
    let best: string | null = null;
    let highest = Number.NEGATIVE_INFINITY;
    for (const agent of checkArray(availableAgents, 'availableAgents')) {
      const { id, load } = this.#facts(agent);
      if (this.#workloads.isGone(id) || load.draining === true) continue;
      if (!hasAll(load.capabilities, wanted.capabilities ?? [])) continue;
      const score = agentScore(wanted, load);
      if (score <= highest) continue;
      highest = score;
      best = id;
    }
    return best;
  }

  /**
   * Looks once, and asks for the moves that even the loads out. Calls while a round is under way get that round's answer. A mover that
   * fails is reported (`system:error`), not thrown.
   * @throws STOPPED after shutdown
   */
  checkAndSteal(): Promise<StealRound> {
    if (this.#stopped) {
      return Promise.reject(new CoordinationError('STOPPED', 'The work stealing coordinator was shut down'));
    }
    if (!this.#options.enabled) return Promise.resolve(NOTHING);
    this.#round ??= this.#steal().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  getWorkloadStats(): WorkloadStats {
    const counts = Array.from(this.#workloads, ([, { taskCount }]) => taskCount);
    const totalTasks = counts.reduce((sum, count) => sum + count, 0);
    const minTasks = counts.reduce((least, count) => Math.min(least, count), counts[0] ?? 0);
    const maxTasks = counts.reduce((most, count) => Math.max(most, count), 0);
    const workloads = Object.create(null) as Record<string, AgentWorkload>;
    for (const [id, load] of this.#workloads) workloads[id] = load;
    return {
      totalAgents: counts.length,
      totalTasks,
      averageTasks: counts.length === 0 ? 0 : totalTasks / counts.length,
      minTasks,
      maxTasks,
      imbalance: maxTasks - minTasks,
      ...this.#totals,
      workloads,
    };
  }

  #arm(): void {
    const { stealInterval } = this.#options;
    if (stealInterval === Number.POSITIVE_INFINITY) return;
    this.#timer = this.#runtime.clock.after(stealInterval, () => void this.#look());
  }

  async #look(): Promise<void> {
    if (this.#stopped) return;
    await this.checkAndSteal();
    if (!this.#stopped) this.#arm();
  }

  async #steal(): Promise<StealRound> {
    const moves = this.#plan();
    this.#totals.rounds += 1;
    this.#totals.requests += moves.length;
    for (const { from, to, count } of moves) {
      if (!this.#events.wants('workstealing:request')) continue;
      this.#events.emit('workstealing:request', { sourceAgent: from, targetAgent: to, taskCount: count });
    }
    if (this.#move === undefined || moves.length === 0) return { ...NOTHING, requests: moves.length };
    let answers: readonly (readonly string[])[] = [];
    try {
      answers = checkAnswers(await this.#move(moves), moves.length);
    } catch (error) {
      this.#failed(error);
    }
    const moved = moves.reduce((sum, move, i) => sum + this.#conclude(move, answers[i] ?? []), 0);
    const refused = moves.reduce((sum, move) => sum + move.count, 0) - moved;
    this.#totals.moved += moved;
    this.#totals.refused += refused;
    return { requests: moves.length, moved, refused };
  }

  #plan(): readonly StealMove[] {
    try {
      const loads = this.#liveLoads === undefined ? this.#workloads.loads() : [...this.#liveLoads()];
      const present = loads.filter(({ agentId }) => !this.#workloads.isGone(agentId));
      const able = new Map(present.map(({ agentId, capabilities }) => [agentId, capabilities]));
      const { maxMoves } = this.#options;
      return decideSteals(present, this.#options).map((steal) => ({
        stealId: this.#runtime.ids.next(),
        ...steal,
        capabilities: able.get(steal.to),
        maxMoves,
      }));
    } catch (error) {
      this.#failed(error);
      return [];
    }
  }

  /** Counts and reports what a steal moved. */
  #conclude({ stealId, from, to }: StealMove, taskIds: readonly string[]): number {
    if (taskIds.length === 0) return 0;
    this.#workloads.moved(from, to, taskIds.length);
    if (this.#events.wants('work:stolen')) {
      this.#events.emit('work:stolen', {
        stealId,
        sourceAgent: from,
        targetAgent: to,
        taskIds: [...taskIds],
      });
    }
    return taskIds.length;
  }

  #failed(error: unknown): void {
    this.#totals.failures += 1;
    const { code, message } = toStoredError(error);
    this.#runtime.logger.warn('Moving tasks between agents failed', { code, message });
    this.#events.emit('system:error', { part: 'workStealing', code, message });
  }

  #facts(agent: unknown): { readonly id: string; readonly load: KnownWorkload } {
    if (typeof agent === 'string') {
      const id = checkId(agent, 'an agent id');
      return { id, load: this.#workloads.get(id) ?? IDLE };
    }
    const profile = checkRecord(
      agent as Partial<AgentWorkload & { readonly id: unknown }>,
      'an available agent',
    );
    const id = checkId(profile.id, 'the id of an available agent');
    const known = this.#workloads.get(id) ?? IDLE;
    const capabilities =
      profile.capabilities === undefined ? known.capabilities : checkNames(profile.capabilities);
    const priority = typeof profile.priority === 'number' ? profile.priority : known.priority;
    if (!Number.isFinite(priority)) throw invalid(`Expected the priority of agent ${id} to be finite`);
    return { id, load: { ...known, capabilities, priority } };
  }
}

function checkTask(task: unknown): ScoredTask {
  const { type, capabilities } = checkRecord(task as { type?: unknown; capabilities?: unknown }, 'task');
  return {
    type: typeof type === 'string' ? type : undefined,
    capabilities: capabilities === undefined ? undefined : checkNames(capabilities),
  };
}

function checkAnswers(answers: unknown, expected: number): readonly (readonly string[])[] {
  const fits =
    Array.isArray(answers) &&
    answers.length === expected &&
    answers.every((ids) => Array.isArray(ids) && ids.every((id) => typeof id === 'string'));
  if (fits) return answers;
  throw invalid(`Expected move to answer ${expected} arrays of task ids, got ${describe(answers)}`);
}
