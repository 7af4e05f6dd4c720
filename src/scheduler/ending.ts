import { type EventSink, wanting } from '../core/events.ts';
import type { StoredError } from '../core/errors.ts';
import type { Consequences, Ended, Settlement, SettleResult } from '../core/ports/tasks.ts';
import type { Run } from './agent.ts';
import { cancelled, completed, dead, type Outcome, reviveError, skipped } from './outcome.ts';
import { LocalHandle } from './task-handle.ts';

export interface EndingDeps {
  readonly events: EventSink;
  /** A task may be claimable: look. */
  readonly wake: () => void;
  /** A task that was there before is ready now: it wants a slot. */
  readonly readied: (taskId: string) => void;
  /** A delay or an unfinished cascade: the chores are due in this time. `hold`: somebody waits for it. */
  readonly due: (inMs: number, hold: boolean) => void;
  /** An attempt ended: for statistics and strategies. */
  readonly observe: (run: Run, ok: boolean, durationMs: number) => void;
  /** A task ended here or elsewhere; whoever waits for idleness looks again. */
  readonly ended: () => void;
  /** The store ended a task whose claimed run hasn't begun. */
  readonly drop: (run: Run, reason: string) => void;
  /** A task went back to the queue, pinned to an agent that may have left. */
  readonly stranded: (agentId: string) => void;
}

/** Tells handles, listeners and statistics what the store says has become of tasks. */
export class Ending {
  readonly #deps: EndingDeps;
  readonly #wantsCompleted: () => boolean;
  /** Late answers that were refused (T4). */
  staleClaims = 0;

  constructor(deps: EndingDeps) {
    this.#deps = deps;
    this.#wantsCompleted = wanting(deps.events, 'task:completed');
  }

  /** The end of an attempt was stored, or refused. @param endedAt when its handler was done, mono ms */
  settled(run: Run, settlement: Settlement, result: SettleResult, endedAt: number): void {
    run.phase = 'ended';
    run.facts.onSettled?.(result);
    if (run.handle?.run === run) run.handle.run = undefined;
    if (result.status !== 'settled') {
      this.#refused(run, result);
      return;
    }
    const { completedWith } = run.facts;
    if (completedWith !== undefined && result.state === 'completed') {
      // However its handler ended after that.
      this.#completed(run, completedWith.result, endedAt);
      this.#deps.ended();
      return;
    }
    switch (settlement.as) {
      case 'complete':
        this.#completed(run, settlement.result, endedAt);
        break;
      case 'retry':
        if (result.state === 'cancelled') this.#cancelled(run, 'cancelled while it ran');
        else {
          this.#retried(run, settlement, endedAt);
          this.#findStranded(run.claim.body.agent);
          this.#rememberDeadline(run, endedAt);
        }
        break;
      case 'bury':
        this.#buried(run, settlement, endedAt);
        break;
      case 'cancel':
        this.#cancelled(run, settlement.reason);
        break;
      case 'release':
        if (result.state === 'cancelled') this.#cancelled(run, 'cancelled while it ran');
        else {
          this.#released(run, settlement);
          this.#findStranded(settlement.toAgent === undefined ? run.claim.body.agent : settlement.toAgent);
          this.#rememberDeadline(run, endedAt);
        }
    }
    this.#deps.ended();
  }

  /** What a call set in motion beside its own items. */
  consequences({ readied, ended, more, opened }: Omit<Consequences, 'at'>): void {
    const { events } = this.#deps;
    if (readied.length > 0) {
      for (const { task, queue } of readied) {
        if (events.wants('task:readied')) events.emit('task:readied', { taskId: task, queue });
        this.#deps.readied(task);
      }
      this.#deps.wake();
    }
    for (const one of ended) this.ended(one);
    if (ended.length > 0) this.#deps.ended();
    if (opened) this.#deps.wake();
    if (more) this.#deps.due(0, true);
  }

  /** A task ended by something else than an attempt of its own. */
  ended(task: Ended): void {
    const handle = task.local instanceof LocalHandle ? task.local : undefined;
    if (handle?.outcome !== undefined) return;
    if (handle?.run !== undefined) this.#deps.drop(handle.run, task.reason);
    const { events } = this.#deps;
    const { task: taskId, reason, queue } = task;
    let outcome: Outcome;
    if (task.state === 'skipped') {
      outcome = skipped(taskId, reason);
      if (events.wants('task:skipped')) events.emit('task:skipped', { taskId, reason });
    } else if (task.state === 'cancelled') {
      outcome = cancelled(taskId, reason);
      if (events.wants('task:cancelled')) events.emit('task:cancelled', { taskId, reason });
    } else {
      outcome = dead(taskId, 0, reason, undefined);
      if (events.wants('task:buried'))
        events.emit('task:buried', { taskId, queue, reason, signature: reason });
    }
    handle?.settle(outcome);
  }

