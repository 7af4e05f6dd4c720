import assert from 'node:assert/strict';
import type { CoordinationEvent } from '../../src/core/events.ts';
import type { FailurePolicy } from '../../src/core/ports/tasks.ts';
import { hasEnded, type ModelTask, rankOf, TaskModel } from './task-model.ts';

export const GRACE_MS = 60;
export const GLOBAL_SLOTS = 4;

export interface AgentModel {
  readonly id: string;
  /** Tells it from those that had its id before. */
  readonly boot: number;
  readonly slots: number;
  readonly capabilities: readonly string[];
  readonly external: boolean;
  /** Never registered: known because it was given work. */
  readonly implicit: boolean;
  draining: boolean;
}

/** What a task is like, beyond what the store's model knows. */
export interface TaskFacts {
  readonly maxAttempts: number;
  readonly retryMs: number;
  readonly timeoutMs: number | undefined;
  readonly only: boolean;
  readonly exclude: string | undefined;
  /** Its handler takes no notice of its signal. */
  readonly stubborn: boolean;
  readonly napMs: number | undefined;
}

type Stop = 'timeout' | 'deadline' | 'cancel' | 'agent-left';
type Expected = 'completed' | 'failed' | 'retried' | 'buried' | 'cancelled' | 'released';

/** One attempt as the model sees it. */
export interface RunModel {
  readonly task: ModelTask;
  readonly facts: TaskFacts;
  readonly attempt: number;
  agent: string;
  /** Of its agent. */
  boot: number;
  external: boolean;
  /** `queued`: assigned, waits in the run queue of its agent. */
  phase: 'queued' | 'running';
  stop: Stop | undefined;
  timeoutAt: number;
  deadlineAt: number;
  graceAt: number;
  /** What the next event about it has to be. */
  expect: Expected | undefined;
  moveTo: string | undefined;
  /** Whether its handler said that trying again is useless. */
  fatal: boolean;
  moves: number;
}

/** How often the interesting things happened in one run. */
export interface Seen {
  retried: boolean;
  cancelledRunning: boolean;
  stolen: boolean;
  leftRunning: boolean;
  timedOut: boolean;
  abandoned: boolean;
  redriven: boolean;
  cascaded: boolean;
  drained: boolean;
  moved: boolean;
}

/**
 * What the whole scheduler has to do, told by its events: the store's model for states, and for each attempt who runs it, why it was told to
 * stop and what has to come of it. An event that isn't the one to be expected is a violation.
 */
export class SchedulerModel {
  readonly tasks = new TaskModel();
  readonly agents = new Map<string, AgentModel>();
  readonly gone = new Set<string>();
  readonly facts = new Map<string, TaskFacts>();
  readonly runs = new Map<string, RunModel>();
  readonly abandoned: string[] = [];
  readonly seen: Seen = {
    retried: false,
    cancelledRunning: false,
    stolen: false,
    leftRunning: false,
    timedOut: false,
    abandoned: false,
    redriven: false,
    cascaded: false,
    drained: false,
    moved: false,
  };
  boots = 1;
  /** A moment ago they were for an agent that leaves: others may go first in this turn. */
  readonly #justUnpinned = new Set<ModelTask>();
  #tokens = 0;

  get now(): number {
    return this.tasks.now;
  }

  runsOf(agent: string, phase: RunModel['phase']): RunModel[] {
    return [...this.runs.values()].filter((run) => run.agent === agent && run.phase === phase);
  }

  // ── what happens from outside ──

  /** A new moment: what is due in it is due before anything else. */
  arrive(at: number): void {
    const { tasks } = this;
    tasks.now = at;
    tasks.call += 1;
    tasks.sweep();
    for (const run of this.runs.values()) {
      if (run.phase === 'queued') {
        if (run.deadlineAt <= at) run.expect = 'buried';
      } else if (run.graceAt <= at) this.conclude(run, 'error');
      else if (run.deadlineAt <= at && run.deadlineAt < run.timeoutAt) this.stop(run, 'deadline');
      else if (run.timeoutAt <= at) this.stop(run, 'timeout');
    }
  }

