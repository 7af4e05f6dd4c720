import type { Claim, ClaimRequest, Offer, TaskKind } from '../../../core/ports/tasks.ts';
import type { SessionNumber } from '../../../core/ports/words.ts';
import { MemoryClaim } from './memory-claim.ts';
import { Offers } from './offers.ts';
import type { Listing, Pool } from './pool.ts';
import { PoolChoice } from './pool-choice.ts';
import type { Holder, Moment } from './row.ts';
import type { TaskTable } from './table.ts';
import type { TaskQueue } from './task-queue.ts';

/** A queue as this claim visits it. */
interface Visit {
  readonly queue: TaskQueue;
  /** How many more it may give by offers. */
  left: number;
}

/** Claims for one session: by offers, one from each queue in turn, the best by rank in each; then what is pinned to its agents. */
export class Claiming {
  readonly #table: TaskTable;
  readonly #request: ClaimRequest;
  readonly #now: Moment;
  readonly #session: SessionNumber;
  /** Pools that are not to be taken from; `undefined`: from all. */
  readonly #without: ReadonlySet<string> | undefined;
  #holder: Holder | undefined = undefined;
  claims: Claim[] | undefined = undefined;
  /** Another call might find more. */
  more = false;

  constructor(table: TaskTable, session: SessionNumber, request: ClaimRequest, now: Moment) {
    this.#table = table;
    this.#session = session;
    this.#request = request;
    this.#now = now;
    const { without } = request;
    this.#without = without === undefined || without.length === 0 ? undefined : new Set(without.map(keyOf));
  }

  run(): void {
    const { limit, offers, assigned, agents, queues: named } = this.#request;
    const { all: filled } = this.#table.ready;
    const [queue] = filled;
    if (queue === undefined) return;
    const isPlain = named === undefined && this.#without === undefined;
    if (filled.length === 1 && offers.length === 1 && isPlain && queue.pinned.size === 0) {
      if (queue.isOpen && this.#fromOnly(queue, offers[0] as Offer)) return;
    }
    const visits = named === undefined ? this.#openQueues() : this.#namedQueues(named);
    if (limit > 0 && offers.length > 0) this.#byOffers(visits);
    if (assigned > 0 && agents.length > 0) this.#byAgents(visits);
  }

  /** One queue, one offer, one pool: nothing to choose and nothing to count. False when it isn't so. */
  #fromOnly(queue: TaskQueue, offer: Offer): boolean {
    const view = queue.view(this.#table.kinds.of(offer));
    if (view.length !== 1) return view.length === 0;
    const { pool } = view[0] as Listing;
    const { limit, start } = this.#request;
    const most = Math.min(limit, offer.slots);
    for (let taken = 0; taken < most && pool.first !== undefined && queue.isOpen; taken++) {
      this.#take(queue, pool, taken < start);
    }
    this.more = limit > 0 && pool.first !== undefined && queue.isOpen;
    return true;
  }

  #openQueues(): readonly Visit[] {
    const visits: Visit[] = [];
    for (const queue of this.#table.ready.all) {
      if (queue.isOpen) visits.push({ queue, left: Number.POSITIVE_INFINITY });
    }
    return this.#inTurn(visits);
  }

