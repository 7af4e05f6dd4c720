import { andThen, isPromise } from '../core/awaitable.ts';
import { toStoredError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import { HANDING_OVER, type Operations } from '../core/operations.ts';
import type { Runtime, Timer } from '../core/ports/runtime.ts';
import type { ClaimAnswer, ClaimRequest, TaskStore } from '../core/ports/tasks.ts';
import type { AgentRegistry } from './agent-registry.ts';
import type { AheadRuns } from './ahead-runs.ts';
import type { BarredKinds } from './barred-kinds.ts';
import { reportFailure } from './report-failure.ts';
import type { Slots } from './slots.ts';

/** Most tasks of one claim from a store of this process; after so many the application gets its turn. */
export const CLAIMS_A_TURN = 512;
/** Assigned tasks that may wait in run queues, over all agents. */
const MAX_ASSIGNED = 10_000;
/** Claimed tasks that wait for their locks; beyond, no more are claimed. */
const MAX_LOCKING = 1_000;
/** A claim that failed is tried again after this. */
const CLAIM_AGAIN_MS = 1_000;

export interface ClaimsParts {
  readonly runtime: Runtime;
  readonly events: EventSink;
  readonly store: TaskStore;
  readonly operations: () => Operations;
  readonly agents: AgentRegistry;
  readonly slots: Slots;
  readonly barred: BarredKinds;
  /** Where tasks wait that were claimed before there was a slot; absent: nothing is claimed ahead. */
  readonly ahead: AheadRuns | undefined;
  /** Most tasks of one claim from a store across a network; absent: it is in this process. */
  readonly farBatch: number | undefined;
  /** Claimed runs that wait for their locks. */
  readonly locking: { readonly size: number };
  /** There is room, and nothing was ready. */
  readonly starved: (request: ClaimRequest) => void;
  /** Something was. */
  readonly fed: () => void;
  /** No slot is free, yet something may be more urgent than what runs. */
  readonly considerPreemption: (() => void) | undefined;
  /** What was claimed is to be placed. */
  readonly take: (answer: ClaimAnswer) => void;
  /** Looks again. */
  readonly wake: () => void;
  readonly isStopped: () => boolean;
}

/** Asks the store for as many ready tasks as there is room for, one claim at a time. */
export class Claims {
  readonly #parts: ClaimsParts;
  #isUnderWay = false;
  /** Something became claimable while a claim was on its way. */
  #again = false;
  /** Cancelled while their claims may be on their way, by id, with the reason. */
  readonly #cancelled = new Map<string, string>();
  #quiet: (() => void)[] = [];
  /** The last claim was for fewer than there may be. */
  #cutShort = false;
  /** Most of one claim, after a larger one was refused. */
  #cap = Number.POSITIVE_INFINITY;
  /** Asks again after a failure. */
  #repeat: Timer | undefined;

  constructor(parts: ClaimsParts) {
    this.#parts = parts;
  }

  /** Whether asking again may find more, though no more room has come. */
  get cutShort(): boolean {
    return this.#cutShort;
  }

  /** Resolves when no claim is on its way. */
  untilQuiet(): Promise<void> {
    return this.#isUnderWay ? new Promise((resolve) => this.#quiet.push(resolve)) : Promise.resolve();
  }

  /** A cancellation was requested of a run that isn't known here: its claim may be on its way. */
  cancelOnArrival(taskId: string, reason: string): void {
    if (this.#isUnderWay) this.#cancelled.set(taskId, reason);
  }

  /** Why a task that arrives now was cancelled on its way, if it was. */
  cancelledOnTheWay(taskId: string): string | undefined {
    // Looking a fresh id up in an empty table takes as long as placing the task.
    return this.#cancelled.size === 0 ? undefined : this.#cancelled.get(taskId);
  }

  ask(): void {
    if (this.#isUnderWay) {
      this.#again = true;
      return;
    }
    const request = this.#request();
    if (request === undefined) return;
    const { operations, store } = this.#parts;
    this.#isUnderWay = true;
    try {
      const answer = store.quick?.claim(operations().session, request);
      if (answer === undefined) this.#askFar(request);
      else this.#arrive(answer);
    } catch (error) {
      this.#failed(error);
    }
  }

  #askFar(request: ClaimRequest): void {
    const { operations, store, runtime, ahead } = this.#parts;
    const sentAt = runtime.clock.mono();
    const answer = andThen(
      operations().run((op) => store.claim(op, request), HANDING_OVER),
      (claimed) => {
        this.#cap *= 2;
        ahead?.answered(sentAt);
        this.#arrive(claimed);
        if (claimed.claims.length === 0) this.#parts.starved(request);
        else this.#parts.fed();
      },
    );
    if (isPromise(answer)) answer.catch((error: unknown) => this.#failed(error, request.limit));
  }

  #arrive(answer: ClaimAnswer): void {
    this.#isUnderWay = false;
    this.took(answer);
    this.#parts.take(answer);
    this.#answered();
  }

  /** Claims came, by whatever way. */
  took(answer: ClaimAnswer): void {
    if (answer.more || this.#parts.locking.size > 0) this.#cutShort = true;
  }

  #answered(): void {
    if (this.#cancelled.size > 0) this.#cancelled.clear();
    if (this.#quiet.length > 0) for (const wake of this.#quiet.splice(0)) wake();
    if (!this.#again) return;
    this.#again = false;
    this.#parts.wake();
  }

  #request(): ClaimRequest | undefined {
    const { agents, considerPreemption, slots, locking, barred } = this.#parts;
    const free = Math.min(slots.free, agents.freeSlots, MAX_LOCKING - locking.size);
    const assigned = agents.hosted.length === 0 ? 0 : Math.max(0, MAX_ASSIGNED - agents.queuedTotal);
    const ahead = this.#roomAhead();
    const limit = Math.max(0, Math.min(free + ahead, this.#most));
    this.#cutShort = limit === 0;
    if (limit === 0) considerPreemption?.();
    if (limit === 0 && assigned === 0) return undefined;
    const request = {
      offers: limit === 0 ? [] : agents.offers(ahead),
      agents: agents.hosted,
      assigned,
      limit,
      start: this.#toStart(free, limit),
    };
    return barred.size === 0 || limit === 0 ? request : { ...request, without: barred.kinds };
  }

  get #most(): number {
    return Math.min(this.#cap, this.#parts.farBatch ?? CLAIMS_A_TURN);
  }

  /** Of a claim, what will begin at once, or so soon that it may count as begun. */
  #toStart(free: number, limit: number): number {
    const { ahead } = this.#parts;
    return ahead === undefined ? limit : Math.min(limit, free + ahead.soon);
  }

  /** How many more may be claimed than there are free slots; negative: so many of those are spoken for already. */
  #roomAhead(): number {
    const { ahead, agents } = this.#parts;
    if (ahead === undefined) return 0;
    return agents.areAlike ? ahead.room : -ahead.size;
  }

  /** @param limit of the claim */
  #failed(error: unknown, limit = 0): void {
    this.#isUnderWay = false;
    this.#answered();
    const { code } = toStoredError(error);
    // Agents may come before the mesh is started; it asks then.
    if (code === 'NOT_STARTED') return;
    const { runtime, isStopped, wake } = this.#parts;
    // What the store refuses as a whole it may give in parts.
    if (code === 'NOT_SUPPORTED' && limit > 1) {
      this.#cap = Math.floor(limit / 2);
      return wake();
    }
    reportFailure(this.#parts, 'Could not claim tasks', error);
    if (isStopped() || code === 'STOPPED') return;
    this.#repeat?.cancel();
    this.#repeat = runtime.clock.after(CLAIM_AGAIN_MS, wake);
  }
}
