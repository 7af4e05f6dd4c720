import { andThen, isPromise } from '../core/awaitable.ts';
import { CoordinationError } from '../core/errors.ts';
import type { EventSink } from '../core/events.ts';
import { HANDING_OVER, type Operations } from '../core/operations.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Claim, TaskStore } from '../core/ports/tasks.ts';
import { type ClaimedAt, Run, type RunHome } from './agent.ts';
import { reportFailure } from './report-failure.ts';
import { giveBack, settleFailure } from './settlement.ts';
import type { Settler } from './settler.ts';
import { LocalHandle } from './task-handle.ts';

/** Claims taken over in one call. */
const BATCH = 500;

export interface RecoveryDeps {
  readonly runtime: Runtime;
  readonly events: EventSink;
  readonly store: TaskStore;
  readonly operations: () => Operations;
  readonly settler: Settler;
  readonly home: RunHome;
  /** Most items of one call to a store across a network; absent: it is in this process. */
  readonly farBatch: number | undefined;
}

/**
 * Takes the claims of sessions that have ended without giving them back (T6), and gives them back: a task that crashed too often is buried
 * as `POISON`, any other may be claimed again, its attempt uncounted (T5). What this very process runs, whose session had lapsed, goes on
 * under the new claim, and what it has completed, which the store hasn't heard yet, is stored under that.
 */
export class Recovery {
  readonly #deps: RecoveryDeps;
  #isUnderWay = false;

  constructor(deps: RecoveryDeps) {
    this.#deps = deps;
  }

  /** Some sessions have ended with claims. */
  recover(): void {
    if (this.#isUnderWay) return;
    this.#isUnderWay = true;
    const { store, operations } = this.#deps;
    const limit = this.#most;
    const request = {
      from: 'dead',
      match: 'any',
      limit,
      maxMoves: Infinity,
      steal: 'its session ended',
    } as const;
    try {
      const taken = andThen(
        operations().run((op) => store.takeover(op, request), HANDING_OVER),
        ({ at, claims }) => this.#take(claims, at),
      );
      if (isPromise(taken)) taken.catch((error: unknown) => this.#failed(error));
    } catch (error) {
      this.#failed(error);
    }
  }

  #take(claims: readonly Claim[], at: ClaimedAt['at']): void {
    this.#isUnderWay = false;
    const { runtime, home } = this.#deps;
    const claimed = { mono: runtime.clock.mono(), at, home };
    for (const claim of claims) this.#resume(claim, claimed);
    if (claims.length === this.#most) this.recover();
  }

  get #most(): number {
    return Math.min(BATCH, this.#deps.farBatch ?? BATCH);
  }

  #resume(claim: Claim, claimed: ClaimedAt): void {
    const { home, settler } = this.#deps;
    const handle = claim.local instanceof LocalHandle ? claim.local : undefined;
    const former = handle?.run;
    if (former !== undefined && settler.renew(former, claim)) return;
    if (former?.claimed.home === home && claim.poison !== true && isAdoptable(former)) {
      former.claim = claim;
      // Its handler may have met the loss of the former claim already.
      former.extras.orphaned = true;
      return;
    }
    if (former !== undefined) {
      former.claimed.home.drop(former, TAKEN);
      former.claimed.home.stop(former, 'taken', TAKEN);
    }
    const run = new Run(claim, handle, claimed);
    run.phase = 'ending';
    settler.add(run, claim.poison === true ? buried(run) : giveBack(claim, TAKEN));
  }

  /** The next sweep tells of them again. */
  #failed(error: unknown): void {
    this.#isUnderWay = false;
    reportFailure(this.#deps, 'Could not take over tasks', error);
  }
}

/**
 * Whether a run of this process can go on under another claim: not where the former one is on its way to the store, as a start or a failure,
 * and not where an external agent answers with it.
 */
function isAdoptable({ phase, started, agent }: Run): boolean {
  if (phase === 'ending' || agent?.external === true) return false;
  return started || phase !== 'running';
}

const TAKEN = 'its session had ended';

function buried(run: Run): ReturnType<typeof settleFailure> {
  const { claim } = run;
  const message = `Task ${claim.task} was running ${claim.crashes} times when its process ended`;
  const error = new CoordinationError('SESSION_EXPIRED', message, {
    hint: 'Look for what ends the process, then redrive it; or raise `maxCrashes`.',
    retryable: false,
  });
  run.extras.thrown = error;
  return settleFailure(claim, error, 'bury', 'POISON');
}
