import type { LockRecord } from './lock-record.ts';
import { chain, linkFirst, OwnerBook, type SingleOwner, unlink } from './owner-book.ts';

/** Records of owners that hold and want nothing are kept for the next use; when this many exist, idle ones are dropped. */
const SWEEP_AT = 16_384;

/** Who holds and wants what in this process. */
export class OwnerRegistry {
  /** Owners with a name of their own. */
  readonly books = new Map<string, OwnerBook<LockRecord>>();
  /** Locks and waits of owners that were made for one request, linked. */
  #singles: LockRecord | undefined;
  #limit = SWEEP_AT;
  readonly #mayForget: (book: OwnerBook<LockRecord>) => boolean;

  /** @param mayForget whether nothing needs the record of an idle owner any more */
  constructor(mayForget: (book: OwnerBook<LockRecord>) => boolean) {
    this.#mayForget = mayForget;
  }

  /** The record of an owner with a name; made if there is none. */
  book(
    id: string,
    agent: string | undefined,
    task: string | undefined,
    priority: number,
  ): OwnerBook<LockRecord> {
    let book = this.books.get(id);
    if (book === undefined) {
      if (this.books.size >= this.#limit) this.#sweep();
      book = new OwnerBook(id, agent, task, priority);
      this.books.set(id, book);
    }
    return book;
  }

  addHeld(lock: LockRecord): void {
    const { book } = lock;
    if (book === undefined) this.#addSingle(lock);
    else book.addHeld(lock);
  }

  removeHeld(lock: LockRecord): void {
    const { book } = lock;
    if (book === undefined) this.#removeSingle(lock);
    else book.removeHeld(lock);
  }

  addWait(record: LockRecord): void {
    const { book } = record;
    if (book === undefined) this.#addSingle(record);
    else book.addWait(record);
  }

  removeWait(record: LockRecord): void {
    const { book } = record;
    if (book === undefined) this.#removeSingle(record);
    else book.removeWait(record);
  }

  /** Locks and waits of an owner; copies. */
  recordsOf(id: string): readonly LockRecord[] {
    const book = this.books.get(id);
    if (book !== undefined) return [...book.held(), ...book.waits()];
    return chain(this.#singles).filter((record) => record.holder.id === id);
  }

  /** Whom events name, for an owner that is known here. */
  labelOf(id: string): string | undefined {
    return this.books.get(id)?.label ?? this.recordsOf(id)[0]?.holder.label;
  }

  /** The owner of this id, if it holds or wants something here. */
  find(id: string): OwnerBook<LockRecord> | SingleOwner | undefined {
    return this.books.get(id) ?? this.recordsOf(id)[0]?.holder;
  }

  /** All locks and waits of this process. */
  *records(): Iterable<LockRecord> {
    for (const book of this.books.values()) {
      if (book.firstHeld !== undefined) yield* book.held();
      if (book.firstWait !== undefined) yield* book.waits();
    }
    yield* chain(this.#singles);
  }

  /** A wait has become a lock. */
  waitIsHeld(record: LockRecord): void {
    const { book } = record;
    // Those without a name are in one list.
    if (book === undefined) return;
    book.removeWait(record);
    book.addHeld(record);
  }

  #addSingle(record: LockRecord): void {
    linkFirst(record, this.#singles);
    this.#singles = record;
  }

  #removeSingle(record: LockRecord): void {
    if (this.#singles === record) this.#singles = record.next;
    unlink(record);
  }

  #sweep(): void {
    for (const [id, book] of this.books) if (book.idle && this.#mayForget(book)) this.books.delete(id);
    this.#limit = Math.max(SWEEP_AT, this.books.size * 2);
  }
}
