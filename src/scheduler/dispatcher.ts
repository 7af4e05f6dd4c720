import { type EventSink, wanting } from '../core/events.ts';
import type { Operations } from '../core/operations.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Claim, ClaimAnswer, ClaimRequest, TaskStore } from '../core/ports/tasks.ts';
import { AheadRuns } from './ahead-runs.ts';
import { type Agent, type ClaimedAt, Run, type RunHome } from './agent.ts';
import type { AgentRegistry } from './agent-registry.ts';
import { BarredKinds } from './barred-kinds.ts';
import { CLAIMS_A_TURN, Claims } from './claims.ts';
import { claimText } from './claim-text.ts';
import type { Executor } from './executor.ts';
import { ParkedRuns } from './parked-runs.ts';
import type { Placement } from './placement.ts';
import type { Settler } from './settler.ts';
import type { SlotLoans } from './slot-loans.ts';
import type { Slots } from './slots.ts';
import { LocalHandle } from './task-handle.ts';

/** After this, or {@link CLAIMS_A_TURN}, timers and I/O of the application get their turn first. */
const TURN_MS = 5;

export interface DispatcherDeps {
  readonly runtime: Runtime;
  readonly events: EventSink;
  readonly store: TaskStore;
  readonly operations: () => Operations;
  readonly agents: AgentRegistry;
  readonly executor: Executor;
  readonly slots: Slots;
  readonly loans: SlotLoans;
  readonly placement: Placement;
  readonly settler: Settler;
  /** How much waiting is worth a priority point in a queue. */
  readonly ageStepMs: (queue: string) => number;
  /** Tasks to claim beyond the free slots in any case; they come unstarted, and others may take them. */
  readonly prefetch: number;
  /** There is room, and nothing was ready. */
  readonly starved: (request: ClaimRequest) => void;
  /** Something was. */
  readonly fed: () => void;
  /** Ends what is claimed here. */
  readonly home: RunHome;
  /** Takes the task's locks, then calls back through {@link Dispatcher.place}; `undefined` when tasks take no locks here. */
  readonly takeLocks: ((run: Run) => void) | undefined;
  /** Most tasks of one claim from a store across a network; absent: it is in this process, and nothing is claimed ahead. */
  readonly farBatch: number | undefined;
  /** No slot is free, yet something may be more urgent than what runs. */
  readonly considerPreemption: (() => void) | undefined;
}

/**
 * Moves ready tasks to agents: claims as many as there are free slots, places each by the strategy, and starts what waits in run queues.
 * Woken by whatever may have changed the answer; works in a microtask, and yields to the event loop under load.
 */
export class Dispatcher {
  readonly #deps: DispatcherDeps;
  readonly #wantsAssigned: () => boolean;
  #woken = false;
  #claimedThisTurn = 0;
  #turnStart = 0;
  /** When the batch at hand was begun, mono ms: read once for all that starts with it. */
  #now = 0;
  #stopped = false;
  /** Claimed, but no agent would take them now. */
  readonly parked: ParkedRuns;
  /** Claimed runs that wait for their locks. */
  readonly locking = new Set<Run>();
  readonly #hungry = new Set<Agent>();
  readonly #barred: BarredKinds;
  readonly #ahead: AheadRuns | undefined;
  readonly #claims: Claims;

