import { handled } from '../core/awaitable.ts';
import type { Lease, ResourceRequest } from '../core/lock-types.ts';
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
  acquire(locks, requests, run).then(
    (lease) => {
      deps.done();
      if (run.phase !== 'locking') {
        handled(lease.release());
        return;
      }
      run.extras.lease = lease;
      deps.place(run);
    },
    (error: unknown) => {
      deps.done();
      if (run.phase !== 'locking') return;
      run.phase = 'ending';
      run.facts.deadlineTimer?.cancel();
      run.extras.thrown = error;
      deps.settler.add(run, settleFailure(run.claim, error, deps.decide(run, error), undefined));
    },
  );
}

/** Requests that are refused at once are a failure of this attempt, not of whoever places it. */
async function acquire(
  locks: NonNullable<SchedulerParts['locks']>,
  requests: readonly ResourceRequest[],
  run: Run,
): Promise<Lease> {
  return locks.acquire(requests, ownerOf(run), { signal: run.signal });
}
