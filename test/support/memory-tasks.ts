import { createMemoryCore, type MemoryCore } from '../../src/backends/memory/memory-core.ts';
import { MemoryTaskStore, type MemoryTaskStoreOptions } from '../../src/backends/memory/task-store.ts';
import type { SessionReport } from '../../src/core/ports/sessions.ts';
import type { Claim, ClaimRequest, NewTask } from '../../src/core/ports/tasks.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

export const REPORT: SessionReport = {
  host: '',
  pid: 0,
  build: '',
  load: { running: 0, unstarted: 0, slots: 0, weight: 0 },
  rssBytes: 0,
  loopLagMs: 0,
  agents: [],
  progress: [],
};

/** A memory task store on a clock that stands still until told, with one session. */
export interface MemoryTasks {
  readonly clock: TestClock;
  readonly core: MemoryCore;
  readonly store: MemoryTaskStore;
  readonly session: SessionNumber;
  op(): Operation;
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
  const { session } = core.sessions.open({
    boot: 'me',
    leaseMs: Number.POSITIVE_INFINITY,
    writer: 1,
    report: REPORT,
  });
  let sequence = 0;
  const op = (): Operation => {
    sequence += 1;
    return { session, sequence };
  };
  return {
    clock,
    core,
    store,
    session,
    op,
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
