import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import type { WaitSource } from '../core/waits.ts';
import type { FailureReport } from './callback-failures.ts';
import { findDeadlocks } from './find-deadlock.ts';
import type { OpenDeadlocks } from './open-deadlocks.ts';
import { edgesToPublish } from './published-waits.ts';
import { findStuck, type StuckNode } from './reduce.ts';
import { isEmpty, isRemote, isWaiting, viewOf } from './wait-sources.ts';

/** First look this long after a wait began, then again while somebody waits, ms. */
const FIRST_LOOK_MS = 200;
const NEXT_LOOK_MS = 500;
/** What others published has to be seen twice. */
const DOUBTFUL_LOOK_MS = 260;
/** From the end of a published wait until the others are told; again after the other time when that didn't arrive. */
const WITHDRAW_MS = 20;
const WITHDRAW_AGAIN_MS = 500;
/** More rounds than this for one look mean that sources contradict themselves. */
const MAX_ROUNDS = 1_000;
const NOBODY: ReadonlySet<string> = new Set();

export interface FarLooksParts {
  readonly clock: Clock;
  readonly sources: () => readonly WaitSource[];
  readonly open: OpenDeadlocks;
  /** False: nobody's wait is ended. */
  readonly endsWaits: boolean;
  /** Ends one wait of a deadlock. False: none of it can be ended. */
  readonly break: (members: readonly StuckNode[], sources: readonly WaitSource[]) => Awaitable<boolean>;
  readonly failed: FailureReport;
}

/**
 * Deadlocks through a store across a network: takes pictures of it while somebody here waits, and tells the other processes what waits here
 * that their stores don't know of.
 */
export class FarLooks {
  readonly #parts: FarLooksParts;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  /** Nodes whose waits the others were told of. */
  #published: ReadonlySet<string> = NOBODY;
  #withdrawal: Timer | undefined;
  #looking = false;
  #stopped = false;

  constructor(parts: FarLooksParts) {
    this.#parts = parts;
  }

  /** A node has begun to wait. */
  entered(node: string): void {
    this.changed(node);
    this.#look(FIRST_LOOK_MS);
  }

  /** What a node waits for has changed: the others are told soon, if they were told before. */
  changed(node: string): void {
    if (this.#published.has(node)) this.#withdrawIn(WITHDRAW_MS);
  }

  /** Looks now. */
  look(): void {
    this.#look(0);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#withdrawal?.cancel();
  }

  #withdrawIn(ms: number): void {
    if (this.#withdrawal !== undefined || this.#stopped) return;
    const { clock, failed } = this.#parts;
    this.#withdrawal = clock.after(ms, () => {
      this.#withdrawal = undefined;
      void this.#publish().catch((error: unknown) => failed('Publishing waits', error));
    });
  }

  #look(inMs: number): void {
    if (this.#looking || this.#stopped) return;
    const { clock, failed, sources } = this.#parts;
    const at = clock.mono() + inMs;
    if (this.#timer !== undefined && at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = clock.after(inMs, () => {
      this.#timer = undefined;
      this.#looking = true;
      void this.#lookAround()
        .catch((error: unknown) => {
          failed('Looking for deadlocks', error);
          return false;
        })
        .then((isDoubtful) => {
          this.#looking = false;
          if (sources().some((source) => isRemote(source) && !isEmpty(source.waiting())))
            this.#look(isDoubtful ? DOUBTFUL_LOOK_MS : NEXT_LOOK_MS);
        });
    });
  }

  /**
   * Takes a picture, ends a wait, and looks again until a picture shows nothing that could be ended.
   * @returns whether something in the last picture can't be believed yet
   */
  async #lookAround(): Promise<boolean> {
    const { open, sources } = this.#parts;
    for (let round = 0; round < MAX_ROUNDS && !this.#stopped; round++) {
      const roots = new Set(sources().flatMap((source) => [...source.waiting()]));
      if (roots.size === 0) break;
      await this.#publish();
      const pictures = await Promise.all(sources().map((source) => source.picture?.(undefined) ?? source));
      const isDoubtful = pictures.some((picture) => picture.isDoubtful === true);
      open.check((node) => isWaiting(pictures, node));
      const stuck = findStuck(roots, viewOf(pictures));
      if (stuck.size === 0 || !this.#parts.endsWaits) return isDoubtful;
      const broken = await Promise.all(
        findDeadlocks(stuck).map((members) => this.#parts.break(members, pictures)),
      );
      if (broken.length === 0 || !broken.includes(true)) return isDoubtful;
    }
    return false;
  }

  /** Tells the other processes what waits here that their stores don't know of. */
  async #publish(): Promise<void> {
    const sources = this.#parts.sources();
    const store = sources.find((source) => source.publish !== undefined);
    if (store === undefined) return;
    const edges = edgesToPublish(sources.filter((source) => source !== store));
    this.#published = new Set(edges.map(({ waiter }) => waiter));
    // A wait that has ended and isn't withdrawn would make victims of others who wait for the same node.
    if ((await store.publish?.(edges)) === false) this.#withdrawIn(WITHDRAW_AGAIN_MS);
  }
}
