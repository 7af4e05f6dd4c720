import type { DeadlockError } from '../core/deadlock-error.ts';
import { nodeName } from '../core/run-node.ts';
import type { Requirement, WaitSource } from '../core/waits.ts';
import { type FailureReport, runGuarded } from './callback-failures.ts';

interface Declared {
  readonly waiter: string;
  readonly holder: string;
  readonly what: string;
  readonly abort: ((error: DeadlockError) => void) | undefined;
}

/** Waits outside the library that somebody told us of. Those without a way to end them are kept apart: they are never the victim. */
export class DeclaredWaits implements WaitSource {
  readonly abortable: boolean;
  /** By the name of who waits: whom a name means is asked when somebody looks. */
  readonly #byWaiter = new Map<string, Set<Declared>>();
  readonly #nodeOf: (id: string) => string;
  readonly #failed: FailureReport;

  /** @param nodeOf the node that an id means now */
  constructor(abortable: boolean, nodeOf: (id: string) => string, failed: FailureReport) {
    this.abortable = abortable;
    this.#nodeOf = nodeOf;
    this.#failed = failed;
  }

  add(wait: Declared): Disposable {
    const name = nodeName(wait.waiter);
    const known = this.#byWaiter.get(name);
    if (known === undefined) this.#byWaiter.set(name, new Set([wait]));
    else known.add(wait);
    return { [Symbol.dispose]: () => this.#remove(wait) };
  }

  isWaiting(node: string): boolean {
    return this.#of(node).length > 0;
  }

  requirements(node: string): readonly Requirement[] {
    return this.#of(node).map(({ holder, what }) => ({
      by: 'declared',
      what,
      blockers: [{ node: this.#nodeOf(holder), frees: 1 }],
      needs: 1,
    }));
  }

  /** Any declared wait may lead there. */
  blocks(): boolean {
    return this.#byWaiter.size > 0;
  }

  *waiting(): Iterable<string> {
    for (const waits of this.#byWaiter.values()) for (const { waiter } of waits) yield this.#nodeOf(waiter);
  }

  abort(node: string, error: DeadlockError): boolean {
    const waits = this.#of(node);
    for (const wait of waits) {
      this.#remove(wait);
      // It has ended whatever comes of that: nobody but its declarer could be told.
      runGuarded('`abort` of a declared wait', this.#failed, () => wait.abort?.(error));
    }
    return waits.length > 0;
  }

  #of(node: string): readonly Declared[] {
    const waits = this.#byWaiter.size === 0 ? undefined : this.#byWaiter.get(nodeName(node));
    return waits === undefined ? [] : [...waits].filter(({ waiter }) => this.#nodeOf(waiter) === node);
  }

  #remove(wait: Declared): void {
    const name = nodeName(wait.waiter);
    const waits = this.#byWaiter.get(name);
    if (waits?.delete(wait) === true && waits.size === 0) this.#byWaiter.delete(name);
  }
}