  #namedQueues(named: NonNullable<ClaimRequest['queues']>): readonly Visit[] {
    const visits: Visit[] = [];
    for (const { queue: name, limit: left } of named) {
      const queue = this.#table.queues.get(name);
      if (queue !== undefined && queue.slot >= 0 && queue.isOpen) visits.push({ queue, left });
    }
    return this.#inTurn(visits);
  }

  /** Another one is the first each time, so that claims of one task serve all. */
  #inTurn(visits: readonly Visit[]): readonly Visit[] {
    if (visits.length < 2) return visits;
    const begin = this.#table.ready.begin(visits.length);
    return begin === 0 ? visits : [...visits.slice(begin), ...visits.slice(0, begin)];
  }

  #byOffers(visits: readonly Visit[]): void {
    const offers = new Offers(this.#table.kinds, this.#request.offers);
    if (visits.length === 0 || offers.left === 0) return;
    this.#fromMany(visits, offers);
    this.more = visits.some(({ queue }) => queue.isOpen && this.#hasFor(queue, offers));
  }

  #fromMany(visits: readonly Visit[], offers: Offers): void {
    const { limit, start } = this.#request;
    const round = visits.map((visit) => ({
      visit,
      pools: new PoolChoice(this.#poolsFor(visit.queue, offers), visit.queue.isCoupled),
    }));
    let at = 0;
    let taken = 0;
    while (taken < limit && offers.left > 0) {
      if (at >= round.length) at = 0;
      const one = round[at];
      if (one === undefined) return;
      const { visit, pools } = one;
      const pool = visit.left > 0 && visit.queue.isOpen ? pools.best(offers) : undefined;
      if (pool === undefined) {
        round.splice(at, 1);
        continue;
      }
      offers.take(pool);
      visit.left -= 1;
      this.#take(visit.queue, pool, taken < start);
      taken += 1;
      at += 1;
    }
  }

  /** Pools of a queue that some offer is for. */
  #poolsFor(queue: TaskQueue, offers: Offers): Pool[] {
    const pools = poolsFor(queue, offers);
    return this.#without === undefined ? pools : pools.filter((pool) => this.#wants(pool));
  }

  #hasFor(queue: TaskQueue, offers: Offers): boolean {
    return this.#without === undefined ? hasFor(queue, offers) : this.#poolsFor(queue, offers).length > 0;
  }

  #wants({ type, capabilities, placement }: Pool): boolean {
    if (placement === undefined) return true;
    return this.#without?.has(keyOf({ type, capabilities: capabilities.names, placement })) !== true;
  }

  /** Own tasks of the agents hosted here. Few agents have any, so those are looked at and not all that are hosted. */
  #byAgents(visits: readonly Visit[]): void {
    let left = this.#request.assigned;
    for (const { queue } of visits) {
      if (queue.pinned.size === 0) continue;
      for (const pool of this.#hostedPools(queue)) {
        for (; left > 0 && queue.isOpen && pool.first !== undefined; left--) this.#take(queue, pool, false);
        if (pool.first !== undefined && queue.isOpen) this.more = true;
      }
    }
  }

  #hostedPools({ pinned }: TaskQueue): readonly Pool[] {
    const { agents } = this.#request;
    if (agents.length <= pinned.size) return agents.flatMap((agent) => pinned.get(agent) ?? []);
    const hosted = pinned.size > 8 ? new Set(agents) : undefined;
    const pools: Pool[] = [];
    for (const [agent, pool] of pinned) {
      if (hosted === undefined ? agents.includes(agent) : hosted.has(agent)) pools.push(pool);
    }
    return pools;
  }

  #take(queue: TaskQueue, pool: Pool, started: boolean): void {
    this.#holder ??= this.#table.holders.of(this.#session);
    const row = queue.take(pool);
    this.#table.claim(row, this.#holder, started, this.#now);
    const claim = new MemoryClaim(row, started, false);
    // Of exact length for one: a first push would make room for 17.
    if (this.claims === undefined) this.claims = [claim];
    else this.claims.push(claim);
  }
}

/** Pools of a queue that some offer can serve. */
function poolsFor(queue: TaskQueue, { kinds }: Offers): Pool[] {
  const [only] = kinds;
  if (only === undefined) return [];
  const pools: Pool[] = [];
  if (kinds.length === 1) {
    for (const { pool } of queue.view(only)) pools.push(pool);
    return pools;
  }
  const seen = new Set<Pool>();
  for (const kind of kinds) for (const { pool } of queue.view(kind)) seen.add(pool);
  return [...seen];
}

function hasFor(queue: TaskQueue, { kinds }: Offers): boolean {
  for (const kind of kinds) if (queue.view(kind).length > 0) return true;
  return false;
}

function keyOf({ type, capabilities, placement }: TaskKind): string {
  return JSON.stringify([type, placement, ...capabilities]);
}
