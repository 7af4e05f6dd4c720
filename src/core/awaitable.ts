import type { Awaitable } from './ports/words.ts';

/** Continues with a value now, or with a promise's value later: never awaits what is already there. */
export function andThen<T, R>(value: Awaitable<T>, next: (value: T) => Awaitable<R>): Awaitable<R> {
  return isPromise(value) ? value.then(next) : next(value);
}

/** Whether an awaitable is a promise. The memory backend's answers never are. */
export function isPromise<T>(value: Awaitable<T>): value is Promise<T> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  );
}

/** Marks a promise whose rejection is reported elsewhere, so that it can't end the process. */
export function handled(promise: Promise<unknown>): void {
  promise.catch(() => undefined);
}
