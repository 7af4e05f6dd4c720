import type { Timer } from '../ports/runtime.ts';

const BITS = 6;
const SLOTS = 1 << BITS;
const LEVELS = 5;
/** Longest placement, ≈ 12 days: a later timer waits in the last slot and is placed again when that comes. */
const REACH = (SLOTS - 1) * 2 ** (BITS * (LEVELS - 1));

/** A link of a circular list; each slot has one as its head. */
class Link {
  previous: Link = this;
  next: Link = this;
}

class Entry extends Link implements Timer {
  readonly due: number;
  readonly fn: () => void;
  readonly keepAlive: boolean;
  wheel: TimerWheel | undefined;
  level = 0;

  constructor(due: number, fn: () => void, keepAlive: boolean) {
    super();
    this.due = due;
    this.fn = fn;
    this.keepAlive = keepAlive;
  }

  cancel(): void {
    this.wheel?.remove(this);
  }
}

/**
 * Hierarchical timing wheel (Varghese & Lauck 1987, scheme 6): insert and cancel O(1), five levels of 64 slots from 1 ms. It has no
 * clock of its own: its owner calls {@link advance} when {@link nextDue} comes, so the same code runs on real and on simulated time.
 * Timers fire in order of their due ms; within one ms in no promised order.
 */
export class TimerWheel {
  #now: number;
  readonly #slots: readonly Link[] = Array.from({ length: LEVELS * SLOTS }, () => new Link());
  readonly #counts = new Int32Array(LEVELS);
  #keeping = 0;
  readonly #released: (() => void) | undefined;

  /** @param released called when the last timer that held the process is gone */
  constructor(nowMs: number, released?: () => void) {
    this.#released = released;
    this.#now = Math.floor(nowMs);
  }

  /** Pending timers that hold the process open. */
  get keeping(): number {
    return this.#keeping;
  }

  /** Adds a timer for `dueMs`, rounded up to whole ms. */
  add(dueMs: number, fn: () => void, keepAlive: boolean): Timer & { readonly due: number } {
    const entry = new Entry(Math.max(Math.ceil(dueMs), this.#now + 1), fn, keepAlive);
    if (keepAlive) this.#keeping += 1;
    this.#place(entry);
    return entry;
  }

  /** Takes a timer out; used by `Timer.cancel`. */
  remove(entry: Entry): void {
    this.#unlink(entry);
    if (!entry.keepAlive) return;
    this.#keeping -= 1;
    if (this.#keeping === 0) this.#released?.();
  }

  /** The first ms at which something is to be done (a timer fires, or a slot of a higher level is spread); `Infinity` when empty. */
  nextDue(): number {
    let best = Number.POSITIVE_INFINITY;
    for (let level = 0; level < LEVELS; level++) {
      if (this.#counts[level] === 0) continue;
      const unit = 2 ** (BITS * level);
      const base = Math.floor(this.#now / unit);
      for (let i = 1; i < SLOTS; i++) {
        const head = this.#slots[level * SLOTS + ((base + i) % SLOTS)] as Link;
        if (head.next === head) continue;
        best = Math.min(best, (base + i) * unit);
        break;
      }
    }
    return best;
  }

  /** Fires everything due at or before `nowMs`; timers added meanwhile for that time fire too. */
  advance(nowMs: number): void {
    const target = Math.floor(nowMs);
    for (let tick = this.nextDue(); tick <= target; tick = this.nextDue()) {
      this.#now = tick;
      for (let level = LEVELS - 1; level > 0; level--) {
        const unit = 2 ** (BITS * level);
        if (tick % unit === 0) this.#spread(this.#slots[level * SLOTS + ((tick / unit) % SLOTS)] as Link);
      }
      this.#fire(this.#slots[tick % SLOTS] as Link);
    }
    this.#now = Math.max(this.#now, target);
  }

  #fire(head: Link): void {
    while (head.next !== head) {
      const entry = head.next as Entry;
      this.remove(entry);
      try {
        entry.fn();
      } catch (error) {
        // A timer's exception must stop neither the wheel nor the other timers; it still ends up where uncaught ones do.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  #spread(head: Link): void {
    while (head.next !== head) {
      const entry = head.next as Entry;
      this.#unlink(entry);
      this.#place(entry);
    }
  }

  #unlink(entry: Entry): void {
    entry.previous.next = entry.next;
    entry.next.previous = entry.previous;
    // A dead entry that has aged keeps all it points to alive until the next full collection: links must not outlive it.
    entry.previous = entry;
    entry.next = entry;
    entry.wheel = undefined;
    this.#counts[entry.level] = (this.#counts[entry.level] as number) - 1;
  }

  #place(entry: Entry): void {
    const due = Math.min(entry.due, this.#now + REACH);
    let level = 0;
    let unit = 1;
    // A level reaches 63 slots beyond the one that holds `now`; that one is already being served from below.
    while (Math.floor(due / unit) - Math.floor(this.#now / unit) >= SLOTS) {
      level += 1;
      unit *= SLOTS;
    }
    const head = this.#slots[level * SLOTS + (Math.floor(due / unit) % SLOTS)] as Link;
    entry.level = level;
    entry.wheel = this;
    entry.previous = head.previous;
    entry.next = head;
    head.previous.next = entry;
    head.previous = entry;
    this.#counts[level] = (this.#counts[level] as number) + 1;
  }
}
