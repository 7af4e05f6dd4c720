import { isRunNode } from '../core/run-node.ts';
import type { LockRecord } from './lock-record.ts';
import { chain, linkFirst, OwnerBook, type SingleOwner, unlink } from './owner-book.ts';

/** Records of owners that hold and want nothing are kept for the next use; when this many exist, idle ones are dropped. */
const SWEEP_AT = 16_384;

/** Who holds and wants what in this process. */
export class OwnerRegistry {
  /** Owners with a name of their own. */
  readonly books = new Map<string, OwnerBook<LockRecord>>();
  /** Locks and waits of owners that were made for one request, linked; but those that the store in this process has. */
  #singles: LockRecord | undefined;
  #limit = SWEEP_AT;
  readonly #mayForget: (book: OwnerBook<LockRecord>) => boolean;
  readonly #inStore: () => Iterable<LockRecord>;

  /**
   * @param mayForget whether nothing needs the record of an idle owner any more
   * @param inStore what was asked for by the quick way, and is held or waits in the store: there it is listed already
   */
  constructor(mayForget: (book: OwnerBook<LockRecord>) => boolean, inStore: () => Iterable<LockRecord>) {
    this.#mayForget = mayForget;
    this.#inStore = inStore;
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
    if (book !== undefined) book.addHeld(lock);
    else if (lock.quick === undefined) this.#addSingle(lock);
  }

  removeHeld(lock: LockRecord): void {
    const { book } = lock;
    if (book !== undefined) book.removeHeld(lock);
    else if (lock.quick === undefined) this.#removeSingle(lock);
  }

  addWait(record: LockRecord): void {
    const { book } = record;
    if (book !== undefined) book.addWait(record);
    else if (record.quick === undefined) this.#addSingle(record);
  }

  removeWait(record: LockRecord): void {
    const { book } = record;
    if (book !== undefined) book.removeWait(record);
    else if (record.quick === undefined) this.#removeSingle(record);
  }

  /** Locks and waits of an owner; copies. */
  recordsOf(id: string): readonly LockRecord[] {
    const book = this.books.get(id);
    if (book !== undefined) return [...book.held(), ...book.waits()];
    if (isRunNode(id)) return [];
    return [...this.#ofSingles()].filter((record) => record.holder.id === id);
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
    yield* this.#ofSingles();
  }

  /** A wait has become a lock. */
  waitIsHeld(record: LockRecord): void {
    const { book } = record;
    // Those without a name are in one list.
    if (book === undefined) return;
    book.removeWait(record);
    book.addHeld(record);
  }

  *#ofSingles(): Iterable<LockRecord> {
    yield* chain(this.#singles);
    for (const record of this.#inStore()) if (record.single) yield record;
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
