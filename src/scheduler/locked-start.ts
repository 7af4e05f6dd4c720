import { handled } from '../core/awaitable.ts';
import type { CoordinationError } from '../core/errors.ts';
import type { Lease, ResourceRequest } from '../core/lock-types.ts';
import { isOfStore } from '../core/operations.ts';
import type { Run } from './agent.ts';
import type { SchedulerParts } from './parts.ts';
import { ownerOf } from './run-host.ts';
import { giveBack, isOfLostSession, type RetryDecision, settleFailure } from './settlement.ts';
import type { Settler } from './settler.ts';

export interface LockedStartDeps {
  readonly parts: SchedulerParts;
  readonly settler: Settler;
  readonly decide: (run: Run, error: unknown) => RetryDecision;
  /** Has its locks: to be placed. */
  readonly place: (run: Run) => void;
  /** A lock that it runs under was taken back, or its lease ran out. */
  readonly lost: (run: Run, reason: CoordinationError) => void;
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
      // Taken back since it was granted: it has been sent back already.
      if (watch(run, lease, deps.lost)) deps.place(run);
    },
    (error: unknown) => {
      deps.done();
      if (run.phase !== 'locking') return;
      run.phase = 'ending';
      run.facts.deadlineTimer?.cancel();
      if (isOfStore(error) || (run.facts.orphaned && isOfLostSession(error))) {
        deps.settler.add(run, giveBack(run.claim, 'the store did not give it its locks'));
        return;
      }
      run.extras.thrown = error;
      deps.settler.add(run, settleFailure(run.claim, error, deps.decide(run, error), undefined));
    },
  );
}

/** Whoever works under a lock must hear that it is being taken away. False: it has been. */
function watch(run: Run, { signal }: Lease, lost: LockedStartDeps['lost']): boolean {
  const tell = (): void => {
    if (run.facts.lease?.signal === signal) lost(run, signal.reason as CoordinationError);
  };
  if (signal.aborted) tell();
  else signal.addEventListener('abort', tell, { once: true });
  return !signal.aborted;
}

/** Requests that are refused at once are a failure of this attempt, not of whoever places it. */
async function acquire(
  locks: NonNullable<SchedulerParts['locks']>,
  requests: readonly ResourceRequest[],
  run: Run,
): Promise<Lease> {
  return locks.acquire(requests, ownerOf(run), { signal: run.signal });
}
