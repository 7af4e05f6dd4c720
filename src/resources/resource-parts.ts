import { MemoryLockStore } from '../backends/memory/lock-store.ts';
import { standalone } from '../backends/memory/standalone.ts';
import { CoordinationError } from '../core/errors.ts';
import type { Operations } from '../core/operations.ts';
import type { Backend, Capabilities } from '../core/ports/backend.ts';
import type { LockStore } from '../core/ports/locks.ts';
import type { Logger, Runtime } from '../core/ports/runtime.ts';
import type { OptimisticLockManager } from './optimistic-lock-manager.ts';

/** What a manager hands in. Alone, a ResourceManager works on a memory backend of its own. */
export interface ResourceParts {
  readonly runtime?: Runtime;
  readonly store?: LockStore;
  readonly operations?: Operations;
  readonly onHint?: Backend['onHint'];
  /** What the store's backend can do. @default as a store in this process */
  readonly capabilities?: Pick<Capabilities, 'roundTrip' | 'maxBatch'>;
  /** Whose versions change when an exclusive lock is given back. */
  readonly versions?: OptimisticLockManager;
}

/** What a ResourceManager works on. @throws INVALID_OPTION when only some of it is handed in */
export function resourceBase(
  parts: ResourceParts,
  logger: Logger | undefined,
): { readonly runtime: Runtime; readonly store: LockStore; readonly operations: Operations } {
  const { runtime, store, operations } = parts;
  if (runtime !== undefined && store !== undefined && operations !== undefined) {
    return { runtime, store, operations };
  }
  if (store !== undefined || operations !== undefined) {
    throw new CoordinationError(
      'INVALID_OPTION',
      'Expected `runtime`, `store` and `operations` to be given together',
    );
  }
  const alone = standalone({ logger, runtime });
  return {
    runtime: alone.runtime,
    store: new MemoryLockStore(alone.core),
    operations: alone.operations,
  };
}
