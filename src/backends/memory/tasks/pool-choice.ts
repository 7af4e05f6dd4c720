import type { Lane } from './lane.ts';
import type { Offers } from './offers.ts';
import { isBefore, type Pool } from './pool.ts';

/**
 * The pools a claim may take from, the one with the next task first: a heap, so that with many pools a task doesn't cost a look at each.
 * Where pools depend on each other (groups with shares or limits) a look at each it is.
 */
export class PoolChoice {
  readonly #pools: Pool[];
  readonly #isCoupled: boolean;

  constructor(pools: Pool[], isCoupled: boolean) {
    this.#pools = pools;
    this.#isCoupled = isCoupled;
    if (!isCoupled) for (let i = (pools.length >> 1) - 1; i >= 0; i--) this.#down(i);
  }

  /** The pool with the next task that some offer still has a slot for. Asked again once its first task has been taken. */
  best(offers: Offers): Pool | undefined {
    if (this.#isCoupled) return this.#bestOfAll(offers);
    const pools = this.#pools;
    while (pools.length > 0) {
      if (pools.length > 1) this.#down(0);
      const first = pools[0] as Pool;
      if (first.first !== undefined && offers.hasFor(first)) return first;
      const last = pools.pop() as Pool;
      if (pools.length > 0) pools[0] = last;
    }
    return undefined;
  }

  #bestOfAll(offers: Offers): Pool | undefined {
    let found: Pool | undefined;
    for (const pool of this.#pools) {
      if (pool.first === undefined || (found !== undefined && !isBefore(pool.first, found.first as Lane)))
        continue;
      if (offers.hasFor(pool)) found = pool;
    }
    return found;
  }

  #down(from: number): void {
    const pools = this.#pools;
    const pool = pools[from] as Pool;
    const half = pools.length >> 1;
    let i = from;
    while (i < half) {
      let below = 2 * i + 1;
      if (below + 1 < pools.length && isNext(pools[below + 1] as Pool, pools[below] as Pool)) below += 1;
      const child = pools[below] as Pool;
      if (!isNext(child, pool)) break;
      pools[i] = child;
      i = below;
    }
    pools[i] = pool;
  }
}

/** Whether the next task of `a` comes before that of `b`; a pool without one is last. */
function isNext(a: Pool, b: Pool): boolean {
  if (a.first === undefined) return false;
  return b.first === undefined || isBefore(a.first, b.first);
}