  /** Whom it is pinned to may have left while it ran, here or stolen by another: nobody would ever claim it again. */
  #findStranded(agent: string | null | undefined): void {
    if (typeof agent === 'string') this.#deps.stranded(agent);
  }

  /** The deadline is the store's again, which may have passed while the task ran. */
  #rememberDeadline({ facts }: Run, endedAt: number): void {
    if (facts.deadlineAt !== undefined) this.#deps.due(Math.max(0, facts.deadlineAt - endedAt), false);
  }

  #refused(run: Run, result: SettleResult): void {
    this.staleClaims += 1;
    const current = result.status === 'stale' ? result.token : 0;
    this.#deps.events.emit('claim:refused', { taskId: run.id, token: run.claim.token, current });
  }

  #completed(run: Run, value: unknown, endedAt: number): void {
    const { events } = this.#deps;
    const { body } = run.claim;
    const durationMs = durationOf(run, endedAt);
    const agentId = run.agent?.id ?? '';
    this.#deps.observe(run, true, durationMs);
    if (this.#wantsCompleted()) {
      events.emit('task:completed', {
        taskId: run.id,
        agentId,
        queue: body.queue,
        type: body.type,
        attempt: run.claim.attempt,
        queuedMs: run.queuedMs,
        durationMs,
        result: value,
      });
    }
    run.handle?.settle(completed(value));
  }

  #retried(run: Run, settlement: Extract<Settlement, { as: 'retry' }>, endedAt: number): void {
    this.#failedAttempt(run, settlement.error as StoredError, false, endedAt);
    const { events } = this.#deps;
    const { delayMs } = settlement;
    if (events.wants('task:retried')) {
      events.emit('task:retried', { taskId: run.id, attempt: run.claim.attempt, delayMs });
    }
    if (delayMs > 0) this.#deps.due(delayMs, true);
    else this.#backAtOnce(run);
  }

  #buried(run: Run, settlement: Extract<Settlement, { as: 'bury' }>, endedAt: number): void {
    const error = settlement.error as StoredError;
    const { reason, signature } = settlement;
    // Its time may have been over before it began.
    if (reason !== 'DEADLINE' || run.startedAt >= 0) this.#failedAttempt(run, error, true, endedAt);
    const { events } = this.#deps;
    if (events.wants('task:buried')) {
      events.emit('task:buried', { taskId: run.id, queue: run.claim.body.queue, reason, signature });
    }
    run.handle?.settle(dead(run.id, run.claim.attempt, reason, run.facts.thrown ?? reviveError(error)));
  }

  #failedAttempt(run: Run, error: StoredError, final: boolean, endedAt: number): void {
    const { events } = this.#deps;
    const durationMs = durationOf(run, endedAt);
    const agentId = run.agent?.id ?? '';
    if (run.startedAt >= 0) this.#deps.observe(run, false, durationMs);
    if (run.agent !== undefined && events.wants('agent:error'))
      events.emit('agent:error', { agentId, taskId: run.id, message: error.message });
    if (!events.wants('task:failed')) return;
    const { attempt } = run.claim;
    const { code, message } = error;
    events.emit('task:failed', { taskId: run.id, agentId, attempt, final, code, message, durationMs });
  }

  #backAtOnce(run: Run): void {
    this.#deps.readied(run.id);
    this.#deps.wake();
  }

  #cancelled(run: Run, reason: string): void {
    const { events } = this.#deps;
    if (events.wants('task:cancelled')) events.emit('task:cancelled', { taskId: run.id, reason });
    run.handle?.settle(cancelled(run.id, reason));
  }

  #released(run: Run, settlement: Extract<Settlement, { as: 'release' }>): void {
    const { events } = this.#deps;
    const { reason, delayMs } = settlement;
    const agentId = run.agent?.id ?? '';
    if (run.facts.stopCause === 'preempt') {
      if (events.wants('task:preempted'))
        events.emit('task:preempted', { taskId: run.id, agentId, by: run.facts.preemptedBy ?? '' });
    } else if (events.wants('task:released'))
      events.emit('task:released', { taskId: run.id, agentId, reason });
    if (delayMs > 0) this.#deps.due(delayMs, true);
    else this.#backAtOnce(run);
  }
}

/** From the call of its handler to its end, ms; 0 when it never began. */
function durationOf({ startedAt }: Run, endedAt: number): number {
  return startedAt < 0 ? 0 : Math.max(0, endedAt - startedAt);
}
