import { modeIndex } from '../../../core/lock-modes.ts';
import type { LockRequest } from '../../../core/ports/locks.ts';

/** µs that a point of priority is worth; at most 12 days, so that ranks stay exact. */
const MAX_STEP_MS = 1_000_000_000;
/** A lease that is longer never ends. */
const MAX_LEASE_MS = 1e12;
const MAX_INT = 2 ** 31 - 1;

/** Requests as the columns that `lock_request_v1` takes: one value a request, then one value an item. */
export function requestColumns(requests: readonly LockRequest[]): readonly (readonly unknown[])[] {
  const items = requests.flatMap(({ items }, i) =>
    items.map(({ resource, mode }) => ({ of: i + 1, resource, mode })),
  );
  return [
    requests.map(({ id }) => id),
    requests.map(({ owner }) => owner.id),
    requests.map(({ owner }) => owner.agent ?? null),
    requests.map(({ owner }) => owner.task ?? null),
    requests.map(({ owner }) => owner.priority),
    requests.map(({ owner }) => Math.floor(owner.since)),
    requests.map(({ owner }) => owner.defeats),
    requests.map(({ priority }) => priority),
    requests.map(({ order }) => Math.min(order.ageStepMs, MAX_STEP_MS) * 1_000),
    requests.map(({ order }) => Math.floor(Math.min(order.maxOvertakes, MAX_INT))),
    requests.map(({ wait }) => wait),
    requests.map(({ lease }) => (lease === 'session' ? null : Math.min(lease.leaseMs, MAX_LEASE_MS) * 1_000)),
    requests.map(({ reentrant }) => reentrant),
    requests.map(({ upgradeOf }) => upgradeOf?.id ?? null),
    requests.map(({ upgradeOf }) => upgradeOf?.token ?? null),
    items.map(({ of }) => of),
    items.map(({ resource }) => resource),
    items.map(({ mode }) => modeIndex(mode)),
    items.map(({ mode }) => (typeof mode === 'object' ? mode.units : 0)),
    items.map(({ mode }) => (typeof mode === 'object' ? mode.of : 0)),
  ];
}
