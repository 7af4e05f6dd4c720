import { checkFunction } from '../core/check.ts';

/** What is called through a breaker or a policy. Gets a signal if it declares a parameter. */
export type Call<R> = (signal: AbortSignal) => R | PromiseLike<R>;

/** Makes the call. A throw becomes a rejection, a plain value a promise, and what isn't a function INVALID_ARGUMENT. */
export function attempt<R>(call: Call<R>, signal?: AbortSignal): Promise<R> {
  try {
    checkFunction(call, 'what is to be executed');
    // A function without parameters has no use for a signal, and a controller costs as much as the rest of the way.
    const answer =
      signal === undefined && call.length === 0
        ? (call as () => R | PromiseLike<R>)()
        : call(signal ?? new AbortController().signal);
    return Promise.resolve(answer);
  } catch (error) {
    return Promise.reject(error);
  }
}
