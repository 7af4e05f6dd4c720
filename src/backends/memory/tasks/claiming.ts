import type { Claim, ClaimRequest } from '../../../core/ports/tasks.ts';
import type { SessionNumber } from '../../../core/ports/words.ts';
import type { Lane } from './lane.ts';
import { MemoryClaim } from './memory-claim.ts';
import { Offers } from './offers.ts';
import { isBefore, type Pool } from './pool.ts';
import type { Holder, Moment } from './row.ts';
import type { TaskTable } from './table.ts';
import type { TaskQueue } from './task-queue.ts';

/** A queue as this claim visits it. */
interface Visit {
  readonly queue: TaskQueue;
  /** How many more it may give by offers. */
  left: number;
  readonly pools: PoolChoice;
}

/** Claims for one session: by offers, one from each queue in turn, the best by rank in each; then what is pinned to its agents. */
export class Claiming {
  readonly #table: TaskTable;
  readonly #request: ClaimRequest;
  readonly #now: Moment;
  readonly #session: SessionNumber;
  #holder: Holder | undefined = undefined;
  readonly claims: Claim[] = [];
  /** Another call might find more. */
  more = false;

  constructor(table: TaskTable, session: SessionNumber, request: ClaimRequest, now: Moment) {
    this.#table = table;
    this.#session = session;
    this.#request = request;
    this.#now = now;
  }

  run(): void {
    const queues = this.#queues();
    if (queues.length === 0) return;
    const request = this.#request;
    if (request.limit > 0 && request.offers.length > 0) this.#byOffers(queues);
    if (request.assigned > 0 && request.agents.length > 0) this.#byAgents(queues);
  }

  /** Those with something, in the order of their turn. */
  #queues(): readonly { readonly queue: TaskQueue; readonly limit: number }[] {
    const { ready, queues: known } = this.#table;
    const found: { readonly queue: TaskQueue; readonly limit: number }[] = [];
    const named = this.#request.queues;
    if (named === undefined) {
      for (const queue of ready.all) if (queue.isOpen) found.push({ queue, limit: Number.POSITIVE_INFINITY });
    } else {
      for (const { queue: name, limit } of named) {
        const queue = known.get(name);
        if (queue !== undefined && queue.slot >= 0 && queue.isOpen) found.push({ queue, limit });
      }
    }
    if (found.length < 2) return found;
    const begin = ready.begin(found.length);
    return begin === 0 ? found : [...found.slice(begin), ...found.slice(0, begin)];
  }

  #byOffers(queues: readonly { readonly queue: TaskQueue; readonly limit: number }[]): void {
    const { limit, start, offers: offered } = this.#request;
    const offers = new Offers(this.#table.kinds, offered);
    const visits: Visit[] = [];
    for (const { queue, limit: left } of queues) {
      const pools = poolsFor(queue, offers);
      if (pools.length > 0) visits.push({ queue, left, pools: new PoolChoice(pools, queue.isCoupled) });
    }
    let at = 0;
    let taken = 0;
    while (visits.length > 0 && taken < limit && offers.left > 0) {
      if (at >= visits.length) at = 0;
      const visit = visits[at] as Visit;
      const pool = visit.left > 0 && visit.queue.isOpen ? visit.pools.best(offers) : undefined;
      if (pool === undefined) {
        visits.splice(at, 1);
        continue;
      }
      offers.take(pool);
      visit.left -= 1;
      this.#take(visit.queue, pool, taken < start);
      taken += 1;
      at += 1;
    }
    this.more = queues.some(({ queue }) => queue.isOpen && poolsFor(queue, offers).length > 0);
  }

  /** Own tasks of the agents hosted here. Few agents have any, so those are looked at and not all that are hosted. */
  #byAgents(queues: readonly { readonly queue: TaskQueue }[]): void {
    let left = this.#request.assigned;
    for (const { queue } of queues) {
      if (queue.pinned.size === 0) continue;
      for (const pool of this.#hostedPools(queue)) {
        while (left > 0 && queue.isOpen && pool.first !== undefined) {
          this.#take(queue, pool, false);
          left -= 1;
        }
        if (pool.first !== undefined && queue.isOpen) this.more = true;
      }
    }
  }

  #hostedPools(queue: TaskQueue): readonly Pool[] {
    const { agents } = this.#request;
    const pools: Pool[] = [];
    if (agents.length <= queue.pinned.size) {
      for (const agent of agents) {
        const pool = queue.pinned.get(agent);
        if (pool !== undefined) pools.push(pool);
      }
    } else {
      const hosted = queue.pinned.size > 8 ? new Set(agents) : undefined;
      for (const [agent, pool] of queue.pinned) {
        if (hosted === undefined ? agents.includes(agent) : hosted.has(agent)) pools.push(pool);
      }
    }
    return pools;
  }

  #take(queue: TaskQueue, pool: Pool, started: boolean): void {
    this.#holder ??= this.#table.holder(this.#session);
    const row = queue.take(pool);
    this.#table.claim(row, this.#holder, started, this.#now);
    this.claims.push(new MemoryClaim(row, started, false));
  }
}

/** Pools of a queue that some offer can serve. */
function poolsFor(queue: TaskQueue, { kinds }: Offers): Pool[] {
  const [only] = kinds;
  if (only === undefined) return [];
  if (kinds.length === 1) return queue.view(only).map(({ pool }) => pool);
  const pools = new Set<Pool>();
  for (const kind of kinds) for (const { pool } of queue.view(kind)) pools.add(pool);
  return [...pools];
}

/**
 * The pools a claim may take from, the one with the next task first: a heap, so that with many pools a task doesn't cost a look at each.
 * Where pools depend on each other (groups with shares or limits) a look at each it is.
 */
class PoolChoice {
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
    for (let first = pools[0]; first !== undefined; first = pools[0]) {
      if (first.first !== undefined) {
        if (pools.length > 1) {
          this.#down(0);
          first = pools[0] as Pool;
        }
        if (offers.hasFor(first)) return first;
      }
      const last = pools.pop() as Pool;
      if (pools.length === 0) return undefined;
      pools[0] = last;
      this.#down(0);
    }
    return undefined;
  }

  #bestOfAll(offers: Offers): Pool | undefined {
    let found: Pool | undefined;
    for (const pool of this.#pools) {
      if (pool.first === undefined || (found !== undefined && !isBefore(pool.first, found.first as Lane))) continue;
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