  constructor(deps: DispatcherDeps) {
    this.#deps = deps;
    this.#wantsAssigned = wanting(deps.events, 'task:assigned');
    const barred = new BarredKinds(deps.agents.pool);
    this.#barred = barred;
    const { settler, slots, runtime } = deps;
    this.parked = new ParkedRuns({ clock: runtime.clock, settler, slots, barred, wake: () => this.wake() });
    this.#ahead = this.#makeAhead();
    this.#claims = new Claims({
      ...deps,
      barred,
      ahead: this.#ahead,
      locking: this.locking,
      take: (answer) => this.#take(answer),
      wake: () => this.wake(),
      isStopped: () => this.#stopped,
    });
  }

  #makeAhead(): AheadRuns | undefined {
    const { farBatch: maxBatch, home, prefetch, runtime } = this.#deps;
    if (maxBatch === undefined) return undefined;
    const giveBack = (runs: readonly Run[]): void => {
      for (const run of runs) home.stop(run, 'shutdown-release', 'it was claimed too early');
    };
    return new AheadRuns({ clock: runtime.clock, maxBatch, prefetch, giveBack });
  }

  /** Something changed: work to do, a slot, an agent, a setting. */
  readonly wake = (): void => {
    if (this.#woken) return;
    this.#woken = true;
    if (this.#claimedThisTurn < CLAIMS_A_TURN) queueMicrotask(this.#turn);
    else {
      this.#deps.runtime.clock.soon(() => {
        this.#claimedThisTurn = 0;
        this.#turnStart = this.#deps.runtime.clock.mono();
        this.#turn();
      });
    }
  };

  /** Claimed beyond the free slots and not begun. */
  get ahead(): number {
    return this.#ahead?.size ?? 0;
  }

  /** A slot of this agent is free. @param wasFull there was none before */
  freed(agent: Agent, wasFull: boolean): void {
    const isHungry = agent.resuming.length > 0 || agent.queue.length > 0;
    if (isHungry) this.#hungry.add(agent);
    this.parked.askAfresh();
    // Whatever there was for an agent with free slots it has been given: nothing more is to be found by asking again.
    if (isHungry || wasFull || this.#claims.cutShort || this.parked.size > 0 || this.#barred.size > 0)
      this.wake();
  }

  /** A task has ended after this time, ms. */
  ended(durationMs: number): void {
    this.#ahead?.ended(durationMs);
  }

  /** Forgets a claimed run that waits here: it is ended otherwise. */
  remove(run: Run): void {
    this.parked.remove(run);
    this.#ahead?.remove(run);
  }

  /** Claims and places in this call what can be placed now: the assignment is recorded when it returns. */
  now(): void {
    if (!this.#stopped) this.#pump();
  }

  /** Claims and starts nothing any more; what runs goes on, and gets its slot back after a wait. */
  stop(): void {
    this.#stopped = true;
    this.parked.stop();
    this.#ahead?.stop();
  }

  /** Resolves when no claim is on its way. */
  untilQuiet(): Promise<void> {
    return this.#claims.untilQuiet();
  }

  /** A cancellation was requested of a run that isn't known here: its claim may be on its way. */
  cancelOnArrival(taskId: string, reason: string): void {
    this.#claims.cancelOnArrival(taskId, reason);
  }

  /** What is claimed and hasn't begun, wherever it waits. */
  unstarted(): Run[] {
    const queued = [...this.#deps.agents.all()].flatMap((agent) => agent.queue);
    return [...queued, ...this.parked, ...this.locking, ...(this.#ahead ?? [])];
  }

  /** What is assigned to an agent and waits there for a slot or its locks. */
  unstartedAt(agent: Agent): Run[] {
    return [...agent.queue, ...[...this.locking].filter((run) => run.agent === agent)];
  }

  readonly #turn = (): void => {
    this.#woken = false;
    if (!this.#stopped) this.#pump();
    else if (this.#hungry.size > 0) this.#serveAgents();
  };

  #pump(): void {
    if (this.#hungry.size > 0 || this.parked.size > 0) {
      this.#now = this.#deps.runtime.clock.mono();
      this.#serveAgents();
    }
    if (this.#barred.size > 0) this.#barred.review();
    if (this.parked.size > 0)
      for (const run of this.parked.toPlace()) if (run.phase === 'parked') this.place(run);
    if (this.#ahead !== undefined && this.#ahead.size > 0) this.#placeAhead(this.#ahead);
    this.#claims.ask();
    if (!this.#stopped) this.parked.rest();
  }

  /** What was claimed before there was a slot for it. */
  #placeAhead(ahead: AheadRuns): void {
    this.#now = this.#deps.runtime.clock.mono();
    while (ahead.size > 0 && this.#free() > 0 && this.#deps.agents.freeSlots > 0)
      this.#receive(ahead.shift() as Run);
  }

  /** Runs that want their slot back first, then each agent's run queue. */
  #serveAgents(): void {
    const { agents, loans, slots } = this.#deps;
    for (const agent of this.#hungry) {
      // Of many that have slots none can be served: they stay where they are.
      if (slots.free <= 0) return;
      while (agent.hasSlot && agent.resuming.length > 0 && slots.free > 0)
        loans.resume(agent.resuming.shift() as Run, agent);
      while (agent.hasSlot && agent.queue.length > 0 && this.#free() > 0) {
        const run = this.#nextOf(agent);
        if (run === undefined) {
          if (agents.stall(agent)) this.parked.ask();
          break;
        }
        agents.queued(agent, -1);
        this.#begin(run, agent);
      }
      if (!agent.hasSlot || agent.queue.length + agent.resuming.length === 0) this.#hungry.delete(agent);
    }
  }

  /** What starts next from a run queue: one that needs no locks, or for whose locks a slot is kept. */
  #nextOf(agent: Agent): Run | undefined {
    const { queue } = agent;
    if (!this.#needsLocks(queue[0] as Run)) return queue.shift();
    const at = this.#mayLock(agent) ? 0 : queue.findIndex((run) => !this.#needsLocks(run));
    return at < 0 ? undefined : queue.splice(at, 1)[0];
  }

  #needsLocks(run: Run): boolean {
    return (
      run.settings.locks !== undefined && run.facts.lease === undefined && this.#deps.takeLocks !== undefined
    );
  }

  /** Whether a slot of the agent is left for one more that waits for its locks. */
  #mayLock(agent: Agent): boolean {
    let locking = 0;
    for (const run of this.locking) if (run.agent === agent) locking += 1;
    return agent.running + locking < agent.slots;
  }

  /** A slot is free: starts it there, its locks first. */
  #begin(run: Run, agent: Agent): void {
    if (this.#needsLocks(run)) this.#lock(run);
    else this.#deps.executor.begin(run, agent, this.#now);
  }

  #beginAt(run: Run, agent: Agent): void {
    this.#ahead?.begun();
    this.#deps.executor.begin(run, agent, this.#now);
  }

  #lock(run: Run): void {
    run.phase = 'locking';
    this.locking.add(run);
    this.#deps.takeLocks?.(run);
  }

  #free(): number {
    return this.#deps.slots.free;
  }

  /** Claims of another process that it hadn't begun. */
  readonly takeStolen = (answer: ClaimAnswer): void => {
    this.#claims.took(answer);
    this.#take(answer);
  };

  #take(answer: ClaimAnswer): void {
    const { claims } = answer;
    if (claims.length === 0) return;
    const now = this.#deps.runtime.clock.mono();
    this.#now = now;
    if (now - this.#turnStart > TURN_MS) {
      this.#turnStart = now;
      this.#claimedThisTurn = Math.max(this.#claimedThisTurn, CLAIMS_A_TURN);
    } else this.#claimedThisTurn += claims.length;
    const claimed = { mono: now, at: answer.at, home: this.#deps.home };
    if (this.#ahead === undefined) for (const claim of claims) this.#receive(this.#runOf(claim, claimed));
    else
      this.#takeAhead(
        this.#ahead,
        claims.map((claim) => this.#runOf(claim, claimed)),
        answer.more,
      );
    if (answer.more) this.wake();
  }

  /** In the order in which they were claimed; those of particular agents go to their run queues at once. */
  #takeAhead(ahead: AheadRuns, runs: readonly Run[], more: boolean): void {
    for (const run of runs) {
      if (run.claim.body.agent !== undefined) this.#receive(run);
      else ahead.add(run);
    }
    if (!more || ahead.quick === 0 || this.#stopped) return this.#placeAhead(ahead);
    // The next claim leaves first: handlers that end in microtasks would hold it back until all of these have run.
    this.#claims.ask();
    this.#deps.runtime.clock.soon(() => {
      if (!this.#stopped) this.#pump();
    });
  }

  #receive(run: Run): void {
    const { home, executor } = this.#deps;
    if (run.handle?.outcome !== undefined) return home.drop(run, 'it ended while its claim was on its way');
    const cancelled = this.#claims.cancelledOnTheWay(run.id);
    if (cancelled !== undefined) return home.stop(run, 'cancel', cancelled);
    if (this.#stopped) return home.stop(run, 'shutdown-release', 'draining');
    try {
      this.place(run);
    } catch (error) {
      // One that breaks what places it must not take those beside it along.
      executor.fail(run, error);
    }
  }

  #runOf(claim: Claim, claimed: ClaimedAt): Run {
    const handle = claim.local instanceof LocalHandle ? claim.local : undefined;
    const run = new Run(claim, handle, claimed);
    if (claim.deadlineAt !== undefined) this.#keepDeadline(run, (claim.deadlineAt - claimed.at) / 1_000);
    return run;
  }

  /** A claimed task is the store's no more, so its deadline is ours to keep, before its handler is called too. */
  #keepDeadline(run: Run, leftMs: number): void {
    const { runtime, home } = this.#deps;
    const inMs = Math.max(0, leftMs);
    run.extras.deadlineAt = run.claimed.mono + inMs;
    run.extras.deadlineTimer = runtime.clock.after(inMs, () => home.stop(run, 'deadline', 'deadline'), true);
  }

  /** Its locks are there: goes on with what {@link place} began. */
  placeLocked(run: Run): void {
    this.#now = this.#deps.runtime.clock.mono();
    const { agent } = run;
    if (agent === undefined || run.claim.body.agent === undefined) return this.place(run);
    if (agent.hasSlot && this.#free() > 0) return this.#deps.executor.begin(run, agent, this.#now);
    // Others wait for its locks: it is the next to start.
    this.enqueueAt(agent, run);
  }

  /** Gives a claimed task to an agent: the one it is pinned to, or the strategy's choice; parks it when nobody takes it. */
  place(run: Run): void {
    const { placement } = this.#deps;
    const { agent: pinned } = run.claim.body;
    if (pinned === undefined && this.#needsLocks(run)) return this.#lock(run);
    run.phase = 'parked';
    if (pinned !== undefined) return this.#assign(run, pinned);
    const chosen = this.#free() > 0 ? placement.choose(run) : undefined;
    if (chosen === undefined) {
      if (this.#free() > 0) this.#barred.bar(run.claim.body, run.settings);
      this.parked.add(run);
      return;
    }
    run.agent = chosen.agent;
    if (this.#announce(run, chosen.agent, chosen.strategy, chosen.reason)) this.#beginAt(run, chosen.agent);
  }

  /** A pinned task waits in its agent's run queue, or starts at once. */
  #assign(run: Run, agentId: string): void {
    const { agents, executor, home } = this.#deps;
    const agent = agents.get(agentId);
    if (agent === undefined || agent.gone) return home.stop(run, 'agent-left', `agent ${agentId} has left`);
    if (!agent.mayHave(run.claim, run.settings)) return this.parked.add(run);
    run.agent = agent;
    if (!this.#announce(run, agent, 'assigned', undefined)) return;
    const isFree = agent.hasSlot && agent.queue.length === 0 && this.#free() > 0;
    if (!isFree) this.enqueueAt(agent, run);
    else if (!this.#needsLocks(run)) executor.begin(run, agent, this.#now);
    else if (this.#mayLock(agent)) this.#lock(run);
    else this.enqueueAt(agent, run);
  }

  /** Hands a run that waits to another agent, which is told. */
  pass(run: Run, to: Agent, reason: string): void {
    this.enqueueAt(to, run);
    this.#announce(run, to, 'stolen', reason);
  }

  /** Puts a claimed, unstarted run into an agent's run queue. */
  enqueueAt(agent: Agent, run: Run): void {
    run.phase = 'queued';
    run.agent = agent;
    agent.enqueue(run, this.#deps.ageStepMs(run.claim.body.queue));
    this.#deps.agents.queued(agent, 1);
    if (agent.hasSlot) this.freed(agent, true);
  }

  /** Whether it may begin: a listener may have cancelled it, or taken the agent out. */
  #announce(run: Run, agent: Agent, strategy: string, reason: string | undefined): boolean {
    const { events, home } = this.#deps;
    if (!this.#wantsAssigned()) return true;
    events.emit('task:assigned', {
      taskId: run.id,
      agentId: agent.id,
      attempt: run.claim.attempt,
      claim: claimText(run.claim),
      strategy,
      ...(reason === undefined ? {} : { reason }),
    });
    if (run.phase === 'parked' && agent.gone) home.stop(run, 'agent-left', `agent ${agent.id} has left`);
    return run.phase === 'parked';
  }
}
