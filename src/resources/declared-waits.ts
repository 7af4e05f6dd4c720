import type { DeadlockError } from '../core/deadlock-error.ts';
import type { Requirement, WaitSource } from '../core/waits.ts';

interface Declared {
  readonly waiter: string;
  readonly holder: string;
  readonly what: string;
  readonly abort: ((error: DeadlockError) => void) | undefined;
}

/** Waits outside the library that somebody told us of. Those without a way to end them are kept apart: they are never the victim. */
export class DeclaredWaits implements WaitSource {
  readonly abortable: boolean;
  readonly #byWaiter = new Map<string, Set<Declared>>();

  constructor(abortable: boolean) {
    this.abortable = abortable;
  }

  add(wait: Declared): Disposable {
    const known = this.#byWaiter.get(wait.waiter);
    if (known === undefined) this.#byWaiter.set(wait.waiter, new Set([wait]));
    else known.add(wait);
    return { [Symbol.dispose]: () => this.#remove(wait) };
  }

  isWaiting(node: string): boolean {
    return this.#byWaiter.has(node);
  }

  requirements(node: string): readonly Requirement[] {
    const waits = this.#byWaiter.get(node);
    if (waits === undefined) return [];
    return [...waits].map(({ holder, what }) => ({
      by: 'declared',
      what,
      blockers: [{ node: holder, frees: 1 }],
      needs: 1,
    }));
  }

  /** Any declared wait may lead there. */
  blocks(): boolean {
    return this.#byWaiter.size > 0;
  }

  waiting(): Iterable<string> {
    return this.#byWaiter.keys();
  }

  abort(node: string, error: DeadlockError): boolean {
    const waits = [...(this.#byWaiter.get(node) ?? [])];
    for (const wait of waits) {
      this.#remove(wait);
      wait.abort?.(error);
    }
    return waits.length > 0;
  }

  #remove(wait: Declared): void {
    const waits = this.#byWaiter.get(wait.waiter);
    if (waits?.delete(wait) === true && waits.size === 0) this.#byWaiter.delete(wait.waiter);
  }
}
