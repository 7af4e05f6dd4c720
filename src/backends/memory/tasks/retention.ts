import { DEAD, KEEP_FIRM, RowList, SHEDDABLE, type TaskRow } from './row.ts';

/** With more different times than this, longer ones are rounded up to a power of two, so that the lists stay few. */
const MAX_LISTS = 64;

/**
 * Ended rows until they are pruned. One list for each length of time they are kept: in it they fall due in the order in which they
 * ended, so that the next to fall due and the oldest of all are found by looking at the heads. Rows that were promised to stay their
 * time (dead letters, keys, tasks that state it themselves) lie in lists of their own, which no bound on their number touches.
 */
export class Retention {
  readonly #shed: Shelf;
  readonly #firm: Shelf;
  /** Rows that were promised to stay and no longer are, because another task has their key now. In order of that, which is near enough. */
  readonly #loosed: Shelf;
  /** No row falls due before this, µs. */
  #quietUntil = Number.POSITIVE_INFINITY;

  /** @param tombstoneMs how long state and key of a row without `keepMs` stay */
  constructor(tombstoneMs: number) {
    this.#shed = new Shelf(tombstoneMs);
    this.#firm = new Shelf(tombstoneMs);
    this.#loosed = new Shelf(tombstoneMs);
  }

  get size(): number {
    return this.#shed.size + this.#firm.size + this.#loosed.size;
  }

  /** Rows that a bound on their number may take away. */
  get sheddable(): number {
    return this.#shed.size + this.#loosed.size;
  }

  add(row: TaskRow): void {
    if (isPromised(row)) {
      row.flags |= KEEP_FIRM;
      this.#firm.add(row);
    } else this.#shed.add(row);
    this.#quietUntil = Math.min(this.#quietUntil, endOf(row) + this.#shed.keptUs(row));
  }

  /** A row that falls due by now, µs; answers at once while there can be none. */
  due(now: number): TaskRow | undefined {
    if (now < this.#quietUntil) return undefined;
    const next = this.nextDue();
    this.#quietUntil = next?.at ?? Number.POSITIVE_INFINITY;
    return now < this.#quietUntil ? undefined : next?.row;
  }

  remove(row: TaskRow): void {
    this.#shelfOf(row).remove(row);
    row.flags &= ~(KEEP_FIRM | SHEDDABLE);
  }

  /** An ended row has lost its key: nothing but that may have kept it. */
  loosen(row: TaskRow): void {
    if ((row.flags & KEEP_FIRM) === 0 || isPromised(row)) return;
    this.#firm.remove(row);
    row.flags = (row.flags & ~KEEP_FIRM) | SHEDDABLE;
    this.#loosed.add(row);
  }

  /** The row that ended first, of those a bound may take away. */
  oldest(): TaskRow | undefined {
    const shed = this.#shed.oldest();
    const loosed = this.#loosed.size === 0 ? undefined : this.#loosed.oldest();
    if (shed === undefined || loosed === undefined) return shed ?? loosed;
    return endOf(loosed) < endOf(shed) ? loosed : shed;
  }

  /** The row that falls due first, and when, µs. */
  nextDue(): Due | undefined {
    return this.#firm.nextDue(this.#loosed.nextDue(this.#shed.nextDue(undefined)));
  }

  *rows(): Generator<TaskRow> {
    yield* this.#shed.rows();
    yield* this.#firm.rows();
    yield* this.#loosed.rows();
  }

  #shelfOf({ flags }: TaskRow): Shelf {
    if ((flags & (KEEP_FIRM | SHEDDABLE)) === 0) return this.#shed;
    return (flags & KEEP_FIRM) === 0 ? this.#loosed : this.#firm;
  }
}

interface Due {
  readonly row: TaskRow;
  readonly at: number;
}

/** Lists of rows by how long they are kept. */
class Shelf {
  readonly #tombstoneMs: number;
  readonly #lists = new Map<number, RowList>();
  /** The list asked for last, and for which time: most tasks are kept equally long. */
  #last = new RowList();
  #lastKept = -1;
  size = 0;

  constructor(tombstoneMs: number) {
    this.#tombstoneMs = tombstoneMs;
  }

  add(row: TaskRow): void {
    this.#listOf(row).push(row);
    this.size += 1;
  }

  remove(row: TaskRow): void {
    this.#listOf(row).remove(row);
    this.size -= 1;
  }

  oldest(): TaskRow | undefined {
    if (this.#lists.size === 1) return this.#last.first;
    let oldest: TaskRow | undefined;
    for (const { first } of this.#lists.values()) {
      if (first !== undefined && (oldest === undefined || endOf(first) < endOf(oldest))) oldest = first;
    }
    return oldest;
  }

  /** The first to fall due here, or what is due sooner. */
  nextDue(sooner: Due | undefined): Due | undefined {
    let next = sooner;
    if (this.size === 0) return next;
    for (const [keepMs, { first }] of this.#lists) {
      if (first === undefined) continue;
      const at = endOf(first) + keepMs * 1_000;
      if (next === undefined || at < next.at) next = { row: first, at };
    }
    return next;
  }

  *rows(): Generator<TaskRow> {
    for (const list of this.#lists.values()) {
      for (let row = list.first; row !== undefined; row = row.next) yield row;
    }
  }

  /** How long it stays after its end, µs. */
  keptUs({ task }: TaskRow): number {
    return (task.limits.keepMs > 0 ? task.limits.keepMs : this.#tombstoneMs) * 1_000;
  }

  #listOf({ task }: TaskRow): RowList {
    const wanted = task.limits.keepMs > 0 ? task.limits.keepMs : this.#tombstoneMs;
    if (wanted === this.#lastKept) return this.#last;
    const list = this.#lists.get(wanted) ?? this.#newList(wanted);
    this.#last = list;
    this.#lastKept = wanted;
    return list;
  }

  #newList(wanted: number): RowList {
    const keepMs = this.#lists.size < MAX_LISTS ? wanted : 2 ** Math.ceil(Math.log2(wanted));
    let list = this.#lists.get(keepMs);
    if (list === undefined) {
      list = new RowList();
      this.#lists.set(keepMs, list);
    }
    return list;
  }
}

function endOf(row: TaskRow): number {
  return row.ended?.at ?? 0;
}

/** A dead letter may be redriven, a key is to be recognised, and a task's own `keepMs` is its submitter's word. */
function isPromised({ state, task }: TaskRow): boolean {
  return (
    state === DEAD || task.key !== undefined || (task.limits.keepFirm === true && task.limits.keepMs > 0)
  );
}
