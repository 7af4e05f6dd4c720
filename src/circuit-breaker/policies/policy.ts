import { checkSignal } from '../../core/check.ts';
import { checkOptions } from '../../core/options.ts';
import type { Clock, Random, Runtime } from '../../core/ports/runtime.ts';
import { createRuntime } from '../../core/runtime/runtime.ts';
import type { Call } from '../attempt.ts';

/** Says in types only what a policy may answer with beside the call's own answer: no object has this key. */
declare const ANSWER: unique symbol;

/**
 * Something to make a call through. A `CircuitBreaker` is one. Stateful policies (a bulkhead, a breaker) are shared by all calls of the
 * dependency they guard: make one, keep it. `F` is what it may answer with in place of the call.
 */
export interface Policy<F = never> {
  readonly [ANSWER]?: F;
  /** Makes the call; when `signal` aborts, rejects with its reason and tells the call. */
  execute<R>(call: Call<R>, options?: CallOptions): Promise<R | F>;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** The signal of a call that may begin. @throws INVALID_ARGUMENT, INVALID_OPTION, and the signal's reason when it has aborted */
export function signalOf(options: CallOptions | undefined): AbortSignal | undefined {
  if (options === undefined) return undefined;
  const { signal } = checkOptions('execute', options, ['signal']);
  checkSignal(signal, 'options.signal')?.throwIfAborted();
  return signal;
}

/** What a policy, or any of a union of them, may answer with in place of the call. */
export type AnswerOf<P> = P extends Policy ? never : P extends Policy<infer F> ? F : never;

/** What policies need of a runtime. @default the process's own */
export type PolicyRuntime = Pick<Runtime, 'clock' | 'random'>;

export function policyRuntime(given: Partial<PolicyRuntime> | undefined): {
  readonly clock: Clock;
  readonly random: Random;
} {
  return given?.clock !== undefined && given.random !== undefined
    ? { clock: given.clock, random: given.random }
    : createRuntime({ clock: given?.clock, random: given?.random });
}
