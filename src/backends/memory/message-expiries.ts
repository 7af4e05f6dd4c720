import type { Mailbox } from './message-mailbox.ts';

interface Entry {
  /** µs. */
  readonly at: number;
  readonly mailbox: Mailbox;
}

/** When something in a mailbox expires, the soonest first: a binary heap. A mailbox whose time was moved has an entry too many, which is passed over. */
export class Expiries {
  readonly #heap: Entry[] = [];

  /** When the first is due, µs; `Infinity` without any. */
  get soonest(): number {
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  add(mailbox: Mailbox, at: number): void {
    const heap = this.#heap;
    const entry = { at, mailbox };
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const above = (i - 1) >> 1;
      const parent = heap[above] as Entry;
      if (parent.at <= at) break;
      heap[i] = parent;
      i = above;
    }
    heap[i] = entry;
  }

  /** Takes out a mailbox that is due. */
  shift(now: number): Mailbox | undefined {
    while (this.soonest <= now) {
      const { at, mailbox } = this.#drop();
      if (mailbox.takeNotice(at)) return mailbox;
    }
    return undefined;
  }

  #drop(): Entry {
    const heap = this.#heap;
    const first = heap[0] as Entry;
    const last = heap.pop() as Entry;
    const half = heap.length >> 1;
    let i = 0;
    while (i < half) {
      let below = 2 * i + 1;
      if (below + 1 < heap.length && (heap[below + 1] as Entry).at < (heap[below] as Entry).at) below += 1;
      const child = heap[below] as Entry;
      if (child.at >= last.at) break;
      heap[i] = child;
      i = below;
    }
    if (heap.length > 0) heap[i] = last;
    return first;
  }
}
