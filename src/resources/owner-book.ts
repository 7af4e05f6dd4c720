import type { Owner } from '../core/ports/locks.ts';
import type { BackendTime } from '../core/ports/words.ts';
import { nodeName } from '../core/run-node.ts';

/** From so many locks on, an owner's are found by an index instead of by looking through them. */
const INDEX_FROM = 16;

/** What a list of an owner links: a lock that is held, a request that waits. */
export interface Linked {
  previous: Linked | undefined;
  next: Linked | undefined;
  readonly names: readonly string[];
  isOn(resource: string): boolean;
}

/** A named owner: what it holds and waits for in this process; also how the store sees it. */
export class OwnerBook<Entry extends Linked> implements Owner {
  readonly id: string;
  /** Of a run: the agent that has it now, once that is known. */
  agent: string | undefined;
  readonly task: string | undefined;
  /** Of its latest request. */
  priority: number;
  /** When the present unit of work began; 0 until it has to wait. Kept over defeats. */
  since = 0 as BackendTime;
  defeats = 0;
  /** The last wait ended in defeat: the next try is the same piece of work. */
  defeated = false;
  firstHeld: Entry | undefined;
  firstWait: Entry | undefined;
  count = 0;
  /** Told once when nothing is held or waited for. */
  finishers: (() => void)[] | undefined;
  #index: Map<string, Entry> | undefined;

  constructor(id: string, agent: string | undefined, task: string | undefined, priority: number) {
    this.id = id;
    this.agent = agent;
    this.task = task;
    this.priority = priority;
  }

  get single(): false {
    return false;
  }
  /** Whom events name. */
  get label(): string {
    return this.agent ?? nodeName(this.id);
  }

  get idle(): boolean {
    return this.firstHeld === undefined && this.firstWait === undefined;
  }

  addHeld(lock: Entry): void {
    linkFirst(lock, this.firstHeld);
    this.firstHeld = lock;
    this.count += 1;
    if (this.#index !== undefined) for (const name of lock.names) this.#index.set(name, lock);
  }

  removeHeld(lock: Entry): void {
    if (this.firstHeld === lock) this.firstHeld = lock.next as Entry | undefined;
    unlink(lock);
    this.count -= 1;
    if (this.#index === undefined) return;
    if (this.count < INDEX_FROM / 2) this.#index = undefined;
    else for (const name of lock.names) if (this.#index.get(name) === lock) this.#index.delete(name);
  }

  addWait(wait: Entry): void {
    linkFirst(wait, this.firstWait);
    this.firstWait = wait;
  }

  removeWait(wait: Entry): void {
    if (this.firstWait === wait) this.firstWait = wait.next as Entry | undefined;
    unlink(wait);
  }

  /** A lock of this owner on a resource; of several the latest. */
  find(resource: string): Entry | undefined {
    if (this.count > INDEX_FROM) {
      this.#index ??= indexOf(this.held());
      const known = this.#index.get(resource);
      if (known !== undefined) return known;
    }
    return this.held().find((lock) => lock.isOn(resource));
  }

  /** A copy: ending one disturbs nobody. */
  held(): readonly Entry[] {
    return chain(this.firstHeld);
  }

  /** A copy. */
  waits(): readonly Entry[] {
    return chain(this.firstWait);
  }
}

/** Whoever asks once and without a name: its id is made when somebody reads it, which is seldom. */
export class SingleOwner implements Owner {
  readonly agent: string | undefined;
  readonly task: string | undefined;
  readonly priority: number;
  finishers: (() => void)[] | undefined;
  #id: string | (() => string);

  constructor(name: () => string, agent: string | undefined, task: string | undefined, priority: number) {
    this.#id = name;
    this.agent = agent;
    this.task = task;
    this.priority = priority;
    this.finishers = undefined;
  }

  get id(): string {
    if (typeof this.#id !== 'string') this.#id = this.#id();
    return this.#id;
  }
  get label(): string {
    return this.agent ?? this.id;
  }
  get single(): true {
    return true;
  }
  get since(): BackendTime {
    return 0 as BackendTime;
  }
  get defeats(): number {
    return 0;
  }
}

export function linkFirst(entry: Linked, first: Linked | undefined): void {
  entry.next = first;
  if (first !== undefined) first.previous = entry;
}

export function unlink(entry: Linked): void {
  if (entry.previous !== undefined) entry.previous.next = entry.next;
  if (entry.next !== undefined) entry.next.previous = entry.previous;
  entry.previous = undefined;
  entry.next = undefined;
}

export function chain<Entry extends Linked>(first: Entry | undefined): Entry[] {
  const found: Entry[] = [];
  for (let entry = first; entry !== undefined; entry = entry.next as Entry | undefined) found.push(entry);
  return found;
}

function indexOf<Entry extends Linked>(locks: readonly Entry[]): Map<string, Entry> {
  const index = new Map<string, Entry>();
  for (const lock of locks) for (const name of lock.names) if (!index.has(name)) index.set(name, lock);
  return index;
}
