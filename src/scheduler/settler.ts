import { andThen, isPromise } from '../core/awaitable.ts';
import { type CoordinationError, isCoordinationError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import { Batches } from '../core/batches.ts';
import { roughBytes } from '../core/json.ts';
import { ENDLESS, type Operations } from '../core/operations.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type {
  Claim,
  Consequences,
  SettleAnswer,
  Settlement,
  SettleResult,
  TaskStore,
} from '../core/ports/tasks.ts';
import type { Run } from './agent.ts';
import { reportFailure } from './report-failure.ts';
import { settleRefused } from './settlement.ts';

const MAX_BATCH = 1_000;
/** Calls to a store across a network that may be under way: the order of ends means nothing. */
const FLIGHTS = 2;
/** After so many refusals of single ends, and nothing stored, the rest of their batch isn't tried: the store takes none. */
const MAX_REFUSED = 8;
/** Never changed: what comes first makes a list of its own. */
const NO_RUNS: Run[] = [];
const NO_SETTLEMENTS: Settlement[] = [];

export interface SettlerHooks {
  /** What became of a settlement, once stored. @param endedAt when its handler was done, mono ms */
  settled(run: Run, settlement: Settlement, result: SettleResult, endedAt: number): void;
  /** Children made ready or ended along with it. */
  consequences(answer: Consequences): void;
}

/** The end of an attempt on its way to a store across a network. */
interface End {
  readonly run: Run;
  readonly settlement: Settlement;
  readonly endedAt: number;
}

/** A batch that was refused and is sent in parts. */
interface Parts {
  /** Some of it was stored. */
  stored: boolean;
  /** Parts that could not be made smaller, and were refused. */
  refused: number;
}

/**
 * Collects the ends of attempts and stores them in batches: everything that ends in one turn of the microtask queue shares one call,
 * so that a promise and an operation are paid for a batch and not for a task. To a store across a network go {@link Batches}.
 */
export class Settler {
  readonly #store: TaskStore;
  readonly #operations: () => Operations;
  readonly #hooks: SettlerHooks;
  readonly #events: EventSink;
  readonly #runtime: Runtime;
  #runs: Run[] = NO_RUNS;
  #settlements: Settlement[] = NO_SETTLEMENTS;
  #scheduled = false;
  #flying = 0;
  #waiters: (() => void)[] = [];
  readonly #far: Batches<End> | undefined;
  /** Runs that are over and done, which a store across a network hasn't said yet. */
  readonly #completing = new Set<Run>();
  /** Calls to it that aren't answered, the oldest first. */
  readonly #unanswered = new Set<{ readonly since: number }>();

