import { handled } from '../core/awaitable.ts';
import type { Operations } from '../core/operations.ts';
import type { Consequences, TaskStore } from '../core/ports/tasks.ts';
import { slices } from '../core/slices.ts';
import type { Run } from './agent.ts';
import { childOf, childWait, type RunWaits } from './run-waits.ts';
import type { SlotLoans } from './slot-loans.ts';
import type { SurvivorWaits } from './survivor-waits.ts';

/** How much longer an urgent child is to have waited, ms: more than any difference of priorities is worth. */
const URGENT_MS = 1e10;

export interface AwaitedChildrenDeps {
  readonly store: TaskStore;
  readonly operations: () => Operations;
  readonly waits: RunWaits;
  readonly loans: SlotLoans;
  readonly survivors: SurvivorWaits;
  readonly consequences: (answer: Consequences) => void;
  /** Most items of one call to a store across a network; absent: it is in this process. */
  readonly farBatch: number | undefined;
}

/**
 * Lets handlers wait for their children, without their slot. A child that is waited for with locks in hand becomes urgent, and so do the
 * children that it waits for: whoever wants one of these locks waits for all of them; and in the turn of the queue those who want it would
 * take every slot before the child, one deadlock after the other. (Priority inheritance: Sha, Rajkumar, Lehoczky, IEEE Trans. Computers
 * 39(9), 1990.)
 */
export class AwaitedChildren {
  readonly #deps: AwaitedChildrenDeps;
  readonly #urgent = new Set<string>();

  constructor(deps: AwaitedChildrenDeps) {
    this.#deps = deps;
  }

  /** Waits for a child's end, or for whatever else ends the wait. */
  async wait<T>(run: Run, id: string, end: Promise<T>): Promise<T> {
    const { waits, loans, survivors } = this.#deps;
    waits.addChild(id);
    survivors.awaited(id);
    if (this.#isUrgent(run)) this.#hurry([id]);
    try {
      return await loans.lend(run, childWait(id), end);
    } finally {
      waits.removeChild(id);
      if (!waits.awaits(id)) this.#urgent.delete(id);
    }
  }

  /** It has one lock more: what it waits for at the same time becomes urgent. */
  locked({ facts }: Run): void {
    if (facts.waits === undefined || facts.waits.size === 0) return;
    const children = [...facts.waits.keys()].flatMap((key) => childOf(key) ?? []);
    if (children.length > 0) this.#hurry(children);
  }

  /** Whether the store can do it is nobody's concern: it saves deadlocks, and their victims come again. */
  #hurry(ids: readonly string[]): void {
    const fresh = ids.filter((id) => !this.#urgent.has(id));
    if (fresh.length === 0) return;
    for (const id of fresh) this.#urgent.add(id);
    handled(this.#bringForward(fresh));
  }

  async #bringForward(all: readonly string[]): Promise<void> {
    const { store, operations, consequences, farBatch = all.length } = this.#deps;
    const revision = { set: 'age', ageMs: URGENT_MS } as const;
    for (const ids of slices(all, farBatch)) {
      const filter = { ids, state: ['waiting', 'scheduled', 'ready'] } as const;
      consequences(await operations().run((op) => store.revise(op, { filter, revision, limit: ids.length })));
    }
  }

  #isUrgent({ id, facts }: Run): boolean {
    return facts.lease !== undefined || facts.locksHeld > 0 || this.#urgent.has(id);
  }
}
