import type { SchedulerParts } from './parts.ts';
import type { Run } from './agent.ts';
import { ownerOf } from './run-host.ts';
import { type RetryDecision, settleFailure } from './settlement.ts';
import type { Settler } from './settler.ts';

export interface LockedStartDeps {
  readonly parts: SchedulerParts;
  readonly settler: Settler;
  readonly decide: (run: Run, error: unknown) => RetryDecision;
  /** Has its locks: to be placed. */
  readonly place: (run: Run) => void;
  /** One run fewer is waiting for its locks. */
  readonly done: () => void;
}

/** Takes a task's declared locks, all or none, before it gets a slot. */
export function takeLocks(run: Run, deps: LockedStartDeps): void {
  const { locks } = deps.parts;
  const requests = run.settings.locks;
  if (locks === undefined || requests === undefined) return;
  locks.acquire(requests, ownerOf(run), { signal: run.signal }).then(
    (lease) => {
      deps.done();
      if (run.phase !== 'locking') {
        void lease.release();
        return;
      }
      run.extras.lease = lease;
      deps.place(run);
    },
    (error: unknown) => {
      deps.done();
      if (run.phase !== 'locking') return;
      run.phase = 'ending';
      run.extras.thrown = error;
      deps.settler.add(run, settleFailure(run.claim, error, deps.decide(run, error), undefined));
    },
  );
}
