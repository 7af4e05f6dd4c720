import { isPromise } from '../core/awaitable.ts';
import type { Lease } from '../core/lock-types.ts';
import type { LockRecord } from './lock-record.ts';

/** Runs `use` with a lock and gives it back, whatever becomes of it. Continues at once when giving it back needs no reply. */
export function useLock<R>(lock: LockRecord, use: (lease: Lease) => R | Promise<R>): Promise<R> {
  let result: R | Promise<R>;
  try {
    result = use(lock);
  } catch (error) {
    return afterRelease(lock, () => Promise.reject(error as Error));
  }
  if (!isPromise(result)) {
    const value = result;
    return afterRelease(lock, () => Promise.resolve(value));
  }
  return result.then(
    (value) => afterRelease(lock, () => value),
    (error: unknown) =>
      afterRelease(lock, () => {
        throw error;
      }),
  );
}

function afterRelease<R>(lock: LockRecord, next: () => R | Promise<R>): Promise<R> {
  if (lock.quick === undefined) return lock.host.release(lock).then(next);
  void lock.host.release(lock);
  return next() as Promise<R>;
}
