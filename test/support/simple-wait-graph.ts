import { DeadlockError } from '../../src/core/deadlock-error.ts';
import type { CycleEdge } from '../../src/core/ports/locks.ts';
import type { WaitGraph, WaitSource } from '../../src/core/waits.ts';

export interface SimpleWaitGraph extends WaitGraph {
  readonly deadlocks: readonly DeadlockError[];
  /** `waiter` waits for `holder`, by declaration. */
  declare(waiter: string, holder: string): void;
}

/** A wait-for graph for waits that need one of one blocker: follows first blockers and makes whoever closes a cycle its victim. */
export function createSimpleWaitGraph(): SimpleWaitGraph {
  const sources = new Set<WaitSource>();
  const declared = new Map<string, string>();
  const deadlocks: DeadlockError[] = [];

  const edgeOf = (waiter: string): CycleEdge | undefined => {
    const holder = declared.get(waiter);
    if (holder !== undefined) return { waiter, holder, by: 'declared', what: 'test' };
    for (const source of sources) {
      const [requirement] = source.requirements(waiter);
      const [blocker] = requirement?.blockers ?? [];
      if (requirement !== undefined && blocker !== undefined)
        return { waiter, holder: blocker.node, by: requirement.by, what: requirement.what };
    }
    return undefined;
  };
  return {
    deadlocks,
    declare: (waiter, holder) => void declared.set(waiter, holder),
    addSource(source) {
      sources.add(source);
      return { [Symbol.dispose]: () => void sources.delete(source) };
    },
    entered(node) {
      const cycle: CycleEdge[] = [];
      const seen = new Set<string>();
      for (
        let edge = edgeOf(node);
        edge !== undefined && !seen.has(edge.waiter);
        edge = edgeOf(edge.holder)
      ) {
        cycle.push(edge);
        seen.add(edge.waiter);
        if (edge.holder !== node) continue;
        const error = new DeadlockError({
          cycle,
          agents: [],
          resources: [],
          survivor: cycle[0]?.holder ?? '',
        });
        deadlocks.push(error);
        for (const source of sources) void source.abort(node, error);
        return;
      }
    },
    sweep: () => undefined,
  };
}
