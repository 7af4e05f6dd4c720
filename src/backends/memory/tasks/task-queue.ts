import type { QueueSettings, TaskBody } from '../../../core/ports/tasks.ts';
import type { BackendTime } from '../../../core/ports/words.ts';
import type { Group, Lane } from './lane.ts';
import type { NameSets } from './name-set.ts';
import type { OfferKind } from './offers.ts';
import { type Listing, Pool, type PoolOwner } from './pool.ts';
import { CLAIMED, READY, type RowQueue, SCHEDULED, type TaskRow, WAITING } from './row.ts';

export const DEFAULT_SETTINGS: QueueSettings = { paused: false, ageStepMs: 10_000 };

/** Beyond 23 days a priority point the rank would lose its µs; by then order is strict anyway. */
const MAX_STEP_US = 2e12;
const MIN_SHARE = 1e-9;
const MAX_VIEWS = 256;

/** Hears when a queue has something for somebody, and when it has nothing. */
export interface QueueOwner {
  filled(queue: TaskQueue): void;
  emptied(queue: TaskQueue): void;
}

/**
 * One queue: its counters, its settings, and its ready tasks in pools. A claimer sees the pools of its capabilities through a view that
 * is kept up to date by the pools themselves when they fill, so pools that match nobody cost a claim nothing.
 */
export class TaskQueue implements RowQueue, PoolOwner {
  readonly name: string;
  settings: QueueSettings = DEFAULT_SETTINGS;
  revision = 0;
  readonly states: Float64Array = new Float64Array(8);
  readonly totals: Record<'enqueued' | 'pruned' | 'attempts' | 'staleSettles' | 'duplicates', number> = {
    enqueued: 0,
    pruned: 0,
    attempts: 0,
    staleSettles: 0,
    duplicates: 0,
  };
  readyWeight = 0;
  /** Place among the queues that have something, −1: has nothing. */
  slot = -1;
  /** Agents' pools that have something. */
  readonly pinned: Map<string, Pool> = new Map();
  readonly #owner: QueueOwner;
  readonly #sets: NameSets;
  /** By type, then capabilities and placement. */
  readonly #pools = new Map<string, Map<string, Pool>>();
  readonly #agents = new Map<string, Pool>();
  readonly #views = new Map<OfferKind, Listing[]>();
  #last: Pool | undefined = undefined;
  readonly #groups = new Map<string, Group>();
  readonly #ungrouped: Group = newGroup(undefined, 0);
  #filled = 0;
  #step = DEFAULT_SETTINGS.ageStepMs * 1_000;
  #maxRunning = Number.POSITIVE_INFINITY;
  #groupLimit = Number.POSITIVE_INFINITY;
  #isFair = false;
  /** Turn of the group served last: one that was idle starts from here, not from its past. */
  #turn = 0;
  /** Groups and pools, and how many of them are looked through for spent ones. */
  #known = 0;
  #purgeAt = 64;

  constructor(name: string, owner: QueueOwner, sets: NameSets) {
    this.name = name;
    this.#owner = owner;
    this.#sets = sets;
  }

  /** Whether taking from one pool may change which task of another is next. */
  get isCoupled(): boolean {
    return this.#isFair || this.#groupLimit < Number.POSITIVE_INFINITY;
  }

  /** Whether a claim may take anything now. */
  get isOpen(): boolean {
    return !this.settings.paused && (this.states[CLAIMED] as number) < this.#maxRunning;
  }

  /** Tasks that have not ended. */
  get length(): number {
    const { states } = this;
    return (
      (states[WAITING] as number) +
      (states[SCHEDULED] as number) +
      (states[READY] as number) +
      (states[CLAIMED] as number)
    );
  }

  /** Among the rows at the head of each lane, when the first became ready. */
  get oldestReadyAt(): BackendTime | undefined {
    let oldest: BackendTime | undefined;
    for (const lane of this.lanes()) {
      const at = lane.peek()?.readied?.at;
      if (at !== undefined && (oldest === undefined || at < oldest)) oldest = at;
    }
    return oldest;
  }

