import { type Group, Lane, type LaneOwner } from './lane.ts';
import type { NameSet } from './name-set.ts';
import type { Need } from './offers.ts';
import type { TaskRow } from './row.ts';

/** Hears when a pool has something to give, and when it has nothing left. */
export interface PoolOwner {
  filled(pool: Pool): void;
  emptied(pool: Pool): void;
}

/** A view's entry for a pool; stays listed while the pool is empty until the view next looks. */
export interface Listing {
  readonly pool: Pool;
  listed: boolean;
  readonly list: Listing[];
}

/**
 * Ready tasks of one queue that need the same: capabilities, type and placement, or one agent. A heap of its lanes by (turn of the group, rank,
 * arrival); with one lane it costs nothing. Lanes of groups at their limit are parked outside the heap, so nobody scans them.
 */
export class Pool implements LaneOwner, Need {
  readonly type: string;
  readonly capabilities: NameSet;
  readonly agent: string | undefined;
  readonly placement: string | undefined;
  readonly listings: Listing[] = [];
  readonly #owner: PoolOwner;
  readonly #heap: Lane[] = [];
  readonly #lanes = new Map<Group, Map<number, Lane>>();
  /** Lanes from before the ageing step changed: they keep their boost and get no more tasks. */
  readonly #former = new Set<Lane>();
  #last: Lane | undefined = undefined;
  #lastPriority = 0;

  constructor(
    owner: PoolOwner,
    type: string,
    capabilities: NameSet,
    agent: string | undefined,
    placement: string | undefined,
  ) {
    this.#owner = owner;
    this.type = type;
    this.capabilities = capabilities;
    this.agent = agent;
    this.placement = placement;
  }

  /** The lane whose first task is next. */
  get first(): Lane | undefined {
    return this.#heap[0];
  }

  add(row: TaskRow, group: Group, step: number): void {
    const { priority } = row.task;
    let lane = this.#last;
    if (lane === undefined || this.#lastPriority !== priority || lane.group !== group) {
      lane = this.#laneOf(group, priority, step);
      this.#last = lane;
      this.#lastPriority = priority;
    }
    if (lane.push(row)) this.changed(lane);
  }

  /** Takes the next row; there is one. */
  shift(): TaskRow {
    const lane = this.#heap[0] as Lane;
    const row = lane.shift();
    if (lane.size === 0) this.#out(lane);
    else if (this.#heap.length > 1) this.#down(lane, 0);
    return row;
  }

  changed(lane: Lane): void {
    if (lane.size === 0) {
      if (lane.slot >= 0) this.#out(lane);
    } else if (!lane.group.parked) {
      lane.turn = lane.group.turn;
      if (lane.slot < 0) this.#in(lane);
      else this.#fix(lane);
    }
  }

  /** Takes a lane of a parked group out of the heap. */
  park(lane: Lane): void {
    if (lane.slot >= 0) this.#out(lane);
  }

  /** Forgets empty lanes; true when none is left. The queue takes them out of their groups. */
  purge(): boolean {
    this.#last = undefined;
    for (const [group, byPriority] of this.#lanes) {
      for (const [priority, lane] of byPriority) if (lane.size === 0) byPriority.delete(priority);
      if (byPriority.size === 0) this.#lanes.delete(group);
    }
    for (const lane of this.#former) if (lane.size === 0) this.#former.delete(lane);
    return this.#lanes.size === 0 && this.#former.size === 0;
  }

  /** The ageing step has changed: what comes from now on goes to new lanes. */
  renewLanes(): void {
    this.#last = undefined;
    for (const byPriority of this.#lanes.values())
      for (const lane of byPriority.values()) this.#former.add(lane);
    this.#lanes.clear();
  }

  #laneOf(group: Group, priority: number, step: number): Lane {
    let byPriority = this.#lanes.get(group);
    if (byPriority === undefined) {
      byPriority = new Map();
      this.#lanes.set(group, byPriority);
    }
    let lane = byPriority.get(priority);
    if (lane === undefined) {
      lane = new Lane(this, group, priority * step);
      byPriority.set(priority, lane);
      group.lanes.add(lane);
    }
    return lane;
  }

  #in(lane: Lane): void {
    const at = this.#heap.length;
    this.#heap.push(lane);
    this.#up(lane, at);
    if (at === 0) this.#owner.filled(this);
  }

  #out(lane: Lane): void {
    const { slot } = lane;
    const last = this.#heap.pop() as Lane;
    lane.slot = -1;
    if (last !== lane) {
      last.slot = slot;
      this.#heap[slot] = last;
      this.#fix(last);
    }
    if (this.#heap.length === 0) this.#owner.emptied(this);
  }

  #fix(lane: Lane): void {
    this.#up(lane, lane.slot);
    this.#down(lane, lane.slot);
  }

  #up(lane: Lane, from: number): void {
    const heap = this.#heap;
    let i = from;
    while (i > 0) {
      const above = (i - 1) >> 1;
      const parent = heap[above] as Lane;
      if (!isBefore(lane, parent)) break;
      heap[i] = parent;
      parent.slot = i;
      i = above;
    }
    heap[i] = lane;
    lane.slot = i;
  }

  #down(lane: Lane, from: number): void {
    const heap = this.#heap;
    const half = heap.length >> 1;
    let i = from;
    while (i < half) {
      let below = 2 * i + 1;
      let child = heap[below] as Lane;
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Lane, child)) {
        below += 1;
        child = heap[below] as Lane;
      }
      if (!isBefore(child, lane)) break;
      heap[i] = child;
      child.slot = i;
      i = below;
    }
    heap[i] = lane;
    lane.slot = i;
  }
}

/** Whether the first task of `a` comes before that of `b`. */
export function isBefore(a: Lane, b: Lane): boolean {
  if (a.turn !== b.turn) return a.turn < b.turn;
  if (a.rank !== b.rank) return a.rank < b.rank;
  return a.order < b.order;
}
