import { handled } from '../core/awaitable.ts';
import { toStoredError } from '../core/errors.ts';
import { HANDING_OVER, type Operations } from '../core/operations.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { ClaimAnswer, ClaimRequest, TaskStore } from '../core/ports/tasks.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { Rest } from '../core/rest.ts';
import { type Peer, stealFrom } from './peers.ts';

/** How often a process looks at the others, ms: at first, and after a while in which they had nothing to spare. Their beats tell, which come no more often. */
const LOOK_MS = 1_000;
const LONGEST_LOOK_MS = 20_000;
/** A task moves so often at most while it hasn't begun (W3). */
const MAX_MOVES = 3;

export interface FleetStealingDeps {
  readonly runtime: Runtime;
  readonly store: TaskStore;
  readonly operations: () => Operations;
  /** The other processes; absent: nobody else sees the store. */
  readonly peers: (() => Awaitable<readonly Peer[]>) | undefined;
  /** What was stolen is to be placed here. */
  readonly take: (answer: ClaimAnswer) => void;
}

/**
 * Takes claimed tasks that haven't begun from the process that has the most of them, when there are free slots here and nothing is ready. The
 * thief gets a newer token, so the former owner's start fails: no task is started twice (W1).
 */
export class FleetStealing {
  readonly #deps: FleetStealingDeps;
  readonly #rest: Rest;
  #nextAt = 0;
  #isUnderWay = false;

  constructor(deps: FleetStealingDeps) {
    this.#deps = deps;
    const random = deps.runtime.random.fork('stealing between processes');
    this.#rest = new Rest({ firstMs: LOOK_MS, mostMs: LONGEST_LOOK_MS, random });
  }

  /** There is work again: when it is over, the others may have some left. */
  fed(): void {
    this.#rest.reset();
  }

  /** Nothing was ready for this request. */
  starved(request: ClaimRequest): void {
    const { peers, runtime } = this.#deps;
    const now = runtime.clock.mono();
    if (peers === undefined || this.#isUnderWay || now < this.#nextAt || request.offers.length === 0) return;
    this.#nextAt = now + this.#rest.next();
    this.#isUnderWay = true;
    handled(
      this.#steal(peers, request)
        .catch((error: unknown) => {
          const { code, message } = toStoredError(error);
          runtime.logger.debug('Could not look for work elsewhere', { code, message });
        })
        .finally(() => {
          this.#isUnderWay = false;
        }),
    );
  }

  async #steal(peers: () => Awaitable<readonly Peer[]>, request: ClaimRequest): Promise<void> {
    const { operations, store, take } = this.#deps;
    const source = stealFrom(await peers(), request.limit);
    if (source === undefined) return;
    const { offers, agents } = request;
    const theft = {
      from: { idle: source.session },
      match: { offers, agents },
      limit: source.count,
      maxMoves: MAX_MOVES,
      steal: 'another process had free slots',
    };
    const answer = await operations().run((op) => store.takeover(op, theft), HANDING_OVER);
    if (answer.claims.length > 0) this.#rest.reset();
    take({ ...answer, more: false });
  }
}
