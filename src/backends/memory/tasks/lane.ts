import { Ring } from '../../../core/ring.ts';
import { RowHeap } from './row-heap.ts';
import { IN_RING, type ReadyPlace, TOMB, type TaskRow } from './row.ts';

/** Tasks of one queue with the same `group`; those without share one too. */
export interface Group {
  readonly name: string | undefined;
  /** Live claims. */
  running: number;
  ready: number;
  /** Fair share: the group with the least is served next; grows by 1 / share with each claim. 0 where shares don't matter. */
  turn: number;
  share: number;
  /** At its limit: its lanes are out of their pools' heaps. */
  parked: boolean;
  readonly lanes: Set<Lane>;
}

/** Hears that a lane's first task is another one, or that it has none any more. */
export interface LaneOwner {
  changed(lane: Lane): void;
}

/**
 * Ready tasks of one queue, capability set (or agent), group and priority: first come, first served. A ring, because arrivals come in
 * order of age, and beside it a small heap for those that come back with an older age (released, retried, moved here by a change of
 * priority). A task taken out of the middle leaves a dead entry in the ring; dead ones never outnumber the live ones by much.
 */
export class Lane implements ReadyPlace {
  readonly owner: LaneOwner;
  readonly group: Group;
  /** What priority is worth in µs of age: rank = aged from − boost. */
  readonly boost: number;
  /** Key of its first task among the lanes of its pool: turn of its group, rank, arrival. */
  turn = 0;
  rank = 0;
  order = 0;
  /** Place in the pool's heap, −1: not in it. */
  slot = -1;
  size = 0;
  readonly #ring = new Ring<TaskRow>();
  #dead = 0;
  #tailAt = 0;
  #tailOrder = 0;
  #side: RowHeap | undefined = undefined;
  #firstInSide = false;

  constructor(owner: LaneOwner, group: Group, boost: number) {
    this.owner = owner;
    this.group = group;
    this.boost = boost;
  }

  /** Adds a row; true when it is now the first. */
  push(row: TaskRow): boolean {
    const at = row.ranked === undefined ? 0 : row.ranked.at;
    const { order } = row;
    row.lane = this;
    this.size += 1;
    let inSide = false;
    if ((row.flags & TOMB) === 0 && this.#isInOrder(at, order)) {
      this.#ring.push(row);
      row.flags |= IN_RING;
      this.#tailAt = at;
      this.#tailOrder = order;
    } else {
      this.#side ??= new RowHeap();
      row.entry = this.#side.push(row, at, order);
      inSide = true;
    }
    const rank = at - this.boost;
    if (this.size > 1 && (rank > this.rank || (rank === this.rank && order > this.order))) return false;
    this.rank = rank;
    this.order = order;
    this.#firstInSide = inSide;
    return true;
  }

  /** Takes the first row. The caller sees to the lane's place in the pool. */
  shift(): TaskRow {
    let row: TaskRow;
    if (this.#firstInSide) {
      row = (this.#side as RowHeap).pop() as TaskRow;
      row.entry = undefined;
    } else {
      this.#ringHead();
      row = this.#ring.shift() as TaskRow;
      row.flags &= ~IN_RING;
    }
    row.lane = undefined;
    this.size -= 1;
    this.#findFirst();
    return row;
  }

  remove(row: TaskRow): void {
    const wasFirst = row.order === this.order;
    if (row.entry === undefined) {
      row.flags = (row.flags & ~IN_RING) | TOMB;
      this.#dead += 1;
    } else {
      this.#side?.remove(row.entry);
      row.entry = undefined;
    }
    row.lane = undefined;
    this.size -= 1;
    if (this.#dead > 32 + this.size) this.#compact();
    if (!wasFirst) return;
    this.#findFirst();
    this.owner.changed(this);
  }

  /** The first row, which stays. */
  peek(): TaskRow | undefined {
    if (this.size === 0) return undefined;
    return this.#firstInSide ? this.#side?.peek()?.row : this.#ringHead();
  }

  /** Rows in claim order, from the first. */
  *rows(): Generator<TaskRow> {
    const side = this.#side === undefined ? [] : [...this.#side.rows()].toSorted(byAge);
    let next = 0;
    for (let i = 0; i < this.#ring.length; i++) {
      const row = this.#ring.at(i) as TaskRow;
      if ((row.flags & IN_RING) === 0) continue;
      while (next < side.length && byAge(side[next] as TaskRow, row) < 0) yield side[next++] as TaskRow;
      yield row;
    }
    while (next < side.length) yield side[next++] as TaskRow;
  }

  #isInOrder(at: number, order: number): boolean {
    return this.#ring.length === 0 || at > this.#tailAt || (at === this.#tailAt && order > this.#tailOrder);
  }

  /** The first live row of the ring; dead entries before it are dropped, and their rows may be put into a ring again. */
  #ringHead(): TaskRow | undefined {
    let head = this.#ring.peek();
    while (head !== undefined && (head.flags & IN_RING) === 0) {
      this.#ring.shift();
      head.flags &= ~TOMB;
      this.#dead -= 1;
      head = this.#ring.peek();
    }
    return head;
  }

  #findFirst(): void {
    const head = this.#ringHead();
    const side = this.#side?.peek();
    if (head === undefined && side === undefined) return;
    const at = head?.ranked?.at ?? Number.POSITIVE_INFINITY;
    const order = head?.order ?? 0;
    this.#firstInSide = side !== undefined && (side.at < at || (side.at === at && side.order < order));
    this.rank = (this.#firstInSide ? (side as { at: number }).at : at) - this.boost;
    this.order = this.#firstInSide ? (side as { order: number }).order : order;
  }

  #compact(): void {
    for (let left = this.#ring.length; left > 0; left--) {
      const row = this.#ring.shift() as TaskRow;
      if ((row.flags & IN_RING) === 0) row.flags &= ~TOMB;
      else this.#ring.push(row);
    }
    this.#dead = 0;
  }
}

function byAge(a: TaskRow, b: TaskRow): number {
  return (a.ranked?.at ?? 0) - (b.ranked?.at ?? 0) || a.order - b.order;
}
