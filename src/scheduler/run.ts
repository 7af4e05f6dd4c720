import type { CoordinationError } from '../core/errors.ts';
import type { Lease } from '../core/lock-types.ts';
import type { Timer } from '../core/ports/runtime.ts';
import type { Claim, SettleResult } from '../core/ports/tasks.ts';
import type { Agent } from './agent.ts';
import { settingsOf, type TaskSettings } from './settings.ts';
import type { LocalHandle } from './task-handle.ts';

/** Why a run was told to stop; decides how it is settled once its handler is done. */
export type StopCause =
  | 'timeout'
  | 'deadline'
  | 'cancel'
  | 'preempt'
  | 'agent-left'
  | 'shutdown-abort'
  | 'shutdown-release'
  | 'taken';

/**
 * Where one attempt stands. `locking`: claimed, waits for its locks, holds no slot. `queued`: waits in its agent's run queue. `parked`:
 * no agent would take it. `running`: holds a slot. `awaiting`: its handler waits for children, the slot is lent out. `resuming`: wants
 * the slot back. `ending`: its outcome is decided and not yet stored; a handler that outlived its grace may still run (T10).
 */
export type Phase =
  | 'locking'
  | 'parked'
  | 'queued'
  | 'running'
  | 'awaiting'
  | 'resuming'
  | 'ending'
  | 'ended';

/** One attempt of one task in this process: from the claim to the settlement. */
export class Run {
  readonly claim: Claim;
  readonly settings: TaskSettings;
  readonly handle: LocalHandle | undefined;
  phase: Phase = 'parked';
  agent: Agent | undefined = undefined;
  /** Whether the store knows it as started. */
  started: boolean;
  /** Local moves by stealing. */
  moves = 0;
  startedAt = 0;
  /** Since when it is in this phase, mono ms; for `why`. */
  since = 0;
  timer: Timer | undefined = undefined;
  graceTimer: Timer | undefined = undefined;
  stopCause: StopCause | undefined = undefined;
  stopError: CoordinationError | undefined = undefined;
  controller: AbortController | undefined = undefined;
  lease: Lease | undefined = undefined;
  /** What its handler waits for now without its slot (children, replies, sleep), and how to end each wait with an error. */
  waits: Map<string, (error: Error) => void> | undefined = undefined;
  /** Continues the handler once the slot is back. */
  resume: (() => void) | undefined = undefined;
  /** When its deadline is, mono ms. */
  deadlineAt: number | undefined = undefined;
  /** Whoever waits for the settlement of an external task to be stored. */
  onSettled: ((result: SettleResult | undefined) => void) | undefined = undefined;
  progress: { readonly ratio?: number; readonly note?: string } | undefined = undefined;
  /** When its handler was done, mono ms. */
  endedAt = 0;
  /** What its handler threw, for `cause`; dropped with the run. */
  thrown: unknown = undefined;
  preemptedBy: string | undefined = undefined;
  /** From ready to start, ms. */
  queuedMs = 0;
  /** Its slot was given away while its handler still ran. */
  zombie = false;
  /** Whether it used locks or requests through its context, so that leftovers are looked for. */
  usedParts = false;
  previous: Run | undefined = undefined;
  next: Run | undefined = undefined;

  /** When it was claimed, mono ms, and how long it had been ready by then. */
  readonly claimedAt: number;
  readonly readyForMs: number;

  /** @param at backend time of the claim, µs; `now` the same moment as mono ms */
  constructor(claim: Claim, handle: LocalHandle | undefined, now: number, at: number) {
    this.claim = claim;
    this.claimedAt = now;
    this.readyForMs = Math.max(0, (at - claim.readyAt) / 1_000);
    this.settings = settingsOf(claim.body);
    this.handle = handle;
    this.started = claim.started;
    this.since = now;
    if (handle !== undefined) handle.run = this;
  }

  get id(): string {
    return this.claim.task;
  }

  get holdsSlot(): boolean {
    return this.phase === 'running';
  }

  /** Created when somebody looks: aborting one costs 5 µs, making one 0.3. */
  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.stopError !== undefined) this.controller.abort(this.stopError);
    }
    return this.controller.signal;
  }
}