  add(row: TaskRow): void {
    const { task } = row;
    const group = task.group === undefined ? this.#ungrouped : this.#groupOf(task.group);
    if (this.#isFair && group.ready === 0) group.turn = Math.max(group.turn, this.#turn);
    group.ready += 1;
    this.readyWeight += task.weight;
    const pool = task.agent === undefined ? this.#poolOf(task) : this.#poolOfAgent(task.agent);
    pool.add(row, group, this.#step);
  }

  remove(row: TaskRow): void {
    const { group } = row.task;
    (group === undefined ? this.#ungrouped : this.#groupOf(group)).ready -= 1;
    row.lane?.remove(row);
    this.#weigh(row);
  }

  /** Takes the next row of a pool for a claim. */
  take(pool: Pool): TaskRow {
    const { group } = pool.first as Lane;
    const row = pool.shift();
    group.ready -= 1;
    group.running += 1;
    this.#weigh(row);
    if (this.#isFair) this.#serve(group);
    if (group.running >= this.#groupLimit && group !== this.#ungrouped) this.#park(group);
    return row;
  }

  unclaimed(row: TaskRow): boolean {
    const { group: name } = row.task;
    const group = name === undefined ? this.#ungrouped : this.#groupOf(name);
    group.running -= 1;
    const unparked = group.parked && group.running < this.#groupLimit;
    if (unparked) this.#unpark(group);
    if (this.#filled === 0) return false;
    return unparked || (this.states[CLAIMED] as number) === this.#maxRunning;
  }

  /** Pools with something for whoever offers these capabilities. */
  view(offered: OfferKind): readonly Listing[] {
    const view = this.#views.get(offered) ?? this.#newView(offered);
    for (let i = view.length - 1; i >= 0; i--) {
      const listing = view[i] as Listing;
      if (listing.pool.first !== undefined) continue;
      listing.listed = false;
      const last = view.pop() as Listing;
      if (last !== listing) view[i] = last;
    }
    return view;
  }

  /** Every lane, empty ones and those of parked groups included. */
  *lanes(): Generator<Lane> {
    yield* this.#ungrouped.lanes;
    for (const group of this.#groups.values()) yield* group.lanes;
  }

  configure(settings: QueueSettings): void {
    const stepBefore = this.#step;
    this.settings = settings;
    this.revision += 1;
    this.#step = Math.min(settings.ageStepMs * 1_000, MAX_STEP_US);
    this.#maxRunning = settings.maxRunning ?? Number.POSITIVE_INFINITY;
    this.#groupLimit = settings.maxRunningPerGroup ?? Number.POSITIVE_INFINITY;
    this.#isFair = Object.keys(settings.groupWeights ?? {}).length > 0;
    this.#turn = 0;
    if (this.#step !== stepBefore) {
      for (const pool of this.#openPools()) pool.renewLanes();
      for (const pool of this.#agents.values()) pool.renewLanes();
    }
    this.#applyToGroup(this.#ungrouped);
    for (const group of this.#groups.values()) this.#applyToGroup(group);
  }

  filled(pool: Pool): void {
    if (pool.agent === undefined) {
      for (const listing of pool.listings) {
        if (listing.listed) continue;
        listing.listed = true;
        listing.list.push(listing);
      }
    } else this.pinned.set(pool.agent, pool);
    this.#filled += 1;
    if (this.#filled === 1) this.#owner.filled(this);
  }

  emptied(pool: Pool): void {
    if (pool.agent !== undefined) this.pinned.delete(pool.agent);
    this.#filled -= 1;
    if (this.#filled === 0) this.#owner.emptied(this);
  }

  #weigh(row: TaskRow): void {
    // At 0 ready rows what is left of the sum is rounding.
    this.readyWeight = (this.states[READY] as number) <= 1 ? 0 : this.readyWeight - row.task.weight;
  }

  #poolOf({ type, capabilities: names, placement }: TaskBody): Pool {
    const capabilities = this.#sets.of(names);
    const last = this.#last;
    if (last?.type === type && last.capabilities === capabilities && last.placement === placement)
      return last;
    let byNeed = this.#pools.get(type);
    // Names hold no control characters, so the keys of different needs differ.
    const key = placement === undefined ? capabilities.key : `${capabilities.key}\u0000${placement}`;
    let pool = byNeed?.get(key);
    if (pool === undefined) {
      this.#purge();
      pool = new Pool(this, type, capabilities, undefined, placement);
      byNeed = this.#pools.get(type) ?? new Map();
      byNeed.set(key, pool);
      this.#pools.set(type, byNeed);
      this.#known += 1;
      for (const [offered, view] of this.#views) list(pool, offered, view);
    }
    this.#last = pool;
    return pool;
  }

  #poolOfAgent(agent: string): Pool {
    let pool = this.#agents.get(agent);
    if (pool === undefined) {
      this.#purge();
      pool = new Pool(this, '', this.#sets.none, agent, undefined);
      this.#agents.set(agent, pool);
      this.#known += 1;
    }
    return pool;
  }

  *#openPools(): Generator<Pool> {
    for (const byCapabilities of this.#pools.values()) yield* byCapabilities.values();
  }

  #newView(offered: OfferKind): Listing[] {
    if (this.#views.size >= MAX_VIEWS) this.#dropViews();
    const view: Listing[] = [];
    this.#views.set(offered, view);
    for (const pool of this.#openPools()) list(pool, offered, view);
    return view;
  }

  #dropViews(): void {
    this.#views.clear();
    for (const pool of this.#openPools()) pool.listings.length = 0;
  }

  #groupOf(name: string): Group {
    let group = this.#groups.get(name);
    if (group === undefined) {
      this.#purge();
      group = newGroup(name, this.#turn);
      group.share = shareOf(this.settings, name);
      this.#groups.set(name, group);
      this.#known += 1;
    }
    return group;
  }

  #serve(group: Group): void {
    this.#turn = group.turn;
    group.turn += 1 / group.share;
    for (const lane of group.lanes) lane.owner.changed(lane);
  }

  #park(group: Group): void {
    group.parked = true;
    for (const lane of group.lanes) (lane.owner as Pool).park(lane);
  }

  #unpark(group: Group): void {
    group.parked = false;
    for (const lane of group.lanes) lane.owner.changed(lane);
  }

  #applyToGroup(group: Group): void {
    group.share = shareOf(this.settings, group.name);
    group.turn = 0;
    if (group !== this.#ungrouped && group.running >= this.#groupLimit) this.#park(group);
    else this.#unpark(group);
  }

  /** Forgets groups, agents, types and capability sets without tasks, once as many came as were left the last time. */
  #purge(): void {
    if (this.#known < this.#purgeAt) return;
    this.#dropViews();
    this.#last = undefined;
    this.#known = 0;
    for (const [agent, pool] of this.#agents) if (this.#isSpent(pool)) this.#agents.delete(agent);
    for (const [type, byCapabilities] of this.#pools) {
      for (const [key, pool] of byCapabilities) if (this.#isSpent(pool)) byCapabilities.delete(key);
      if (byCapabilities.size === 0) this.#pools.delete(type);
    }
    dropEmptyLanes(this.#ungrouped);
    for (const [name, group] of this.#groups) {
      dropEmptyLanes(group);
      if (group.lanes.size === 0 && group.running === 0) this.#groups.delete(name);
      else this.#known += 1;
    }
    this.#purgeAt = 64 + 2 * this.#known;
  }

  #isSpent(pool: Pool): boolean {
    if (pool.purge()) return true;
    this.#known += 1;
    return false;
  }
}

function list(pool: Pool, offered: OfferKind, view: Listing[]): void {
  if (!offered.serves(pool)) return;
  const listing: Listing = { pool, listed: pool.first !== undefined, list: view };
  pool.listings.push(listing);
  if (listing.listed) view.push(listing);
}

function newGroup(name: string | undefined, turn: number): Group {
  return { name, running: 0, ready: 0, turn, share: 1, parked: false, lanes: new Set() };
}

function dropEmptyLanes(group: Group): void {
  for (const lane of group.lanes) if (lane.size === 0) group.lanes.delete(lane);
}

function shareOf(settings: QueueSettings, name: string | undefined): number {
  const weights = settings.groupWeights;
  const share =
    name !== undefined && weights !== undefined && Object.hasOwn(weights, name) ? weights[name] : undefined;
  return Math.max(share ?? 1, MIN_SHARE);
}