  constructor(parts: {
    readonly store: TaskStore;
    /** Most settlements of one call to a store across a network; absent: it is in this process. */
    readonly farBatch: number | undefined;
    readonly operations: () => Operations;
    readonly hooks: SettlerHooks;
    readonly events: EventSink;
    readonly runtime: Runtime;
  }) {
    this.#store = parts.store;
    this.#operations = parts.operations;
    this.#hooks = parts.hooks;
    this.#events = parts.events;
    this.#runtime = parts.runtime;
    const { farBatch: maxBatch } = parts;
    if (maxBatch === undefined) return;
    const send = (ends: readonly End[]): Promise<void> => this.#sendTimed(ends);
    this.#far = new Batches({
      clock: parts.runtime.clock,
      maxBatch,
      bytesOf: bytesOfEnd,
      maxFlights: FLIGHTS,
      send,
    });
  }

  add(run: Run, settlement: Settlement): void {
    if (this.#far !== undefined) {
      if (settlement.as === 'complete') this.#completing.add(run);
      return this.#far.add({ run, settlement, endedAt: this.#runtime.clock.mono() });
    }
    // Of exact length for one: a first push would make room for 17.
    if (this.#runs.length === 0) {
      this.#runs = [run];
      this.#settlements = [settlement];
    } else {
      this.#runs.push(run);
      this.#settlements.push(settlement);
    }
    if (this.#runs.length >= MAX_BATCH) this.flush();
    else if (!this.#scheduled) {
      this.#scheduled = true;
      queueMicrotask(this.#turn);
    }
  }

  /**
   * The session was lost and its claims are this process's again: a completion that is on its way is stored under the new one. False: there
   * is none.
   */
  renew(run: Run, claim: Claim): boolean {
    if (!this.#completing.has(run)) return false;
    run.claim = claim;
    return true;
  }

  readonly #turn = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  /** Stores what has been collected. */
  flush(): void {
    this.#far?.flush();
    const runs = this.#runs;
    const settlements = this.#settlements;
    if (runs.length === 0) return;
    this.#runs = NO_RUNS;
    this.#settlements = NO_SETTLEMENTS;
    this.#flying += 1;
    // Handlers that were done in one turn ended at the same time as far as anybody can tell: one look at the clock for all.
    const endedAt = this.#runtime.clock.mono();
    try {
      const { quick } = this.#store;
      if (quick === undefined) this.#settleFar(runs, settlements, endedAt);
      else this.#apply(runs, settlements, quick.settle(settlements), endedAt);
    } catch (error) {
      this.#failed(runs, error);
    }
  }

  #settleFar(runs: readonly Run[], settlements: readonly Settlement[], endedAt: number): void {
    const answer = andThen(
      this.#operations().run((op) => this.#store.settle(op, settlements)),
      (stored) => this.#apply(runs, settlements, stored, endedAt),
    );
    if (isPromise(answer)) answer.catch((error: unknown) => this.#failed(runs, error));
  }

  /** For how long the oldest end waits to be stored, ms; 0 when none does. */
  overdueMs(): number {
    const [oldest] = this.#unanswered;
    return oldest === undefined ? 0 : this.#runtime.clock.mono() - oldest.since;
  }

  async #sendTimed(ends: readonly End[]): Promise<void> {
    const call = { since: this.#runtime.clock.mono() };
    this.#unanswered.add(call);
    await this.#sendFar(ends);
    this.#unanswered.delete(call);
  }

  /** While the store is away an end waits for it: nobody else knows of it. */
  async #sendFar(ends: readonly End[], parts?: Parts): Promise<void> {
    const settlements = ends.map(({ settlement }) => settlement);
    try {
      const answer = await this.#operations().run((op) => this.#store.settle(op, settlements), ENDLESS);
      ends.forEach((end, i) => this.#land(end, answer.results[i] as SettleResult));
      this.#followUp(answer);
      if (parts !== undefined) parts.stored = true;
    } catch (error) {
      const more = isCoordinationError(error, 'NOT_SUPPORTED') ? inParts(ends, error) : [];
      if (more.length === 0) this.#giveUp(ends, error, parts);
      else await this.#sendParts(more, error, parts ?? { stored: false, refused: 0 });
    }
  }

  #land(end: End, result: SettleResult): void {
    const { run, settlement, endedAt } = end;
    // It was sent under the claim of a session that is over by now.
    const isOutdated = result.status === 'stale' && settlement.claim !== run.claim;
    if (isOutdated && this.#completing.has(run))
      return this.#far?.add({ ...end, settlement: { ...settlement, claim: run.claim } });
    this.#completing.delete(run);
    this.#tell(run, settlement, result, endedAt);
  }

  /** What the store refuses as a whole it may take in part: one end that can't be stored must not keep its neighbours' from being. */
  async #sendParts(batches: readonly (readonly End[])[], error: unknown, parts: Parts): Promise<void> {
    for (const ends of batches) {
      if (parts.stored || parts.refused < MAX_REFUSED) await this.#sendFar(ends, parts);
      else this.#giveUp(ends, error, parts);
    }
  }

  #giveUp(ends: readonly End[], error: unknown, parts: Parts | undefined): void {
    if (parts !== undefined) parts.refused += 1;
    this.#lose(
      ends.map(({ run }) => run),
      error,
    );
  }

  /** Resolves when nothing is left to store. */
  untilIdle(): Promise<void> {
    if (this.#far !== undefined) return this.#far.untilIdle();
    if (this.#runs.length === 0 && this.#flying === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  #apply(
    runs: readonly Run[],
    settlements: readonly Settlement[],
    answer: SettleAnswer,
    endedAt: number,
  ): void {
    for (let i = 0; i < runs.length; i++)
      this.#tell(runs[i] as Run, settlements[i] as Settlement, answer.results[i] as SettleResult, endedAt);
    this.#followUp(answer);
    this.#landed();
  }

  /** The ends are stored, whatever becomes of this. */
  #followUp(answer: SettleAnswer): void {
    try {
      this.#hooks.consequences(answer);
    } catch (error) {
      this.#report('Could not follow up on how tasks ended', error, answer.results.length);
    }
  }

  #tell(run: Run, settlement: Settlement, result: SettleResult, endedAt: number): void {
    try {
      this.#hooks.settled(run, settlement, result, endedAt);
    } catch (error) {
      // What was thrown by one task must not keep its neighbours from hearing of their ends.
      this.#report('Could not tell how a task ended', error, 1);
    }
  }

  /** The store could not be reached: the claims stay ours until the lease ends, then somebody takes them over (at least once). */
  #failed(runs: readonly Run[], error: unknown): void {
    this.#lose(runs, error);
    this.#landed();
  }

  #lose(runs: readonly Run[], error: unknown): void {
    this.#report('Could not store how tasks ended', error, runs.length);
    for (const run of runs) {
      this.#completing.delete(run);
      // Whoever waits for its result asks the store from now on.
      if (run.handle?.run === run) run.handle.run = undefined;
      run.facts.onSettled?.(undefined, error);
    }
  }

  #report(what: string, error: unknown, tasks: number): void {
    reportFailure({ runtime: this.#runtime, events: this.#events }, what, error, { tasks });
  }

  #landed(): void {
    this.#flying -= 1;
    if (this.#flying > 0 || this.#runs.length > 0 || this.#waiters.length === 0) return;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}

/** What to try when a store refuses these ends for good: two halves, of a single one the refusal as its end; nothing when that was it. */
function inParts(ends: readonly End[], refusal: CoordinationError): readonly (readonly End[])[] {
  const middle = Math.ceil(ends.length / 2);
  if (middle < ends.length) return [ends.slice(0, middle), ends.slice(middle)];
  return ends.flatMap((end) => {
    const settlement = settleRefused(end.settlement, refusal);
    return settlement === undefined ? [] : [[{ ...end, settlement }]];
  });
}

function bytesOfEnd({ settlement }: End): number {
  if (settlement.as === 'complete') return roughBytes(settlement.result);
  return settlement.as === 'retry' || settlement.as === 'bury' ? roughBytes(settlement.error) : 0;
}