  /** Tells a run to stop; the first cause counts. One that takes notice ends with it. */
  stop(run: RunModel, cause: Stop): void {
    if (run.stop !== undefined || run.expect !== undefined) return;
    run.stop = cause;
    if (cause === 'timeout') this.seen.timedOut = true;
    if (run.phase === 'queued' || run.external || !run.facts.stubborn) this.conclude(run, 'error');
    else run.graceAt = this.now + GRACE_MS;
  }

  /** Its handler, or whoever answers for it, is done; or its grace is over. */
  conclude(run: RunModel, how: 'value' | 'error' | 'fatal'): void {
    if (run.expect !== undefined) return;
    run.fatal = how === 'fatal' && run.stop === undefined;
    run.expect = this.#expectation(run, how);
  }

  #expectation(run: RunModel, how: 'value' | 'error' | 'fatal'): Expected {
    const { stop, task, facts } = run;
    const isLate = stop === 'timeout' || stop === 'deadline';
    if (how === 'value' && !isLate) return 'completed';
    if (stop === 'cancel') return 'cancelled';
    const isLast = stop === 'deadline' || run.fatal || run.attempt >= facts.maxAttempts;
    if (stop === 'agent-left') return task.cancelRequested === undefined ? 'released' : 'cancelled';
    return task.cancelRequested !== undefined && !isLast ? 'cancelled' : 'failed';
  }

  cancel(task: ModelTask): void {
    const run = this.runs.get(task.id);
    if (run?.phase === 'running' && !hasEnded(task)) this.seen.cancelledRunning = true;
    if (!hasEnded(task)) {
      if (this.tasks.cancelOne(task, 'r', false)) this.runs.delete(task.id);
      else if (run !== undefined) this.stop(run, 'cancel');
    }
    this.tasks.drain();
  }

  leave(agent: AgentModel): void {
    this.agents.delete(agent.id);
    this.gone.add(agent.id);
    for (const run of this.runs.values()) {
      if (run.agent !== agent.id) continue;
      if (run.phase === 'running') this.seen.leftRunning = true;
      this.stop(run, 'agent-left');
    }
    this.#unpin(agent.id);
  }

  /** Gives back what waits in its run queue; it stays pinned. */
  drain(agent: AgentModel): void {
    agent.draining = true;
    this.seen.drained = true;
    for (const run of this.runsOf(agent.id, 'queued')) this.#sendBack(run);
  }

  /** What was taken from the queue and hasn't begun goes back. */
  pause(queue: string): void {
    for (const run of this.runs.values())
      if (run.phase === 'queued' && run.task.queue === queue) this.#sendBack(run);
  }

  /** Its priority was changed. What hasn't begun goes back, and has it when it comes again. */
  reprioritise(task: ModelTask, priority: number): 'changed' | 'deferred' | 'none' {
    const change = this.tasks.reprioritise(task, priority);
    const run = this.runs.get(task.id);
    if (change !== 'deferred' || run?.phase !== 'queued') return change;
    this.#sendBack(run);
    return 'changed';
  }

  /** It stays pinned. */
  #sendBack(run: RunModel): void {
    run.moveTo = run.task.agent;
    this.stop(run, 'agent-left');
  }

  /** Whether nobody but its agent may ever have it: it may have to wait for that one to change. */
  isOnly(task: ModelTask): boolean {
    return this.#factsOf(task.id).only;
  }

  /** Was given work before it was registered, and has a handler now: what waits for an answer comes to that. */
  handToHandler(agent: AgentModel): void {
    for (const run of this.runsOf(agent.id, 'running')) {
      run.moveTo = agent.id;
      this.stop(run, 'agent-left');
    }
  }

  /** Gives a task to an agent, wherever it stands. */
  move(task: ModelTask, agent: AgentModel): void {
    const run = this.runs.get(task.id);
    if (hasEnded(task) || run?.boot === agent.boot) return;
    if (run === undefined) {
      task.agent = agent.id;
      return;
    }
    run.moveTo = agent.id;
    this.seen.moved = true;
    this.stop(run, 'agent-left');
  }

  redrive(task: ModelTask, delayMs: number): boolean {
    if (!this.tasks.redrive(task, delayMs, true)) return false;
    this.seen.redriven = true;
    if (task.agent !== undefined && this.gone.has(task.agent)) this.#unpin(task.agent);
    return true;
  }

  steal(id: string, to: AgentModel): void {
    const run = this.#run(id);
    assert.equal(run.phase, 'queued', `W1: ${id} was stolen before it started`);
    assert.ok(!run.facts.only, 'W5: what is for one agent only stays');
    assert.ok(mayTake(to, run.task, run.facts), 'W5: never to an agent that may not run it');
    run.moves += 1;
    assert.ok(run.moves <= 3, 'W3: at most three moves');
    this.seen.stolen = true;
  }

  #unpin(agent: string): void {
    for (const task of this.tasks.tasks) {
      const isFree = task.state === 'waiting' || task.state === 'scheduled' || task.state === 'ready';
      if (task.agent !== agent || !isFree || this.#factsOf(task.id).only) continue;
      task.agent = undefined;
      this.#justUnpinned.add(task);
    }
  }

  // ── what the scheduler reports ──

  /** Takes an event in: it has to be what has to come next for its task. */
  readonly hear = (event: CoordinationEvent): void => {
    const { payload } = event;
    switch (event.name) {
      case 'task:assigned':
        return this.#assigned(event.payload);
      case 'task:started':
        return this.#started(event.payload.taskId, event.payload.agentId);
      case 'task:completed':
        this.#take(event.payload.taskId, 'completed');
        return this.#end(event.payload.taskId, (task) => this.tasks.complete(task));
      case 'task:failed': {
        const run = this.#take(event.payload.taskId, 'failed');
        const isLast = run.stop === 'deadline' || run.fatal || run.attempt >= run.facts.maxAttempts;
        assert.equal(event.payload.final, isLast, `T4: final of ${run.task.id}`);
        run.expect = isLast ? 'buried' : 'retried';
        return;
      }
      case 'task:retried':
        return this.#retried(event.payload.taskId, event.payload.delayMs);
      case 'task:buried':
        return this.#buried(event.payload.taskId);
      case 'task:cancelled':
        return this.#cancelled(event.payload.taskId);
      case 'task:skipped':
        assert.equal(
          this.#task(event.payload.taskId).state,
          'skipped',
          `T4: ${event.payload.taskId} is skipped`,
        );
        return;
      case 'task:released':
        return this.#released(event.payload.taskId);
      case 'task:readied': {
        // One whose delay and deadline are over at the same time is reported as both.
        const task = this.#task(event.payload.taskId);
        assert.ok(!hasEnded(task) || task.endedAt === this.now, `T4: ${task.id} has ended`);
        return;
      }
      case 'task:abandoned':
        assert.ok(this.#run(event.payload.taskId).graceAt <= this.now, 'T10: abandoned after its grace');
        this.abandoned.push(event.payload.taskId);
        this.seen.abandoned = true;
        return;
      case 'claim:refused':
      case 'listener:failed':
      case 'strategy:failed':
      case 'system:error':
      case 'task:preempted':
        assert.fail(`${event.name} ${JSON.stringify(payload)}`);
    }
  };

  #assigned({ taskId, agentId, attempt }: { taskId: string; agentId: string; attempt: number }): void {
    const task = this.#task(taskId);
    const agent = this.agents.get(agentId);
    assert.ok(agent !== undefined && !agent.draining, `T3: ${taskId} went to ${agentId}, who takes nothing`);
    const stolen = this.runs.get(taskId);
    if (stolen !== undefined) {
      assert.equal(stolen.phase, 'queued', `T3: ${taskId} has a live run`);
      stolen.agent = agentId;
      stolen.boot = agent.boot;
      return;
    }
    const facts = this.#factsOf(taskId);
    assert.equal(task.state, 'ready', `T3: ${taskId} was ready when it was assigned`);
    assert.ok(task.due <= this.now, `T8: ${taskId} not before its time`);
    assert.notEqual(this.tasks.settings.get(task.queue)?.paused, true, 'paused');
    if (task.agent === undefined) {
      assert.ok(!agent.implicit && mayTake(agent, task, facts), `${agentId} may run ${taskId}`);
      this.#checkTurn(task);
    } else {
      assert.equal(agentId, task.agent, `${taskId} is pinned`);
      assert.ok(mayHave(agent, task, facts), `${agentId} may have ${taskId}, which is only for it`);
    }
    this.#tokens += 1;
    this.tasks.claim(task, 1, this.#tokens, task.agent === undefined);
    assert.equal(attempt, task.attempt, `T5: attempts of ${taskId}`);
    this.runs.set(taskId, {
      task,
      facts,
      attempt,
      agent: agentId,
      boot: agent.boot,
      external: agent.external,
      phase: 'queued',
      stop: undefined,
      timeoutAt: Number.POSITIVE_INFINITY,
      deadlineAt: task.aliveSince + (task.deadlineMs ?? Number.POSITIVE_INFINITY),
      graceAt: Number.POSITIVE_INFINITY,
      expect: undefined,
      moveTo: undefined,
      fatal: false,
      moves: 0,
    });
  }

  /** T7: among tasks that anybody who may run one may run, the first in rank goes first. */
  #checkTurn(task: ModelTask): void {
    if (this.#factsOf(task.id).exclude !== undefined) return;
    const rivals = this.tasks.tasks.filter(
      (other) =>
        other.state === 'ready' &&
        other.queue === task.queue &&
        other.agent === undefined &&
        !this.#justUnpinned.has(other) &&
        this.#factsOf(other.id).exclude === undefined &&
        other.capabilities.join() === task.capabilities.join(),
    );
    for (const other of rivals) {
      const isFirst =
        rankOf(task) < rankOf(other) || (rankOf(task) === rankOf(other) && task.arrival <= other.arrival);
      assert.ok(isFirst, `T7: ${task.id} overtook ${other.id}`);
    }
  }

  #started(id: string, agentId: string): void {
    const run = this.#run(id);
    const agent = this.agents.get(agentId);
    assert.equal(run.phase, 'queued', `W1: ${id} started once for its claim`);
    assert.equal(run.agent, agentId, `${id} starts where it was assigned`);
    assert.ok(agent !== undefined, `${agentId} is there`);
    run.phase = 'running';
    run.external = agent.external;
    run.task.started = true;
    if (run.facts.timeoutMs !== undefined) run.timeoutAt = this.now + run.facts.timeoutMs;
  }

  #retried(id: string, delayMs: number): void {
    const run = this.#take(id, 'retried');
    assert.equal(delayMs, run.facts.retryMs, `delay of ${id}`);
    this.seen.retried = true;
    this.runs.delete(id);
    this.tasks.giveBack(run.task, delayMs, false);
    // Moved while it was told to stop for another reason.
    if (run.moveTo !== undefined && !this.gone.has(run.moveTo)) run.task.agent = run.moveTo;
    if (run.task.agent !== undefined && this.gone.has(run.task.agent)) this.#unpin(run.task.agent);
  }

  #buried(id: string): void {
    if (this.runs.has(id)) {
      this.#take(id, 'buried');
      this.#end(id, (task) => this.tasks.bury(task));
    } else assert.equal(this.#task(id).state, 'dead', `T4: ${id} is dead`);
  }

  #cancelled(id: string): void {
    if (this.runs.has(id)) {
      this.#take(id, 'cancelled');
      this.#end(id, (task) => this.tasks.cancelObeyed(task));
    } else {
      assert.equal(this.#task(id).state, 'cancelled', `T4: ${id} is cancelled`);
      if (this.#task(id).unmet) this.seen.cascaded = true;
    }
  }

  #released(id: string): void {
    const run = this.runs.get(id);
    // One that nobody would take, or whose cancellation was told otherwise, was never announced.
    if (run === undefined) return;
    this.#take(id, 'released');
    this.runs.delete(id);
    this.tasks.giveBack(run.task, 0, true);
    const { only } = run.facts;
    if (run.moveTo !== undefined && (only || !this.gone.has(run.moveTo))) run.task.agent = run.moveTo;
    else if (!only) {
      run.task.agent = undefined;
      if (run.moveTo !== undefined) this.#justUnpinned.add(run.task);
    }
  }

  /** The run of this event, which has to be expected. */
  #take(id: string, what: Expected): RunModel {
    const run = this.#run(id);
    assert.equal(what, run.expect, `T4: ${id} ${what}, stopped by ${run.stop}`);
    run.expect = undefined;
    return run;
  }

  #end(id: string, end: (task: ModelTask) => void): void {
    this.runs.delete(id);
    const task = this.#task(id);
    end(task);
    this.tasks.drain();
    assert.equal(task.terminal, 1, `T4: ${id} ends once`);
  }

  #task(id: string): ModelTask {
    const task = this.tasks.find(id);
    assert.ok(task !== undefined, `${id} is known`);
    return task;
  }

  #run(id: string): RunModel {
    const run = this.runs.get(id);
    assert.ok(run !== undefined, `T3: ${id} has a run`);
    return run;
  }

  #factsOf(id: string): TaskFacts {
    return this.facts.get(id) as TaskFacts;
  }

  // ── what has to hold when everything has been done that can be done now ──

  /** @param napping ids of runs that have lent their slot out */
  atRest(napping: ReadonlySet<string>): void {
    this.#justUnpinned.clear();
    for (const run of this.runs.values()) {
      assert.equal(run.expect, undefined, `${run.task.id} should have ${run.expect} by now`);
    }
    const holders = [...this.runs.values()].filter(
      (run) => run.phase === 'running' && !napping.has(run.task.id),
    );
    const free = GLOBAL_SLOTS - holders.length;
    assert.ok(free >= 0, 'T10: never more running than slots over all agents');
    for (const agent of this.agents.values()) {
      const taken = holders.filter((run) => run.boot === agent.boot).length;
      assert.ok(taken <= agent.slots, `T10: never more running than slots of ${agent.id}`);
      const hasSlot = free > 0 && taken < agent.slots;
      const queued = this.runsOf(agent.id, 'queued').length;
      if (hasSlot)
        assert.equal(queued, 0, `liveness: ${agent.id} has a slot for what waits in its run queue`);
      for (const task of this.tasks.tasks) {
        if (task.state !== 'ready' || this.tasks.settings.get(task.queue)?.paused === true) continue;
        if (agent.draining) continue;
        const facts = this.#factsOf(task.id);
        if (task.agent === agent.id)
          assert.ok(!mayHave(agent, task, facts), `liveness: ${task.id} belongs to ${agent.id}`);
        const isForIt = task.agent === undefined && !agent.implicit && mayTake(agent, task, facts);
        assert.ok(!hasSlot || queued > 0 || !isForIt, `liveness: ${agent.id} has a slot for ${task.id}`);
      }
    }
  }
}

export function mayTake(agent: AgentModel, task: ModelTask, facts: TaskFacts): boolean {
  return (
    !agent.draining &&
    facts.exclude !== agent.id &&
    task.capabilities.every((name) => agent.capabilities.includes(name))
  );
}

/** Whether a task that is pinned to this agent may go to it: by name any, one that is only for it if it does such tasks. */
function mayHave(agent: AgentModel, task: ModelTask, facts: TaskFacts): boolean {
  return !facts.only || agent.implicit || mayTake(agent, task, facts);
}

export const FAILURE_POLICIES: readonly FailurePolicy[] = ['cancel', 'skip', 'wait', 'continue'];
