import { createMemoryCore, type MemoryCore } from '../../src/backends/memory/memory-core.ts';
import { MemoryTaskStore, type MemoryTaskStoreOptions } from '../../src/backends/memory/task-store.ts';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import type { Claim, ClaimRequest, NewTask } from '../../src/core/ports/tasks.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

/** A memory task store on a clock that stands still until told, with one session. */
export interface MemoryTasks {
  readonly clock: TestClock;
  readonly core: MemoryCore;
  readonly store: MemoryTaskStore;
  readonly session: SessionNumber;
  op(): Operation;
  /** Another session, with operations of its own. */
  another(boot: string): { readonly session: SessionNumber; op(): Operation };
  add(...tasks: readonly NewTask[]): readonly string[];
  claim(request?: Partial<ClaimRequest>): readonly Claim[];
  complete(claims: readonly Claim[]): ReturnType<MemoryTaskStore['settle']>;
  bury(claim: Claim): ReturnType<MemoryTaskStore['settle']>;
  sweepAll(): void;
}

export function createMemoryTasks(options: MemoryTaskStoreOptions = {}): MemoryTasks {
  const clock = createTestClock();
  const core = createMemoryCore({ clock });
  const store = new MemoryTaskStore(core, options);
  const another = (boot: string): ReturnType<MemoryTasks['another']> => {
    const leaseMs = Number.POSITIVE_INFINITY;
    const { session } = core.sessions.open({ boot, leaseMs, writer: 1, report: EMPTY_REPORT });
    let sequence = 0;
    return { session, op: () => ({ session, sequence: ++sequence }) };
  };
  const { session, op } = another('me');
  return {
    clock,
    core,
    store,
    session,
    op,
    another,
    add: (...tasks) =>
      store
        .enqueue(op(), tasks)
        .results.map((result) => (result.status === 'enqueued' ? result.state : result.status)),
    claim: (request = {}) =>
      store.claim(op(), {
        offers: [{ capabilities: [], slots: request.limit ?? 1_000 }],
        agents: [],
        assigned: 0,
        limit: 1_000,
        start: 1_000,
        ...request,
      }).claims,
    complete: (claims) =>
      store.settle(
        op(),
        claims.map((claim) => ({ claim, as: 'complete', result: null })),
      ),
    bury: (claim) => store.settle(op(), [{ claim, as: 'bury', reason: 'r', error: 'e', signature: 's' }]),
    sweepAll: () => {
      while (store.sweep(op(), 1_000).more);
    },
  };
}

export function newTask(id: string, more: Partial<NewTask> = {}): NewTask {
  return {
    id,
    queue: 'q',
    type: 't',
    payload: null,
    priority: 0,
    capabilities: [],
    weight: 1,
    dependsOn: [],
    limits: { maxCrashes: 3, keepMs: 600_000 },
    ...more,
  };
}
